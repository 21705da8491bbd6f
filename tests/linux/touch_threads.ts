/** What another thread does at addresses of this process, where it may have to wait: for userfaultfd.test.ts. */

import { threadId } from "../../src/linux/signal.ts";
import { viewAt } from "../../src/linux/mapping.ts";

/** Words of the shared memory: the thread's id, what it has done. */
export const THREAD = 0, DONE = 1;

/** Reads a byte. @returns it */
export function read(words: Int32Array, address: bigint): number {
  Atomics.store(words, THREAD, threadId());
  const [byte] = new Uint8Array(viewAt(address, 1));
  Atomics.store(words, DONE, 1);
  return byte;
}

/** Writes a byte. */
export function write(words: Int32Array, address: bigint, value: number): void {
  Atomics.store(words, THREAD, threadId());
  new Uint8Array(viewAt(address, 1))[0] = value;
  Atomics.store(words, DONE, 1);
}
