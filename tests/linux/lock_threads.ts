/** What the threads of lock.test.ts do. */

import { Lock } from "../../src/linux/lock.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { meet, spinUntil } from "./threads.ts";

/** Words of the shared memory. */
export const LOCK = 3, INSIDE = 4, COUNT = 5, ORDER = 6, GO = 7, DONE = 8, MEETING = 9;

/** Enters `rounds` times and counts without atomics. @returns how often somebody else was inside, too */
export function countInside(address: bigint, rounds: number): number {
  const words = new Int32Array(viewAt(address, 4096)), lock = new Lock(words, LOCK, address);
  let intruders = 0;
  meet(words, MEETING, 2);
  for (let round = 0; round < rounds; round++) {
    lock.hold(() => {
      if (Atomics.add(words, INSIDE, 1) !== 0) intruders++;
      words[COUNT] = words[COUNT] + 1;
      Atomics.sub(words, INSIDE, 1);
    });
  }
  return intruders;
}

/** Enters once a round, when the word GO says so. @returns how often what main wrote while it held the lock was missing */
export function enterWhenTold(address: bigint, rounds: number): number {
  const words = new Int32Array(viewAt(address, 4096)), lock = new Lock(words, LOCK, address);
  let missing = 0;
  for (let round = 1; round <= rounds; round++) {
    spinUntil("told to enter", () => Atomics.load(words, GO) === round);
    lock.hold(() => missing += words[ORDER] === round ? 0 : 1);
    Atomics.store(words, DONE, round);
  }
  return missing;
}
