/** RangeSet: Xen's answers (hvm_map_io_range_to_ioreq_server and back), and any sequence against a naive set of points. */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { EEXIST, EINVAL, ENOENT, ENOMEM } from "../../src/linux/errno.ts";
import { MAX_RANGES } from "../../src/ioreq/abi.ts";
import { DmOpError } from "../../src/ioreq/dm_op_error.ts";
import { RANGE_SET_BYTES, RangeSet } from "../../src/ioreq/range_set.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 1000);

const BESIDE = 32;

/** A set somewhere in the midst of memory, so that writing beside it shows. */
function rangeSet(): { set: RangeSet; counts: Int32Array; memory: Uint8Array } {
  const counts = new Int32Array(3), memory = new Uint8Array(BESIDE + RANGE_SET_BYTES + BESIDE);
  return { set: new RangeSet(counts, 1, memory.buffer, BESIDE), counts, memory };
}

type Range = [first: number, last: number];
type Step = ["add" | "remove", first: number, last: number, errno?: number];

const TABLE: Record<string, { steps: Step[]; ranges: Range[] }> = {
  "one port": { steps: [["add", 0x60, 0x60]], ranges: [[0x60, 0x60]] },
  "ranges are kept in order": {
    steps: [["add", 30, 39], ["add", 10, 19], ["add", 50, 59]],
    ranges: [[10, 19], [30, 39], [50, 59]],
  },
  "neighbours below and above become one range": {
    steps: [["add", 10, 19], ["add", 30, 39], ["add", 20, 29]],
    ranges: [[10, 39]],
  },
  "a gap of one keeps them apart": { steps: [["add", 10, 18], ["add", 20, 29]], ranges: [[10, 18], [20, 29]] },
  "an overlap is EEXIST": {
    steps: [
      ["add", 10, 19],
      ["add", 19, 25, EEXIST],
      ["add", 5, 10, EEXIST],
      ["add", 12, 13, EEXIST],
      ["add", 0, 99, EEXIST],
      ["add", 10, 19, EEXIST],
    ],
    ranges: [[10, 19]],
  },
  "an end before its start is EINVAL": {
    steps: [["add", 10, 19], ["add", 5, 4, EINVAL], ["remove", 12, 11, EINVAL]],
    ranges: [[10, 19]],
  },
  "what is no address is EINVAL": {
    steps: [
      ["add", -1, 4, EINVAL],
      ["add", 0, 2 ** 53, EINVAL],
      ["add", NaN, 4, EINVAL],
      ["add", 0, NaN, EINVAL],
      ["add", 0.5, 4, EINVAL],
      ["remove", -1, 4, EINVAL],
      ["remove", 0, Infinity, EINVAL],
    ],
    ranges: [],
  },
  "removing what is not all there is ENOENT": {
    steps: [
      ["add", 10, 19],
      ["add", 30, 39],
      ["remove", 9, 12, ENOENT],
      ["remove", 19, 20, ENOENT],
      ["remove", 15, 35, ENOENT],
      ["remove", 22, 23, ENOENT],
    ],
    ranges: [[10, 19], [30, 39]],
  },
  "a whole range can be removed": { steps: [["add", 10, 19], ["remove", 10, 19]], ranges: [] },
  "removing from either end leaves the rest": {
    steps: [["add", 10, 19], ["remove", 10, 12], ["remove", 18, 19]],
    ranges: [[13, 17]],
  },
  "removing from the middle leaves two": {
    steps: [["add", 10, 19], ["remove", 13, 15]],
    ranges: [[10, 12], [16, 19]],
  },
  "a range may be removed over what were two": {
    steps: [["add", 10, 19], ["add", 20, 29], ["remove", 15, 24]],
    ranges: [[10, 14], [25, 29]],
  },
  "addresses are exact above 2^32": {
    steps: [["add", 2 ** 52, 2 ** 52 + 1], ["add", 2 ** 52 + 2, 2 ** 52 + 2]],
    ranges: [[2 ** 52, 2 ** 52 + 2]],
  },
};

for (const [name, { steps, ranges }] of Object.entries(TABLE)) {
  Deno.test(`RangeSet: ${name}`, () => {
    const { set } = rangeSet();
    for (const [operation, first, last, errno] of steps) {
      const before = set.list();
      if (errno === undefined) {
        set[operation](first, last);
        continue;
      }
      assertEquals(assertThrows(() => set[operation](first, last), DmOpError).errno, errno, `${first}-${last}`);
      assertEquals(set.list(), before);
    }
    assertEquals([set.list(), set.length], [ranges, ranges.length]);
  });
}

Deno.test("RangeSet.contains() wants the whole access in one range", () => {
  const { set } = rangeSet();
  for (const [first, last] of [[10, 19], [30, 39], [41, 41]]) set.add(first, last);
  const inside: Range[] = [[10, 19], [10, 10], [19, 19], [12, 15], [30, 33], [41, 41]];
  const outside: Range[] = [[9, 9], [9, 10], [19, 20], [20, 29], [10, 39], [39, 41], [40, 40], [42, 42], [0, 2 ** 53]];
  assertEquals(inside.filter(([first, last]) => !set.contains(first, last)), []);
  assertEquals(outside.filter(([first, last]) => set.contains(first, last)), []);
  set.clear();
  assertEquals(inside.filter(([first, last]) => set.contains(first, last)), []);
});

