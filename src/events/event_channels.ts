/** Event channels to one waiting thread: a bit a port in shared memory, and the thread's doorbell. */

import type { Doorbell } from "./doorbell.ts";

/** Ports 0 to 32 * words - 1 at one doorbell. */
export class EventChannels {
  /** @param words memory whose `count` words from `first` hold the pending bits */
  constructor(
    private readonly words: Int32Array,
    private readonly first: number,
    private readonly count: number,
    readonly doorbell: Doorbell,
  ) {}

  /** Sets the port's pending bit and rings. */
  send(port: number): void {
    Atomics.or(this.words, this.first + (port >>> 5), 1 << (port & 31));
    this.doorbell.ring();
  }

  /** The owner: whether any port is pending. */
  get pending(): boolean {
    for (let word = 0; word < this.count; word++) {
      if (Atomics.load(this.words, this.first + word) !== 0) return true;
    }
    return false;
  }

  /** The owner: takes all pending bits and calls `deliver` with each port, lowest first. @returns how many */
  drain(deliver: (port: number) => void): number {
    let ports = 0;
    for (let word = 0; word < this.count; word++) {
      if (Atomics.load(this.words, this.first + word) === 0) continue;
      let bits = Atomics.exchange(this.words, this.first + word, 0);
      for (; bits !== 0; bits &= bits - 1, ports++) deliver(word * 32 + 31 - Math.clz32(bits & -bits));
    }
    return ports;
  }
}
