/** PageSet: its borders, and any sequence of changes against a Set (XENOLITH_PROPERTY_RUNS runs). */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { PageSet } from "../../src/memory/vmap_page_set.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);

Deno.test("PageSet finds its members and those below any page, whatever its size is", () => {
  for (const size of [1, 2, 31, 32, 33, 1024, 1025, 32 ** 3, 32 ** 3 + 1, 2 ** 24]) {
    const set = new PageSet(size), last = size - 1, middle = size >> 1;
    assertEquals([set.atOrBefore(last), set.atOrBefore(0), set.atOrBefore(-1), set.has(last)], [-1, -1, -1, false]);
    set.add(last);
    assertEquals([set.atOrBefore(last), set.atOrBefore(last - 1), set.has(last)], [last, -1, true], `size ${size}`);
    set.add(0);
    set.add(middle);
    set.add(middle);
    assertEquals(set.atOrBefore(last - 1), size > 1 ? middle === last ? 0 : middle : -1, `size ${size}`);
    assertEquals(set.atOrBefore(middle - 1), size > 1 ? 0 : -1, `size ${size}`);
    for (const page of new Set([0, middle, last])) set.delete(page);
    assertEquals(set.atOrBefore(last), -1, `size ${size}`);
  }
});

Deno.test("PageSet.has() is false for what is no page", () => {
  const set = new PageSet(64);
  for (let page = 0; page < 64; page++) set.add(page);
  for (const nothing of [-1, 64, 0.5, NaN, Infinity, -Infinity, 2 ** 32, 2 ** 53]) {
    assertEquals(set.has(nothing), false, `${nothing}`);
  }
});

Deno.test("PageSet is a Set that knows the next lower member, whatever is added and deleted", () => {
  const size = fc.constantFrom(1, 40, 1100, 40_000);
  const actions = size.chain((size) =>
    fc.record({
      size: fc.constant(size),
      pages: fc.array(fc.record({ page: fc.nat(size - 1), add: fc.boolean(), look: fc.nat(size - 1) })),
    })
  );
  const property = fc.property(actions, ({ size, pages }) => {
    const set = new PageSet(size), model = new Set<number>();
    for (const { page, add, look } of pages) {
      if (add) {
        set.add(page);
        model.add(page);
      } else if (model.delete(page)) {
        set.delete(page);
      }
      assertEquals([set.has(page), set.has(look)], [model.has(page), model.has(look)]);
      assertEquals(set.atOrBefore(look), Math.max(-1, ...[...model].filter((member) => member <= look)));
    }
  });
  fc.assert(property, { numRuns: RUNS });
});
