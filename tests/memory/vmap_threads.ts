/** What the threads of vmap_threads.test.ts do: they know areas by their addresses only. */

import { viewAt } from "../../src/linux/mapping.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { firstWords } from "./vmap_machine.ts";

/** Words of the shared memory. */
export const READING = 0, STOP = 1;

/** Reads an area, and writes to the second word of each page what it read. @returns what it read */
export function copyFirstWords(address: bigint, pages: number): number[] {
  const words = new Uint32Array(viewAt(address, pages * PAGE_SIZE));
  firstWords({ address, pages }).forEach((word, page) => words[page * PAGE_SIZE / 4 + 1] = word);
  return firstWords({ address, pages });
}

/** Reads the pages of an area until it is told to stop. @returns all words that were at the beginning of each page */
export function wordsSeen(address: bigint, pages: number, controlAddress: bigint): number[][] {
  const words = new Uint32Array(viewAt(address, pages * PAGE_SIZE)),
    control = new Int32Array(viewAt(controlAddress, 8));
  const seen = Array.from({ length: pages }, () => new Set<number>());
  for (let last = false; !last;) {
    last = Atomics.load(control, STOP) !== 0;
    for (let page = 0; page < pages; page++) seen[page].add(Atomics.load(words, page * PAGE_SIZE / 4));
    Atomics.add(control, READING, 1);
  }
  return seen.map((words) => [...words]);
}
