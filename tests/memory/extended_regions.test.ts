/** Where extended regions are: tables, and random machines against a model that looks at every 2 MiB by itself. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { AddressRange } from "../../src/memory/address.ts";
import { regionPlace, takenRanges } from "../../src/boot/memory_map.ts";
import {
  extendedRegions,
  MAX_REGIONS,
  type RegionSizes,
  SMALLEST_REGION_BYTES,
} from "../../src/memory/extended_regions.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 500);
const MIB = 2 ** 20, GIB = 2 ** 30, BLOCK = 2 * MIB;
const ANY: RegionSizes = { limitBytes: Infinity, smallestBytes: SMALLEST_REGION_BYTES, largestBytes: Infinity };

/** Regions as [first, last], in MiB. */
function found(
  taken: readonly AddressRange[],
  end: number,
  sizes: Partial<RegionSizes> = {},
  side: "bottom" | "top" = "bottom",
): [number, number][] {
  return extendedRegions(taken, end, side, { ...ANY, ...sizes }).map((
    { address, sizeBytes },
  ) => [address / MIB, (address + sizeBytes) / MIB]);
}

const range = (first: number, end: number) => ({ first: first * MIB, last: end * MIB - 1 });

Deno.test("extendedRegions() takes the holes of a physical map that are large enough", () => {
  const cases: [taken: AddressRange[], end: number, sizes: Partial<RegionSizes>, regions: [number, number][]][] = [
    [[], 64, {}, [[0, 64]]],
    [[], 62, {}, []],
    [[], 63, { smallestBytes: BLOCK }, [[0, 62]]],
    [[range(0, 64)], 128, {}, [[64, 128]]],
    [[range(100, 128), range(0, 10)], 200, {}, [[10, 100], [128, 200]]],
    [[range(0, 10), range(5, 20), range(7, 8)], 100, {}, [[20, 100]]],
    [[range(0, 4), range(66, 70)], 70, {}, []],
    [[{ first: 0, last: 4095 }], 130, {}, [[2, 130]]],
    [[{ first: 128 * MIB - 4096, last: 128 * MIB - 1 }], 128, {}, [[0, 126]]],
    [[range(0, 500)], 300, {}, []],
    [[range(200, 210)], 150, {}, [[0, 150]]],
    [[], 1024, { limitBytes: 100 * MIB }, [[0, 100]]],
    [[range(128, 130)], 1024, { limitBytes: 200 * MIB }, [[0, 128], [130, 202]]],
    [[range(128, 130)], 1024, { limitBytes: 150 * MIB }, [[0, 128]]],
    [[], 300, { largestBytes: 64 * MIB }, [[0, 64], [66, 130], [132, 196], [198, 262]]],
    [[], 40, { largestBytes: 17 * MIB, smallestBytes: BLOCK }, [[0, 16], [18, 34], [36, 40]]],
    [[], 1024, { limitBytes: 0 }, []],
  ];
  for (const [taken, end, sizes, regions] of cases) {
    assertEquals(found(taken, end * MIB, sizes), regions, Deno.inspect({ taken, end, sizes }));
  }
});

Deno.test("extendedRegions() gives 16 at most", () => {
  const regions = extendedRegions([], 64 * GIB, "bottom", { ...ANY, smallestBytes: BLOCK, largestBytes: BLOCK });
  assertEquals(regions.length, MAX_REGIONS);
  assertEquals(regions.at(-1), { address: 15 * 2 * BLOCK, sizeBytes: BLOCK });
});

Deno.test("extendedRegions() from the top takes the last holes, and their ends", () => {
  const cases: [taken: AddressRange[], sizes: Partial<RegionSizes>, regions: [number, number][]][] = [
    [[], {}, [[0, 1023]]],
    [[], { limitBytes: 100 * MIB }, [[922, 1022]]],
    [[range(500, 502), range(1000, 1024)], { limitBytes: 600 * MIB }, [[398, 500], [502, 1000]]],
    [[], { limitBytes: 140 * MIB, largestBytes: 64 * MIB, smallestBytes: BLOCK }, [
      [878, 890],
      [892, 956],
      [958, 1022],
    ]],
  ];
  for (const [taken, sizes, regions] of cases) {
    const even = regions.map(([first, end]) => [first, end - end % 2]);
    assertEquals(found(taken, 1023 * MIB, sizes, "top"), even as [number, number][], Deno.inspect({ taken, sizes }));
  }
});

