/**
 * Wake boards: how whoever has something for a vCPU wakes the thread that serves it, in this process or another.
 *
 * A waiting thread (a "waiter") serves a block of vCPUs and sleeps on one eventfd. The board is 8192 bytes of shared
 * memory, zeroed at first, little-endian as the processor is:
 *
 * | bytes       | what                                                                                               |
 * | ----------- | -------------------------------------------------------------------------------------------------- |
 * | 0 to 511    | 128 words of 32 bits: bit n % 32 of word n / 32 says that there is something for vCPU n            |
 * | 512 to 4095 | reserved, 0                                                                                        |
 * | 4096 + w    | a byte for each waiter w: 1 while it sleeps, or is about to, and its eventfd has to be written to  |
 *
 * The waiter of vCPU n is n / vcpusPerWaiter, rounded down. To wake: set the vCPU's bit, then exchange the waiter's byte
 * for 0, and only if it was 1 write 8 bytes (the number 1) to the waiter's eventfd. Both are full barriers (`lock or`,
 * `xchg` on x86), in this order, after the state that the vCPU is to look at was written. Nothing here allocates.
 */

import { signalEvent } from "../linux/event_descriptor.ts";
import { viewAt } from "../linux/mapping.ts";

/** Where the parts begin, in bytes. */
export const WAKE_BOARD = { flags: 0, asleep: 4096 } as const;

/** Bytes of a board. */
export const WAKE_BOARD_BYTES = 8192;

/** vCPUs, and waiters, that a board has room for: KVM's vCPU ids end at 4095. */
export const WAKE_BOARD_VCPUS = 4096;

const FLAG_WORDS = WAKE_BOARD_VCPUS / 32;
const AWAKE = 0, ASLEEP = 1;

/** A board as one isolate sees it. */
export class WakeBoard {
  readonly #flags: Int32Array;
  readonly #asleep: Uint8Array;
  /** Words of bits that a waiter looks at, from the one that its first vCPU is in. */
  readonly #words: number;

  /**
   * @param address where {@linkcode WAKE_BOARD_BYTES} bytes begin
   * @param vcpusPerWaiter 1, or a multiple of 32: then no word of bits belongs to two waiters
   * @param doorbells eventfd of each waiter, by its number in this process; whoever only waits needs none
   * @throws {RangeError} another number of vCPUs per waiter
   */
  constructor(
    address: bigint,
    private readonly vcpusPerWaiter: number,
    private readonly doorbells: ArrayLike<number>,
  ) {
    if (vcpusPerWaiter !== 1 && !(vcpusPerWaiter > 0 && vcpusPerWaiter % 32 === 0)) {
      throw new RangeError(`${vcpusPerWaiter} vCPUs a waiter: neither 1 nor a multiple of 32`);
    }
    const memory = viewAt(address, WAKE_BOARD_BYTES);
    this.#flags = new Int32Array(memory, WAKE_BOARD.flags, FLAG_WORDS);
    this.#asleep = new Uint8Array(memory, WAKE_BOARD.asleep);
    this.#words = Math.ceil(vcpusPerWaiter / 32);
  }

  /** After there is something for `vcpu`: its waiter will look. A system call only if the waiter sleeps. */
  wake(vcpu: number): void {
    Atomics.or(this.#flags, vcpu >>> 5, 1 << (vcpu & 31));
    const waiter = (vcpu / this.vcpusPerWaiter) | 0;
    // The bit first: a waiter that armed too late to be seen here looks at the bits after that, and finds it.
    if (Atomics.exchange(this.#asleep, waiter, AWAKE) === ASLEEP) signalEvent(this.doorbells[waiter]);
  }

  /** The waiter: from now on a wake writes to the eventfd. Then look once more before sleeping. */
  arm(waiter: number): void {
    Atomics.store(this.#asleep, waiter, ASLEEP);
  }

  /** The waiter: it is awake. An eventfd that was written to meanwhile wakes once for nothing. */
  disarm(waiter: number): void {
    Atomics.store(this.#asleep, waiter, AWAKE);
  }

  /** The waiter: whether there is something for any of its vCPUs. */
  attention(waiter: number): boolean {
    const first = (waiter * this.vcpusPerWaiter) >>> 5, end = Math.min(first + this.#words, FLAG_WORDS);
    const mask = this.#mask(waiter);
    for (let word = first; word < end; word++) {
      if ((Atomics.load(this.#flags, word) & mask) !== 0) return true;
    }
    return false;
  }

  /**
   * The waiter: takes its vCPUs' bits and calls `deliver` with each, lowest first. A bit is gone before `deliver` looks
   * at what it stands for, so what comes meanwhile sets it again.
   * @returns how many there were
   */
  drain(waiter: number, deliver: (vcpu: number) => void): number {
    const first = (waiter * this.vcpusPerWaiter) >>> 5, end = Math.min(first + this.#words, FLAG_WORDS);
    const mask = this.#mask(waiter);
    let count = 0;
    for (let word = first; word < end; word++) {
      if ((Atomics.load(this.#flags, word) & mask) === 0) continue;
      let bits = Atomics.and(this.#flags, word, ~mask) & mask;
      for (; bits !== 0; bits &= bits - 1, count++) deliver(word * 32 + 31 - Math.clz32(bits & -bits));
    }
    return count;
  }

  /** The bits of a word that are this waiter's: all, or the one of its only vCPU. */
  #mask(waiter: number): number {
    return this.vcpusPerWaiter === 1 ? 1 << (waiter & 31) : -1;
  }
}