Deno.test(`RangeSet takes ${MAX_RANGES} disjoint ranges, counted after merging, and no more`, () => {
  const { set, counts, memory } = rangeSet();
  for (let index = 0; index < MAX_RANGES; index++) set.add(index * 10, index * 10 + 4);
  const full = set.list();
  assertEquals(assertThrows(() => set.add(9000, 9001), DmOpError).errno, ENOMEM);
  assertEquals(assertThrows(() => set.remove(2, 2), DmOpError).errno, ENOMEM, "this would leave one more");
  assertEquals(set.list(), full);
  set.add(5, 9);
  assertEquals(set.length, MAX_RANGES - 1);
  set.add(9000, 9001);
  assertEquals(set.length, MAX_RANGES);
  set.remove(0, 14);
  assertEquals(set.length, MAX_RANGES - 1);
  const beside = [counts[0], counts[2], ...memory.subarray(0, BESIDE), ...memory.subarray(-BESIDE)];
  assertEquals(beside.every((value) => value === 0), true, "it wrote beside its memory");
});

Deno.test("a DmOpError says Xen's operation, the range and the error's name in one line", () => {
  const { set } = rangeSet();
  const message = (body: () => void) => assertThrows(body, DmOpError).message;
  assertEquals(message(() => set.add(2, 1)), "map_io_range_to_ioreq_server: [0x2, 0x1]: EINVAL");
  assertEquals(message(() => set.remove(0x10, 0x1f)), "unmap_io_range_from_ioreq_server: [0x10, 0x1f]: ENOENT");
});

Deno.test("cover() adds what is missing, whatever is there", () => {
  const { set } = rangeSet();
  for (const [first, last] of [[10, 19], [30, 39], [50, 59]]) set.cover(first, last);
  set.cover(12, 15);
  assertEquals(set.list(), [[10, 19], [30, 39], [50, 59]]);
  set.cover(15, 35);
  assertEquals(set.list(), [[10, 39], [50, 59]]);
  set.cover(40, 44);
  set.cover(0, 99);
  assertEquals(set.list(), [[0, 99]]);
  assertEquals(assertThrows(() => set.cover(2, 1), DmOpError).errno, EINVAL);
});

Deno.test("a range's tally goes with it: to what it is merged into, and to the lower piece of what is cut", () => {
  const { set } = rangeSet();
  const tallies = () => set.tallies().map(({ first, last, requests, ticks }) => [first, last, requests, ticks]);
  set.add(10, 19);
  set.tally(12, 5);
  set.tally(19, 2 ** 33 + 7);
  set.tally(20, 1000); // nobody's by now
  assertEquals(tallies(), [[10, 19, 2, 2 ** 33 + 12]]);
  set.add(30, 39);
  set.tally(30, 2 ** 32 - 1);
  set.tally(30, 2 ** 32 - 1);
  assertEquals(tallies(), [[10, 19, 2, 2 ** 33 + 12], [30, 39, 2, 2 ** 33 - 2]]);
  set.add(20, 29);
  assertEquals(tallies(), [[10, 39, 4, 2 ** 34 + 10]]);
  set.remove(10, 14);
  assertEquals(tallies(), [[15, 39, 4, 2 ** 34 + 10]]);
  set.remove(20, 25);
  assertEquals(tallies(), [[15, 19, 4, 2 ** 34 + 10], [26, 39, 0, 0]]);
  set.remove(15, 19);
  assertEquals(tallies(), [[26, 39, 0, 0]]);
});

/** The points that are in, one by one; adjacent points are one range. */
function rangesOf(points: Set<number>): Range[] {
  const ranges: Range[] = [];
  for (const point of [...points].sort((one, other) => one - other)) {
    const before = ranges.at(-1);
    if (before !== undefined && before[1] === point - 1) before[1] = point;
    else ranges.push([point, point]);
  }
  return ranges;
}

Deno.test("RangeSet does what a set of points does, whatever is added and removed", () => {
  const step = fc.record({
    add: fc.boolean(),
    first: fc.nat(60),
    length: fc.nat(12),
    base: fc.constantFrom(0, 2 ** 40),
  });
  const property = fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const { set } = rangeSet(), points = new Set<number>();
    for (const { add, first, length, base } of steps) {
      const start = base + first, wanted = Array.from({ length: length + 1 }, (_, index) => start + index);
      const present = wanted.filter((point) => points.has(point)).length;
      const body = () => set[add ? "add" : "remove"](start, start + length);
      assertEquals(set.contains(start, start + length), present === wanted.length);
      if (add && present > 0) assertEquals(assertThrows(body, DmOpError).errno, EEXIST);
      else if (!add && present < wanted.length) assertEquals(assertThrows(body, DmOpError).errno, ENOENT);
      else {
        body();
        for (const point of wanted) {
          if (add) points.add(point);
          else points.delete(point);
        }
      }
      assertEquals(set.list(), rangesOf(points));
    }
  });
  fc.assert(property, { numRuns: RUNS });
});
