/** VmapSpace: fragments, joins, and any sequence of calls against an array of pages (XENOLITH_PROPERTY_RUNS runs). */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { PAGE_WORDS, VmapSpace } from "../../src/memory/vmap_space.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 500);

function space(pages: number): VmapSpace {
  return new VmapSpace(new Int32Array(pages * PAGE_WORDS), pages);
}

Deno.test("all pages can be taken at once, and no more than these", () => {
  for (const pages of [1, 2, 31, 32, 33, 100, 4096, 100_000]) {
    const whole = space(pages);
    assertEquals([whole.take(pages + 1), whole.take(2 ** 28), whole.take(2 ** 40)], [-1, -1, -1]);
    const first = whole.take(pages);
    assertEquals([first, whole.sizeOf(first), whole.take(1)], [0, pages, -1]);
    whole.give(first);
    assertEquals(whole.take(pages), 0);
  }
});

Deno.test("what is given back is joined with its free neighbours, in whatever order it is", () => {
  const count = 8, size = 3;
  const orders = {
    ascending: [0, 1, 2, 3, 4, 5, 6, 7],
    descending: [7, 6, 5, 4, 3, 2, 1, 0],
    "every other one first": [0, 2, 4, 6, 1, 3, 5, 7],
    "from the middle": [3, 4, 2, 5, 1, 6, 0, 7],
    "from the ends": [0, 7, 1, 6, 2, 5, 3, 4],
  };
  for (const [name, order] of Object.entries(orders)) {
    const whole = space(count * size);
    const blocks = Array.from({ length: count }, () => whole.take(size)).sort((one, other) => one - other);
    assertEquals(blocks, Array.from({ length: count }, (_, index) => index * size));
    assertEquals(whole.take(1), -1, name);
    for (const index of order) whole.give(blocks[index]);
    assertEquals(whole.take(count * size), 0, name);
  }
});

Deno.test("many pages in fragments are of no use for a larger block until two of them are neighbours", () => {
  const whole = space(64);
  const blocks = Array.from({ length: 32 }, () => whole.take(2)).sort((one, other) => one - other);
  for (let index = 0; index < 32; index += 2) whole.give(blocks[index]);
  assertEquals(whole.take(3), -1);
  whole.give(blocks[7]);
  assertEquals(whole.take(7), -1);
  assertEquals(whole.take(6), blocks[6]);
});

Deno.test("the last block that is large enough is found among many of its class that are not", () => {
  const whole = space(1000);
  const sizes = [9, 9, 15, 9, 9];
  const blocks = sizes.map((size) => {
    const block = whole.take(size);
    whole.take(1);
    return block;
  });
  while (whole.take(1) >= 0);
  for (const block of blocks) whole.give(block);
  assertEquals(whole.take(16), -1);
  assertEquals(whole.take(13), blocks[2] + 2);
  assertEquals(whole.take(13), -1);
});

Deno.test("the same calls take the same pages", () => {
  const run = () => {
    const whole = space(500), taken: number[] = [], all: number[] = [];
    for (let step = 0; step < 300; step++) {
      if (step % 3 === 2) whole.give(taken.splice((step * 7) % taken.length, 1)[0]);
      else taken.push(whole.take(1 + (step * 5) % 11));
      all.push(...taken);
      if (taken.at(-1) === -1) taken.pop();
    }
    return all;
  };
  assertEquals(run(), run());
});

Deno.test("VmapSpace takes only what is free, whenever a free run is long enough, and finds what it took", () => {
  const actions = fc.record({
    pages: fc.integer({ min: 1, max: 200 }),
    actions: fc.array(
      fc.oneof(
        {
          weight: 3,
          arbitrary: fc.record({ take: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 90 })) }),
        },
        { weight: 2, arbitrary: fc.record({ give: fc.nat() }) },
      ),
      { maxLength: 60 },
    ),
  });
  const property = fc.property(actions, ({ pages, actions }) => {
    const whole = space(pages), owner = new Array<number>(pages).fill(-1), blocks: number[] = [];
    for (const action of actions) {
      if ("take" in action) {
        const first = whole.take(action.take);
        assertEquals(first >= 0, longestFreeRun(owner) >= action.take, "exactly if there is room");
        if (first < 0) continue;
        assert(owner.slice(first, first + action.take).every((block) => block < 0), "only what is free");
        owner.fill(first, first, first + action.take);
        blocks.push(first);
      } else if (blocks.length > 0) {
        const [block] = blocks.splice(action.give % blocks.length, 1);
        whole.give(block);
        owner.forEach((other, page) => owner[page] = other === block ? -1 : other);
      }
      assertEquals(owner.map((_, page) => whole.blockOf(page)), owner);
      for (let page = 0; page < pages; page++) assertEquals(whole.isTaken(page), blocks.includes(page));
    }
    for (const nothing of [-1, pages, NaN, 0.5]) assertEquals(whole.isTaken(nothing), false);
    for (const nothing of [-1, pages, NaN]) assertEquals(whole.blockOf(nothing), -1);
    for (const block of blocks) whole.give(block);
    assertEquals(whole.take(pages), 0, "everything is one free block again");
  });
  fc.assert(property, { numRuns: RUNS });
});

function longestFreeRun(owner: readonly number[]): number {
  let longest = 0, run = 0;
  for (const block of owner) {
    run = block < 0 ? run + 1 : 0;
    longest = Math.max(longest, run);
  }
  return longest;
}
