import { assertEquals, assertThrows } from "@std/assert";
import { planBoot } from "../../src/boot/loaders.ts";
import { ImageError } from "../../src/boot/plan.ts";
import { elfImage, type ElfPart, GuestMemory, littleEndian, pvhImage, requestFor, TEXT, xenNote } from "./images.ts";

const LOAD: ElfPart = { type: 1, bytes: TEXT, physicalAddress: 0x10_0000 };

for (const bits of [32, 64] as const) {
  Deno.test(`pvh enters an ELF${bits} kernel at its note's address in flat protected mode`, () => {
    const plan = planBoot(requestFor(pvhImage(bits)));
    assertEquals(plan.format, `ELF${bits} with a Xen PVH note`);
    const { mode, rip, code, data, registers } = plan.entry;
    assertEquals([mode, rip, Object.keys(registers)], ["protected", 0x10_0010, ["rbx"]]);
    for (const register of [code, data]) {
      assertEquals([register.base, register.limit, register.db, register.long], [0, 0xffff_ffff, true, false]);
    }
  });
}

Deno.test("pvh takes a note of four bytes in a 64-bit kernel", () => {
  const image = elfImage({ bits: 64, parts: [{ type: 4, bytes: xenNote(littleEndian(0x10_0004, 4)) }, LOAD] });
  assertEquals(planBoot(requestFor(image)).entry.rip, 0x10_0004);
});

Deno.test("pvh hands over start info with command line, RSDP, memory map and modules", () => {
  const plan = planBoot(requestFor(pvhImage(), {
    memoryBytes: 5 * 2 ** 30,
    commandLine: "quiet",
    initrd: Uint8Array.of(1, 2, 3),
    modules: [{ name: "second", bytes: new Uint8Array(5000).fill(7), commandLine: "a b" }],
    regions: [{ address: 2 ** 33, sizeBytes: 2 ** 30 }],
  }));
  const memory = new GuestMemory(plan.segments);
  const info = plan.entry.registers.rbx!;
  assertEquals([0, 4, 8, 12].map((at) => memory.u32(info + at)), [0x336e_c578, 1, 0, 2]);
  assertEquals(memory.string(memory.u64(info + 24)), "quiet");
  assertEquals(memory.string(memory.u64(info + 32)).slice(0, 8), "RSD PTR ");

  const list = memory.u64(info + 16);
  assertEquals([memory.u64(list), memory.u64(list + 8), memory.u64(list + 16)], [0x10_1000, 3, 0]);
  assertEquals([memory.u64(list + 32), memory.u64(list + 40)], [0x10_2000, 5000]);
  assertEquals(memory.string(memory.u64(list + 48)), "a b");
  assertEquals([...memory.bytes(0x10_1000, 3), ...memory.bytes(0x10_2000, 1)], [1, 2, 3, 7]);

  const map = memory.u64(info + 40);
  assertEquals(memory.u32(info + 48), plan.memoryMap.length);
  plan.memoryMap.forEach((range, index) => {
    const at = map + index * 24;
    assertEquals([memory.u64(at), memory.u64(at + 8), memory.u32(at + 16)], [
      range.address,
      range.sizeBytes,
      range.type,
    ]);
  });
});

Deno.test("pvh gives an empty module an address and no bytes", () => {
  const plan = planBoot(requestFor(pvhImage(), { initrd: new Uint8Array() }));
  const memory = new GuestMemory(plan.segments);
  const list = memory.u64(plan.entry.registers.rbx! + 16);
  assertEquals([memory.u64(list), memory.u64(list + 8)], [0x10_1000, 0]);
});

Deno.test("pvh refuses damaged kernels in one line", () => {
  const noted = (descriptor: Uint8Array, part: ElfPart = LOAD) =>
    elfImage({ bits: 64, parts: [{ type: 4, bytes: xenNote(descriptor) }, part] });
  const entry = littleEndian(0x10_0000, 4);
  const cases: [image: Uint8Array, message: string][] = [
    [noted(new Uint8Array(2)), "PHYS32_ENTRY has 2 bytes, not 4 or 8"],
    [noted(littleEndian(2n ** 32n, 8)), "PHYS32_ENTRY 0x100000000 is beyond 32 bits"],
    [noted(littleEndian(0x20_0000, 4)), "entry 0x200000 lies in no segment"],
    [noted(entry, { ...LOAD, offset: 0x8000 }), "segment 1 at 0x8000"],
    [
      elfImage({
        bits: 64,
        parts: [{ type: 4, bytes: xenNote(entry) }, LOAD, { ...LOAD, physicalAddress: 0x10_003f }],
      }),
      "kernel segment 2 at 0x10003f..0x10007f overlaps kernel segment 1 at 0x100000..0x100040",
    ],
    [noted(entry, { ...LOAD, physicalAddress: 0 }), "kernel segment 1 at address 0, where nothing may be"],
    [noted(entry, { ...LOAD, physicalAddress: 64 << 20 }), "kernel segment 1 at 0x4000000..0x4000040 lies outside RAM"],
    [noted(entry, { ...LOAD, physicalAddress: 0x9_fbff }), "kernel segment 1 at 0x9fbff..0x9fc3f lies outside RAM"],
    [noted(entry, { ...LOAD, physicalAddress: 0xb_8000 }), "kernel segment 1 at 0xb8000..0xb8040 lies outside RAM"],
  ];
  for (const [image, message] of cases) assertThrows(() => planBoot(requestFor(image)), ImageError, message);
});

Deno.test("pvh refuses what has no room", () => {
  const big = new Uint8Array(63 << 20);
  assertThrows(
    () => planBoot(requestFor(pvhImage(), { initrd: big })),
    ImageError,
    "initrd: no room for 0x3f00000 bytes in RAM 0x0..0x9fc00, 0x100000..0x4000000",
  );
  assertThrows(
    () => planBoot(requestFor(pvhImage(), { commandLine: "a\0b" })),
    ImageError,
    "command line: a zero byte",
  );
});
