import { assert, assertEquals } from "@std/assert";
import { acpiBase, backedRanges, lowRamEnd, memoryMap } from "../../src/boot/memory_map.ts";
import { MEMORY_TYPE, type MemoryRange } from "../../src/boot/plan.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const { RAM, RESERVED, ACPI } = MEMORY_TYPE;

const FIRST_MIB: MemoryRange[] = [
  { address: 0, sizeBytes: 0x9_fc00, type: RAM },
  { address: 0x9_fc00, sizeBytes: 0x400, type: RESERVED },
  { address: 0xe_0000, sizeBytes: 0x2_0000, type: RESERVED },
];

Deno.test("memoryMap() tells RAM, the EBDA and the firmware area, and the rest from 4 GiB up", () => {
  const cases: [memoryBytes: number, ranges: MemoryRange[]][] = [
    [MIB, []],
    [64 * MIB, [{ address: MIB, sizeBytes: 63 * MIB, type: RAM }]],
    [64 * MIB + 4095, [{ address: MIB, sizeBytes: 63 * MIB, type: RAM }]],
    [3 * GIB, [{ address: MIB, sizeBytes: 3 * GIB - MIB, type: RAM }]],
    [3 * GIB + 4096, [
      { address: MIB, sizeBytes: 3 * GIB - MIB, type: RAM },
      { address: 4 * GIB, sizeBytes: 4096, type: RAM },
    ]],
    [64 * GIB, [
      { address: MIB, sizeBytes: 3 * GIB - MIB, type: RAM },
      { address: 4 * GIB, sizeBytes: 61 * GIB, type: RAM },
    ]],
  ];
  for (const [memoryBytes, ranges] of cases) assertEquals(memoryMap(memoryBytes), [...FIRST_MIB, ...ranges]);
});

Deno.test("memoryMap() tells the end of low RAM as ACPI when tables are there", () => {
  assertEquals(memoryMap(64 * MIB, 63 * MIB).slice(3), [
    { address: MIB, sizeBytes: 62 * MIB, type: RAM },
    { address: 63 * MIB, sizeBytes: MIB, type: ACPI },
  ]);
});

Deno.test("backedRanges() leaves out the video window and maps all else at superpage-congruent offsets", () => {
  for (const memoryBytes of [MIB, 64 * MIB, 3 * GIB, 3 * GIB + 4096, 64 * GIB]) {
    const ranges = backedRanges(memoryBytes);
    assertEquals(ranges.reduce((sum, range) => sum + range.sizeBytes, 0), memoryBytes - 0x4_0000);
    for (const { address, offset, sizeBytes } of ranges) {
      assertEquals((address - offset) % (2 * MIB), 0);
      assertEquals(sizeBytes % 4096, 0);
      assert(offset + sizeBytes <= memoryBytes);
    }
  }
});

Deno.test("every range that memoryMap() tells is backed by memory", () => {
  for (const memoryBytes of [MIB, MIB + 4096, 64 * MIB, 3 * GIB + 4096]) {
    for (const { address, sizeBytes } of memoryMap(memoryBytes)) {
      const within = backedRanges(memoryBytes).some((backed) =>
        address >= backed.address && address + sizeBytes <= backed.address + backed.sizeBytes
      );
      assert(within, `0x${address.toString(16)} of ${memoryBytes} bytes`);
    }
  }
});

Deno.test("acpiBase() leaves room below the end of low RAM, and none where there is none above 1 MiB", () => {
  assertEquals(acpiBase(5 * GIB, 1024) % 4096, 0);
  assert(lowRamEnd(5 * GIB) - acpiBase(5 * GIB, 1024) >= 1024 * 64);
  assertEquals(acpiBase(MIB, 1), MIB);
});
