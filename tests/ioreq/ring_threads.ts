/** What the thread of buffered_ring.test.ts does: it fills the ring. */

import { BufferedRing } from "../../src/ioreq/buffered_ring.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { meet, spinUntil } from "../linux/threads.ts";

/** Behind the ring's page: where the two meet. */
export const MEETING = 1024, PAGE = 4096;

/** Write number n: its size, and its data. Every fifth takes two slots. */
export function nthWrite(n: number): { size: number; low: number; high: number } {
  return n % 5 === 0 ? { size: 8, low: n, high: n ^ 0xffff } : { size: 4, low: n, high: 0 };
}

/** Pushes `count` writes, ATOMIC or LEGACY, as fast as there is room. @returns how often the ring was full */
export function pushAll(memory: bigint, count: number, atomic: boolean): number {
  const view = viewAt(memory, 2 * PAGE), ring = new BufferedRing(viewAt(memory, PAGE));
  let full = 0;
  meet(new Int32Array(view), MEETING, 2);
  for (let n = 0; n < count; n++) {
    const { size, low, high } = nthWrite(n);
    spinUntil("there is room", () => ring.push(1, n & 0xfffff, size, low, high, atomic) || full++ < 0);
  }
  return full;
}
