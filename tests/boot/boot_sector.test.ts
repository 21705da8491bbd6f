import { assert, assertEquals, assertThrows } from "@std/assert";
import { bootSector } from "../../src/boot/boot_sector.ts";
import { endOf } from "../../src/boot/layout.ts";
import { type BootPlan, ImageError, MEMORY_TYPE } from "../../src/boot/plan.ts";
import { COM1, SLEEP } from "../../src/devices/platform_map.ts";
import { GuestMemory, requestFor } from "./images.ts";

const BIOS = 0xf_0000;
const MIB = 1 << 20;

function sectorImage(sizeBytes = 512): Uint8Array {
  const image = new Uint8Array(sizeBytes);
  image.set([0xeb, 0xfe]);
  image.set([0x55, 0xaa], 510);
  return image;
}

function segmentOf(plan: BootPlan, what: string) {
  return plan.segments.find((segment) => segment.what === what)!;
}

Deno.test("bootSector recognises the signature at the end of the first sector", () => {
  assert(bootSector.recognises(sectorImage()));
  assert(bootSector.recognises(sectorImage(5000)));
  assert(!bootSector.recognises(sectorImage().subarray(0, 511)));
  assert(!bootSector.recognises(new Uint8Array(512)));
  const elf = sectorImage();
  elf.set([0x7f, 0x45, 0x4c, 0x46]);
  assert(!bootSector.recognises(elf));
});

Deno.test("bootSector begins at the BIOS in real mode", () => {
  const plan = bootSector.plan(requestFor(sectorImage()));
  assertEquals(plan.format, "boot sector, hard disk of 1 sectors");
  const { mode, rip, code, data } = plan.entry;
  assertEquals([mode, code.selector, code.base, data.selector, data.base], ["real", 0xf000, BIOS, 0, 0]);
  const bios = segmentOf(plan, "BIOS");
  assert(rip > 0 && rip < bios.sizeBytes);
  assertEquals([bios.address, new GuestMemory(plan.segments).u32(BIOS) & 0xffff], [BIOS, rip]);
});

Deno.test("bootSector's reset vector jumps to the BIOS", () => {
  const plan = bootSector.plan(requestFor(sectorImage()));
  const { address, bytes } = segmentOf(plan, "reset vector");
  assertEquals([address, bytes.length, bytes[14]], [0xf_fff0, 16, 0xfc]);
  assertEquals([...bytes.subarray(0, 5)], [0xea, plan.entry.rip & 0xff, plan.entry.rip >> 8, 0x00, 0xf0]);
});

Deno.test("bootSector holds the image in reserved whole pages at the end of low RAM", () => {
  const plan = bootSector.plan(requestFor(sectorImage(5000)));
  const disk = segmentOf(plan, "disk image");
  const end = 64 * MIB;
  assertEquals([disk.address, disk.sizeBytes, disk.bytes.length], [end - 0x2000, 5120, 5000]);
  const above = plan.memoryMap.filter((range) => range.address >= MIB);
  assertEquals(above, [
    { address: MIB, sizeBytes: end - 0x2000 - MIB, type: MEMORY_TYPE.RAM },
    { address: end - 0x2000, sizeBytes: 0x2000, type: MEMORY_TYPE.RESERVED },
  ]);
});

Deno.test("bootSector leaves RAM above 4 GiB and the tables' own range as they are", () => {
  const request = requestFor(sectorImage(), { memoryBytes: 5 * 2 ** 30, vcpus: 4096 });
  const plan = bootSector.plan(request);
  const [disk, tables, high] = plan.memoryMap.slice(-3);
  assertEquals([disk!.type, tables!.type, high!.type], [MEMORY_TYPE.RESERVED, MEMORY_TYPE.ACPI, MEMORY_TYPE.RAM]);
  assertEquals([endOf(disk!), endOf(tables!), high!.address], [tables!.address, 3 * 2 ** 30, 4 * 2 ** 30]);
});

Deno.test("bootSector hands the BIOS the drive, the ports and the memory map", () => {
  const plan = bootSector.plan(requestFor(sectorImage(1440 * 1024), { memoryBytes: 32 * MIB }));
  const memory = new GuestMemory(plan.segments);
  const u16 = (offset: number) => memory.u32(BIOS + offset) & 0xffff;
  assertEquals([u16(4), u16(6), memory.bytes(BIOS + 8, 1)[0]], [COM1.port, SLEEP.control, 0x20 | SLEEP.s5Type << 2]);
  assertEquals([...memory.bytes(BIOS + 9, 1), ...memory.bytes(BIOS + 14, 2)], [0, 0x00, 4]);
  assertEquals([memory.u32(BIOS + 16), memory.u32(BIOS + 20)], [segmentOf(plan, "disk image").address, 2880]);
  assertEquals([u16(24), u16(26), u16(28)], [80, 2, 18]);
  assertEquals([u16(32), u16(34)], [15 * 1024, (16 * MIB - 1440 * 1024) / 0x1_0000 | 0]);
  const told = Array.from({ length: u16(30) }, (_, index) => {
    const at = BIOS + 36 + 20 * index;
    return { address: memory.u64(at), sizeBytes: memory.u64(at + 8), type: memory.u32(at + 16) };
  });
  assertEquals(told, plan.memoryMap.map((range) => ({ ...range, type: range.type as number })));
});

Deno.test("bootSector refuses what a BIOS has no way to hand over", () => {
  const extras = [
    [{ initrd: new Uint8Array(1) }, "boot sector: this format cannot carry an initrd"],
    [{ modules: [{ name: "m", bytes: new Uint8Array(1), commandLine: "" }] }, "cannot carry modules"],
    [{ commandLine: "quiet" }, "cannot carry a command line"],
  ] as const;
  for (const [changes, message] of extras) {
    assertThrows(() => bootSector.plan(requestFor(sectorImage(), changes)), ImageError, message);
  }
});

Deno.test("bootSector says how much memory an image has to fit into", () => {
  const request = requestFor(sectorImage(4 * MIB), { memoryBytes: 4 * MIB });
  const message = "boot sector: the image of 0x400000 bytes is held in memory above 1 MiB, where there are 0x300000";
  assertThrows(() => bootSector.plan(request), ImageError, message);
  assertThrows(() => bootSector.plan(requestFor(sectorImage(), { memoryBytes: MIB })), ImageError, "there are 0x0");
});
