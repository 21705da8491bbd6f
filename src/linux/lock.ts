/** A lock between the isolates of this process: a futex on a word of shared memory. */

import * as calls from "./calls.ts";
import { pointerTo } from "./mapping.ts";

const FUTEX_WAIT_PRIVATE = 128, FUTEX_WAKE_PRIVATE = 129;
const FREE = 0, HELD = 1, CONTENDED = 2;

/** Not recursive, not fair; what it protects must be short. */
export class Lock {
  readonly #word: Deno.PointerObject;

  /** @param words the memory that holds the lock word; @param address where `words` begins */
  constructor(private readonly words: Int32Array, private readonly index: number, address: bigint) {
    this.#word = pointerTo(address + BigInt(index * 4));
  }

  /** Runs `body` with the lock held; it is given back when `body` throws, too. */
  hold<T>(body: () => T): T {
    this.acquire();
    try {
      return body();
    } finally {
      this.release();
    }
  }

  /** Where a closure would be one allocation too many; {@linkcode release} must follow whatever happens. */
  acquire(): void {
    if (Atomics.compareExchange(this.words, this.index, FREE, HELD) === FREE) return;
    while (Atomics.exchange(this.words, this.index, CONTENDED) !== FREE) {
      calls.futex(this.#word, FUTEX_WAIT_PRIVATE, CONTENDED);
    }
  }

  /** Gives it back. */
  release(): void {
    if (Atomics.exchange(this.words, this.index, FREE) === CONTENDED) calls.futex(this.#word, FUTEX_WAKE_PRIVATE, 1);
  }
}
