/** P2m: lookups in and outside of it, and any sequence of changes against a Map (XENOLITH_PROPERTY_RUNS runs). */

import { assert, assertEquals, assertLess, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type Gfn, PAGE_SIZE, SUPERPAGE_FRAMES } from "../../src/memory/address.ts";
import { P2m, P2M_ADDRESS_BITS, P2M_INVALID, P2M_TYPE, p2mMemory, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import { residentGrowth } from "../linux/process.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);
const GFNS = 2 ** P2M_ADDRESS_BITS / PAGE_SIZE;
const TYPES = [P2M_TYPE.RAM_RW, P2M_TYPE.RAM_RO, P2M_TYPE.MMIO_DM];

Deno.test("a new p2m maps nothing, and what is outside of it is invalid, too", () => {
  using memory = p2mMemory();
  const p2m = new P2m(memory.address);
  const gfns = [0, 1, SUPERPAGE_FRAMES, GFNS - 1, GFNS, -1, NaN, Infinity, -Infinity, 2 ** 40, 2 ** 53, 0.5];
  for (const gfn of gfns) {
    assertEquals(p2m.lookup(gfn), P2M_INVALID, `gfn ${gfn}`);
    assertEquals(p2mType(p2m.lookup(gfn)), P2M_TYPE.INVALID);
  }
  p2m.map(0 as Gfn, 512, 3, P2M_TYPE.RAM_RW);
  p2m.map(SUPERPAGE_FRAMES as Gfn, 1024, SUPERPAGE_FRAMES, P2M_TYPE.RAM_RW);
  for (const gfn of [-1, -0.5, 0.5, NaN, SUPERPAGE_FRAMES + 0.5]) {
    assertEquals(p2m.lookup(gfn), P2M_INVALID, `gfn ${gfn}`);
  }
});

Deno.test("an entry carries every type with every mfn", () => {
  using memory = p2mMemory();
  const p2m = new P2m(memory.address);
  for (const type of TYPES) {
    for (const mfn of [1, 512, 2 ** 27, 2 ** 28 - 1]) {
      p2m.map(7 as Gfn, mfn, 1, type);
      assertEquals([p2mType(p2m.lookup(7)), p2mMfn(p2m.lookup(7))], [type, mfn]);
    }
  }
});

Deno.test("map() and unmap() refuse what is outside of the p2m, and mfns that no entry can hold", () => {
  using memory = p2mMemory();
  const p2m = new P2m(memory.address);
  for (
    const [gfn, count] of [[-1, 1], [GFNS, 1], [GFNS - 1, 2], [0, -1], [0, GFNS + 1], [NaN, 1], [0, NaN], [0.5, 1]]
  ) {
    assertThrows(() => p2m.map(gfn as Gfn, 512, count, P2M_TYPE.RAM_RW), RangeError);
    assertThrows(() => p2m.unmap(gfn as Gfn, count), RangeError, "outside the p2m");
  }
  for (const [mfn, count] of [[2 ** 28, 1], [2 ** 28 - 1, 2], [-1, 1], [NaN, 1]]) {
    assertThrows(() => p2m.map(0 as Gfn, mfn, count, P2M_TYPE.RAM_RW), RangeError, "no machine frames");
  }
  assertEquals(p2m.lookup(0), P2M_INVALID);
});

Deno.test("the ends of the p2m can be mapped", () => {
  using memory = p2mMemory();
  const p2m = new P2m(memory.address);
  p2m.map(GFNS - 1 as Gfn, 600, 1, P2M_TYPE.RAM_RW);
  p2m.map(0 as Gfn, 700, 1, P2M_TYPE.RAM_RO);
  assertEquals([p2mMfn(p2m.lookup(GFNS - 1)), p2mMfn(p2m.lookup(0))], [600, 700]);
  assertEquals([p2m.lookup(GFNS - 2), p2m.lookup(1)], [P2M_INVALID, P2M_INVALID]);
});

Deno.test("a second view of the table sees every change", () => {
  using memory = p2mMemory();
  const one = new P2m(memory.address), other = new P2m(memory.address);
  one.map(5 as Gfn, 900, SUPERPAGE_FRAMES, P2M_TYPE.RAM_RW);
  assertEquals(p2mMfn(other.lookup(SUPERPAGE_FRAMES)), 900 + SUPERPAGE_FRAMES - 5);
  other.unmap(6 as Gfn, 1);
  assertEquals(one.lookup(6), P2M_INVALID);
});

/** Runs that begin and end at superpages, one page beside them, and anywhere. */
const WINDOW = 5 * SUPERPAGE_FRAMES;
const boundary = fc.tuple(fc.nat(4), fc.constantFrom(-1, 0, 0, 0, 1)).map(([page, by]) => page * SUPERPAGE_FRAMES + by);
const position = fc.oneof(boundary, fc.nat(WINDOW)).map((gfn) => Math.max(0, gfn));
const action = fc.record({
  map: fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, { weight: 2, arbitrary: fc.constant(false) }),
  one: position,
  other: position,
  mfn: fc.nat(2 ** 28 - 1 - WINDOW).map((mfn) => mfn + 1),
  type: fc.constantFrom(...TYPES),
});

Deno.test("P2m maps and unmaps runs as a Map of pages does, superpages or not", () => {
  using memory = p2mMemory();
  const p2m = new P2m(memory.address);
  const property = fc.property(fc.array(action, { maxLength: 12 }), fc.nat(3), (actions, base) => {
    const start = base * 2 ** 20;
    p2m.unmap(start as Gfn, WINDOW + SUPERPAGE_FRAMES);
    const model = new Map<number, { mfn: number; type: number }>();
    for (const { map, one, other, mfn, type } of actions) {
      const first = start + Math.min(one, other), count = Math.abs(one - other);
      if (map) p2m.map(first as Gfn, mfn, count, type);
      else p2m.unmap(first as Gfn, count);
      for (let page = 0; page < count; page++) {
        if (map) model.set(first + page, { mfn: mfn + page, type });
        else model.delete(first + page);
      }
    }
    for (let gfn = start; gfn < start + WINDOW + 2; gfn++) {
      const entry = p2m.lookup(gfn), expected = model.get(gfn);
      if (expected === undefined) assert(entry === P2M_INVALID, `gfn ${gfn} is 0x${entry.toString(16)}`);
      else assert(p2mMfn(entry) === expected.mfn && p2mType(entry) === expected.type, `gfn ${gfn}`);
    }
  });
  fc.assert(property, { numRuns: RUNS });
});

Deno.test("a p2m with 64 GiB of RAM in superpages costs next to nothing", () => {
  const growth = residentGrowth(() => {
    const memory = p2mMemory(), p2m = new P2m(memory.address);
    p2m.map(0 as Gfn, 512, 2 ** 36 / PAGE_SIZE, P2M_TYPE.RAM_RW);
    assertEquals(p2mMfn(p2m.lookup(2 ** 24 - 1)), 512 + 2 ** 24 - 1);
    return memory;
  });
  assertLess(growth, 4 << 20);
});
