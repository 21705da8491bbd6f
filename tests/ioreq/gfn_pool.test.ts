/** GfnPool: which gfn is next, what may be given back, any sequence against a set, and two threads at one pool. */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Gfn } from "../../src/memory/address.ts";
import { GfnPool } from "../../src/ioreq/gfn_pool.ts";
import { Thread } from "../linux/threads.ts";
import { between } from "../support/between.ts";
import { sharedPool } from "./pool_threads.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 500);
const THREADS = new URL("./pool_threads.ts", import.meta.url).href;
const BASE = 0xfef00 as Gfn;

Deno.test("a pool gives each of its gfns once, the lowest first, and then none", () => {
  for (const count of [0, 1, 31, 32, 33, 64, 72, 100]) {
    const pool = new GfnPool(GfnPool.memory(count), BASE, count);
    const gfns = Array.from({ length: count }, () => pool.allocate());
    assertEquals(gfns, Array.from({ length: count }, (_, index) => BASE + index as Gfn));
    assertEquals([pool.allocate(), pool.available], [undefined, 0], `${count} gfns`);
    for (const gfn of gfns) pool.release(gfn!);
    assertEquals([pool.available, count === 0 ? BASE : pool.allocate()], [count, BASE]);
  }
});

Deno.test("release() refuses what is not of the pool, and what nobody has taken", () => {
  const pool = new GfnPool(GfnPool.memory(40), BASE, 40), gfn = pool.allocate()!;
  for (const wrong of [BASE - 1, BASE + 40, BASE + 63, 0, -1, NaN, BASE + 1]) {
    assertThrows(() => pool.release(wrong as Gfn), RangeError, "was not taken from the pool");
  }
  pool.release(gfn);
  assertThrows(() => pool.release(gfn), RangeError, "was not taken from the pool");
  assertEquals(pool.available, 40);
});

Deno.test("a pool does what a set of free numbers does, whatever is taken and given back", () => {
  const property = fc.property(
    fc.integer({ min: 1, max: 70 }),
    fc.array(fc.option(fc.nat(75), { nil: undefined }), { maxLength: 150 }),
    (count, steps) => {
      const pool = new GfnPool(GfnPool.memory(count), BASE, count);
      const free = new Set(Array.from({ length: count }, (_, index) => BASE + index));
      for (const step of steps) {
        if (step === undefined) {
          const lowest = free.size === 0 ? undefined : Math.min(...free);
          assertEquals<number | undefined>(pool.allocate(), lowest);
          free.delete(lowest!);
        } else if (step < count && !free.has(BASE + step)) {
          pool.release(BASE + step as Gfn);
          free.add(BASE + step);
        } else {
          assertThrows(() => pool.release(BASE + step as Gfn), RangeError);
        }
        assertEquals(pool.available, free.size);
      }
    },
  );
  fc.assert(property, { numRuns: RUNS });
});

Deno.test("a gfn that somebody else takes between the look and the step is his", () => {
  const words = GfnPool.memory(40), pool = new GfnPool(words, BASE, 40), other = new GfnPool(words, BASE, 40);
  const others: (Gfn | undefined)[] = [];
  const gfn = between("load", (call) => call < 3 && others.push(other.allocate()), () => pool.allocate());
  assertEquals([others, gfn], [[BASE, BASE + 1, BASE + 2] as Gfn[], BASE + 3 as Gfn]);
  assertEquals(pool.available, 36);
});

Deno.test("the last gfn that somebody else takes between the look and the step leaves none", () => {
  const words = GfnPool.memory(33), pool = new GfnPool(words, BASE, 33), other = new GfnPool(words, BASE, 33);
  for (let gfn = 0; gfn < 32; gfn++) pool.allocate();
  assertEquals(between("load", (call) => call === 1 && other.allocate(), () => pool.allocate()), undefined);
});

Deno.test("two threads that take from one pool at once never have the same gfn", async () => {
  const shared = sharedPool(33);
  using stack = new DisposableStack();
  const threads = [0, 1].map(() => stack.use(new Thread<number>(THREADS, "takeAndGive", shared, 300_000)));
  assertEquals(await Promise.all(threads.map((thread) => thread.result)), [0, 0]);
  assertEquals(new GfnPool(shared.free, BASE, 33).available, 33, "one was lost");
});
