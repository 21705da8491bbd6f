import { assertEquals, assertThrows } from "@std/assert";
import { planBoot } from "../../src/boot/loaders.ts";
import { ImageError } from "../../src/boot/plan.ts";
import {
  concatenate,
  elfImage,
  GuestMemory,
  multibootElf,
  multibootFlat,
  multibootHeader,
  pvhImage,
  requestFor,
  TEXT,
} from "./images.ts";

for (const bits of [32, 64] as const) {
  Deno.test(`multiboot enters an ELF${bits} kernel with the loader's magic in eax`, () => {
    const plan = planBoot(requestFor(multibootElf(bits)));
    assertEquals(plan.format, `Multiboot (ELF${bits})`);
    assertEquals([plan.entry.mode, plan.entry.rip, plan.entry.registers.rax], ["protected", 0x10_000c, 0x2bad_b002]);
  });
}

Deno.test("multiboot loads by the header's addresses, from where they say the file begins", () => {
  const plan = planBoot(requestFor(multibootFlat()));
  assertEquals([plan.format, plan.entry.rip], ["Multiboot (load addresses)", 0x10_0030]);
  const kernel = plan.segments.find((segment) => segment.what === "kernel")!;
  assertEquals([kernel.address, kernel.sizeBytes, kernel.bytes.length], [0x10_0000, 0x2000, 16 + 32 + 64]);

  const part = planBoot(requestFor(multibootFlat({ load: 0x10_0008, loadEnd: 0x10_0040, bssEnd: 0 })));
  const cut = part.segments.find((segment) => segment.what === "kernel")!;
  assertEquals([cut.address, cut.sizeBytes, cut.bytes.length], [0x10_0008, 0x38, 0x38]);
});

Deno.test("multiboot prefers the header's addresses to those of an ELF header", () => {
  const addresses = multibootHeader(1 << 16, [0x20_0054, 0x20_0000, 0, 0, 0x20_0060]);
  const image = elfImage({ bits: 32, parts: [{ type: 1, bytes: concatenate(addresses, TEXT), physicalAddress: 0 }] });
  const plan = planBoot(requestFor(image));
  assertEquals([plan.format, plan.entry.rip], ["Multiboot (load addresses)", 0x20_0060]);
});

Deno.test("multiboot hands over memory sizes, command line, modules, memory map and its name", () => {
  const plan = planBoot(requestFor(multibootElf(), {
    commandLine: "x=1",
    initrd: Uint8Array.of(9),
    modules: [{ name: "second", bytes: Uint8Array.of(8, 8), commandLine: "second" }],
  }));
  const memory = new GuestMemory(plan.segments);
  const info = plan.entry.registers.rbx!;
  assertEquals(memory.u32(info), 0b10_0100_1101);
  assertEquals([memory.u32(info + 4), memory.u32(info + 8)], [639, 63 * 1024]);
  assertEquals(memory.string(memory.u32(info + 16)), "x=1");
  assertEquals(memory.string(memory.u32(info + 64)), "Xenolith");

  assertEquals(memory.u32(info + 20), 2);
  const list = memory.u32(info + 24);
  assertEquals([memory.u32(list), memory.u32(list + 4), memory.u32(list + 8)], [0x10_1000, 0x10_1001, 0]);
  assertEquals([memory.u32(list + 16), memory.u32(list + 20)], [0x10_2000, 0x10_2002]);
  assertEquals(memory.string(memory.u32(list + 24)), "second");

  const map = memory.u32(info + 48);
  assertEquals(memory.u32(info + 44), plan.memoryMap.length * 24);
  plan.memoryMap.forEach((range, index) => {
    const at = map + index * 24;
    assertEquals([memory.u32(at), memory.u64(at + 4), memory.u64(at + 12), memory.u32(at + 20)], [
      20,
      range.address,
      range.sizeBytes,
      range.type,
    ]);
  });
});

Deno.test("multiboot takes a kernel that prefers a video mode, and optional flags that nobody knows", () => {
  for (const flags of [0b111, 0x8000_0000]) planBoot(requestFor(multibootElf(32, flags)));
});

Deno.test("multiboot gives way to a PVH note", () => {
  const image = concatenate(pvhImage(), new Uint8Array(8), multibootHeader(3));
  assertEquals(planBoot(requestFor(image)).format, "ELF64 with a Xen PVH note");
});

Deno.test("multiboot refuses damaged kernels in one line", () => {
  const cases: [image: Uint8Array, message: string][] = [
    [multibootElf(32, 3 | 1 << 5), "header requires what is not known here: flags 0x20"],
    [concatenate(multibootHeader(3, [], 7), TEXT), "wrong checksum in the header at 0x0"],
    [multibootHeader(3).subarray(0, 8), "wrong checksum in the header at 0x0"],
    [concatenate(multibootHeader(3), TEXT), "neither load addresses in the header (flag 16) nor an ELF file"],
    [multibootHeader(1 << 16), "header with addresses at 0x0, 0x20 bytes, lies outside the file"],
    [multibootFlat({ load: 0x10_0011 }), "load_addr 0x100011 does not fit header_addr 0x100010 in the file"],
    [multibootFlat({ load: 0xf_ffff }), "load_addr 0xfffff does not fit header_addr 0x100010 in the file"],
    [multibootFlat({ loadEnd: 0xf_0000 }), "load_end_addr 0xf0000 is below load_addr 0x100000"],
    [multibootFlat({ loadEnd: 0x20_0000 }), "text and data at 0x0, 0x100000 bytes, lies outside the file"],
    [multibootFlat({ bssEnd: 0x10_0008 }), "bss_end_addr 0x100008 is below the end of data"],
    [multibootFlat({ bssEnd: 0xffff_ffff }), "kernel at 0x100000..0xffffffff lies outside RAM"],
    [multibootFlat({ entry: 0 }), "entry 0x0 lies in no segment"],
    [multibootElf(32, 3, { machine: 40 }), "Multiboot: ELF32 for machine 40"],
  ];
  for (const [image, message] of cases) assertThrows(() => planBoot(requestFor(image)), ImageError, message);
});
