/** Random machines, from their options to their plan: an extended region is nowhere where anything else is. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { backedRanges } from "../../src/boot/memory_map.ts";
import { planBoot } from "../../src/boot/loaders.ts";
import { MEMORY_TYPE } from "../../src/boot/plan.ts";
import { RESERVED_RANGES, VIRTIO_WINDOW } from "../../src/devices/platform_map.ts";
import { MAX_REGIONS } from "../../src/memory/extended_regions.ts";
import { type ExtendedRegionOptions, machineRegions } from "../../src/machine/options.ts";
import { pvhImage, requestFor } from "../boot/images.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);
const MIB = 2 ** 20, GIB = 2 ** 30, BLOCK = 2 * MIB;

const addresses = fc.oneof(fc.nat(3 * 2 ** 12).map((mib) => mib * MIB), fc.nat(2 ** 10).map((gib) => gib * GIB));
const machines = fc.record({
  memoryBytes: fc.oneof(
    fc.integer({ min: 8, max: 4100 }).map((mib) => mib * MIB),
    fc.integer({ min: 1, max: 300 }).map((gib) => gib * GIB),
  ),
  vcpus: fc.constantFrom(1, 8, 255, 1024),
  addressBits: fc.integer({ min: 32, max: 52 }),
  options: fc.record<ExtendedRegionOptions>({
    limit: fc.oneof(
      fc.integer({ min: 1, max: 5000 }).map((mib) => mib * MIB),
      fc.integer({ min: 1, max: 2000 }).map((gib) => gib * GIB),
    ),
    smallest: fc.integer({ min: 2, max: 128 }).map((mib) => mib * MIB),
    largest: fc.integer({ min: 128, max: 4096 }).map((mib) => mib * MIB),
    place: fc.constantFrom("low", "high"),
    avoid: fc.array(
      fc.tuple(addresses, fc.integer({ min: 1, max: GIB })).map(([first, bytes]) => ({ first, last: first + bytes })),
    ),
  }, { requiredKeys: [] }),
});

Deno.test("an extended region is where nothing of the machine is, within its addresses, and as it was asked for", () => {
  const property = fc.property(machines, ({ memoryBytes, vcpus, addressBits, options }) => {
    const asked = machineRegions(options, memoryBytes, addressBits);
    const { regions, memoryMap } = planBoot(requestFor(pvhImage(), { memoryBytes, vcpus, regions: asked }));
    assertEquals(regions, asked);
    const { limit = Math.max(memoryBytes, GIB), smallest = 64 * MIB, largest = Infinity, avoid = [] } = options;
    const others = [
      ...backedRanges(memoryBytes).map(({ address, sizeBytes }) => ({ first: address, last: address + sizeBytes - 1 })),
      ...memoryMap.filter(({ type }) => type !== MEMORY_TYPE.UNUSABLE)
        .map(({ address, sizeBytes }) => ({ first: address, last: address + sizeBytes - 1 })),
      ...RESERVED_RANGES,
      { first: VIRTIO_WINDOW.address, last: VIRTIO_WINDOW.address + 16 * VIRTIO_WINDOW.apart },
      ...avoid,
    ];
    let total = 0, before = 0;
    for (const { address, sizeBytes } of regions) {
      const end = address + sizeBytes;
      assert(address % BLOCK === 0 && sizeBytes % BLOCK === 0 && address >= before, "2 MiB, and sorted");
      assert(sizeBytes >= Number(smallest) && sizeBytes <= Number(largest), `${sizeBytes} bytes`);
      assert(end <= 2 ** Math.min(addressBits, 41), `the end 0x${end.toString(16)}`);
      const over = others.find(({ first, last }) => first < end && last >= address);
      assertEquals(over, undefined, `0x${address.toString(16)} + 0x${sizeBytes.toString(16)}`);
      total += sizeBytes;
      before = end;
    }
    assert(total <= Number(limit) && regions.length <= MAX_REGIONS);
    const told = memoryMap.filter(({ type }) => type === MEMORY_TYPE.UNUSABLE);
    assertEquals(told.map(({ address, sizeBytes }) => ({ address, sizeBytes })), [...regions]);
  });
  fc.assert(property, { numRuns: RUNS });
});
