import { assert, assertEquals, assertThrows } from "@std/assert";
import { checkSegments, Layout } from "../../src/boot/layout.ts";
import { memoryMap } from "../../src/boot/memory_map.ts";
import { ImageError, MEMORY_TYPE, type Segment } from "../../src/boot/plan.ts";
import { GuestMemory, requestFor } from "./images.ts";

const MAP = memoryMap(64 << 20);

function segment(address: number, sizeBytes: number, what = "it"): Segment {
  return { what, address, sizeBytes, bytes: new Uint8Array() };
}

Deno.test("checkSegments() sorts what lies in RAM, in the EBDA, in the firmware area", () => {
  const good = [
    segment(0xf_0000, 0x1_0000),
    segment(0, 0x9_fc00),
    segment(0x10_0000, 0x3f0_0000),
    segment(0x9_fc00, 0x400),
  ];
  assertEquals(checkSegments(good, MAP).map((s) => s.address), [0, 0x9_fc00, 0xf_0000, 0x10_0000]);
});

Deno.test("checkSegments() refuses what is no range, outside of memory, or over another", () => {
  const cases: [segments: Segment[], message: string][] = [
    [[segment(-4096, 4096)], "it at 0x-1000..0x0 lies outside RAM"],
    [[segment(0.5, 1)], "is no range"],
    [[segment(NaN, 1)], "is no range"],
    [[segment(2 ** 53, 1)], "is no range"],
    [[segment(0x1000, -1)], "is no range"],
    [[{ ...segment(0x1000, 1), bytes: new Uint8Array(2) }], "it at 0x1000..0x1001 is smaller than its 0x2 bytes"],
    [[segment(0xa_0000, 1)], "it at 0xa0000..0xa0001 lies outside RAM 0x0..0x9fc00, 0x100000..0x4000000"],
    [[segment(0x9_f000, 0x1000)], "it at 0x9f000..0xa0000 lies outside RAM"],
    [[segment(0xf_0000, 0x2_0000)], "it at 0xf0000..0x110000 lies outside RAM"],
    [[segment(0x3ff_ffff, 2)], "it at 0x3ffffff..0x4000001 lies outside RAM"],
    [[segment(2 ** 52, 2 ** 52)], "lies outside RAM"],
    [[segment(0x1000, 2, "a"), segment(0x1001, 1, "b")], "b at 0x1001..0x1002 overlaps a at 0x1000..0x1002"],
  ];
  for (const [segments, message] of cases) assertThrows(() => checkSegments(segments, MAP), ImageError, message);
});

Deno.test("Layout puts structures high in conventional memory, around what is there, or else high above 1 MiB", () => {
  const layout = new Layout(requestFor(new Uint8Array()));
  assertEquals(layout.placeStructure("first", new Uint8Array(10)), 0x9_bff0);
  assertEquals(layout.placeStructure("page", new Uint8Array(10), 4096), 0x9_b000);
  assertEquals(layout.placeStructure("gap", new Uint8Array(100)), 0x9_bf88);
  assertEquals(layout.placeStructure("big", new Uint8Array(0x9_b000)), 0x3f6_5000);
});

Deno.test("Layout puts modules on the first free pages after the image, or else wherever they fit", () => {
  const module = (name: string, sizeBytes: number) => ({ name, bytes: new Uint8Array(sizeBytes), commandLine: "" });
  const request = requestFor(new Uint8Array(), {
    initrd: new Uint8Array(1),
    modules: [module("big", 0x200_0000), module("small", 5000), module("elsewhere", 0x100_0000)],
  });
  const layout = new Layout(request);
  const image = [segment(0x8000, 0x1000), segment(0x180_0000, 0x1234)];
  layout.add(image);
  const addresses = layout.placeModules(request, image).map((placed) => placed.address);
  assertEquals(addresses, [0x180_2000, 0x180_3000, 0x380_3000, 0x10_0000]);
});

Deno.test("Layout tells a range for ACPI tables that do not fit into the firmware area", () => {
  for (const [memoryBytes, vcpus] of [[64 << 20, 1], [64 << 20, 4096], [5 * 2 ** 30, 4096]]) {
    const layout = new Layout(requestFor(new Uint8Array(), { memoryBytes, vcpus }));
    assert(layout.rsdp >= 0xe_0000 && layout.rsdp < 0xf_0000);
    const high = layout.segments.some((s) => s.address >= 0x10_0000);
    assertEquals(high, vcpus === 4096);
    assertEquals(layout.memoryMap.some((range) => range.type === MEMORY_TYPE.ACPI), high);
  }
});

Deno.test("Layout refuses memory that is too small for the ACPI tables", () => {
  const request = requestFor(new Uint8Array(), { memoryBytes: 1 << 20, vcpus: 4096 });
  assertThrows(() => new Layout(request), ImageError, "lies outside RAM 0x0..0x9fc00");
});

Deno.test("Layout.addKernel() adds the BIOS data area unless the kernel lies there", () => {
  const layout = new Layout(requestFor(new Uint8Array()));
  layout.addKernel([segment(0x10_0000, 0x1000)]);
  const memory = new GuestMemory(layout.segments);
  assertEquals([...memory.bytes(0x40e, 2), ...memory.bytes(0x413, 2)], [0xc0, 0x9f, 639 & 0xff, 639 >> 8]);

  const covered = new Layout(requestFor(new Uint8Array()));
  covered.addKernel([segment(0x0, 0x1000, "kernel")]);
  assertEquals(covered.segments[0], segment(0x0, 0x1000, "kernel"));
});