Deno.test("regions are below 3 GiB as long as all RAM is, else above RAM and windows", () => {
  const cases: [memoryBytes: number, place: "low" | "high", low: [number, number][], high: [number, number][]][] = [
    [64 * MIB, "low", [[64, 3072]], [[32 * 1024, 128 * 1024]]],
    [MIB + 4096, "low", [[2, 3072]], [[32 * 1024, 128 * 1024]]],
    [3 * GIB - 64 * MIB, "low", [[3008, 3072]], [[32 * 1024, 128 * 1024]]],
    [3 * GIB - 62 * MIB, "high", [], [[32 * 1024, 128 * 1024]]],
    [15 * GIB, "high", [], [[32 * 1024, 128 * 1024]]],
    [15 * GIB + MIB, "high", [], [[64 * 1024, 128 * 1024]]],
    [112 * GIB, "high", [], []],
  ];
  for (const [memoryBytes, place, low, high] of cases) {
    assertEquals(regionPlace(memoryBytes), place, `${memoryBytes}`);
    assertEquals(found(takenRanges(memoryBytes, "low"), 128 * GIB), low, `${memoryBytes}`);
    assertEquals(found(takenRanges(memoryBytes, "high"), 128 * GIB), high, `${memoryBytes}`);
  }
});

/** Random machines in units of half a block, so that edges lie within blocks, too. */
const machines = fc.record({
  taken: fc.array(
    fc.tuple(fc.nat(400), fc.nat(40)).map(([first, count]) => ({
      first: first * MIB + (first % 3 === 0 ? 4096 : 0),
      last: (first + count) * MIB + 4095,
    })),
    { maxLength: 12 },
  ),
  endMiB: fc.integer({ min: 1, max: 400 }),
  side: fc.constantFrom("bottom" as const, "top" as const),
  limit: fc.oneof(fc.constant(Infinity), fc.nat(500).map((size) => size * MIB)),
  smallest: fc.integer({ min: 1, max: 80 }).map((size) => size * MIB),
  largest: fc.oneof(fc.constant(Infinity), fc.integer({ min: 2, max: 90 }).map((size) => size * MIB)),
});

/** Block by block: a run grows while it may, and what is too small is left where it is. From the top all is mirrored. */
function naive(
  taken: readonly AddressRange[],
  end: number,
  side: "bottom" | "top",
  sizes: RegionSizes,
): [first: number, end: number][] {
  const blocks = Math.floor(end / BLOCK), mirrored = (block: number) => side === "top" ? blocks - 1 - block : block;
  const isFree = (at: number) => {
    const block = mirrored(at);
    return at < blocks && !taken.some(({ first, last }) => first < (block + 1) * BLOCK && last >= block * BLOCK);
  };
  const runs: [number, number][] = [];
  let total = 0;
  for (let block = 0; block < blocks; block++) {
    const first = block;
    const mayGrow = () => (block + 1 - first) * BLOCK <= sizes.largestBytes && total + BLOCK <= sizes.limitBytes;
    for (; isFree(block) && mayGrow(); block++) total += BLOCK;
    if (block > first && (block - first) * BLOCK >= sizes.smallestBytes && runs.length < MAX_REGIONS) {
      runs.push(side === "top" ? [mirrored(block - 1), mirrored(first) + 1] : [first, block]);
      continue;
    }
    total -= (block - first) * BLOCK;
    while (isFree(block)) block++;
  }
  return runs.sort(([one], [other]) => one - other);
}

Deno.test("extendedRegions() agrees with a model that looks at each 2 MiB", () => {
  const property = fc.property(machines, ({ taken, endMiB, side, limit, smallest, largest }) => {
    const sizes = { limitBytes: limit, smallestBytes: smallest, largestBytes: largest }, end = endMiB * MIB;
    const regions = extendedRegions(taken, end, side, sizes).map(({ address, sizeBytes }): [number, number] => {
      assert(address % BLOCK === 0 && sizeBytes % BLOCK === 0);
      assert(!taken.some(({ first, last }) => first < address + sizeBytes && last >= address));
      return [address / BLOCK, (address + sizeBytes) / BLOCK];
    });
    assertEquals(regions, naive(taken, end, side, sizes));
  });
  fc.assert(property, { numRuns: RUNS });
});
