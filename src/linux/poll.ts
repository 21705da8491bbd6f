/** poll(2) on a set of descriptors that changes from wait to wait, without allocating. */

import * as calls from "./calls.ts";

export const POLLIN = 1, POLLPRI = 2, POLLOUT = 4, POLLERR = 8, POLLHUP = 16;

const NO_TIME = new BigInt64Array(2); // struct timespec
const ENTRY_BYTES = 8; // struct pollfd: int fd, short events, short revents

/** A reusable poll set. */
export class PollSet {
  readonly #bytes: ArrayBuffer;
  readonly #descriptors: Int32Array;
  readonly #events: Int16Array;
  readonly #buffer: Uint8Array<ArrayBuffer>;
  readonly #time = new BigInt64Array(2); // struct timespec
  #count = 0;

  constructor(private readonly capacity: number) {
    this.#bytes = new ArrayBuffer(capacity * ENTRY_BYTES);
    this.#descriptors = new Int32Array(this.#bytes);
    this.#events = new Int16Array(this.#bytes);
    this.#buffer = new Uint8Array(this.#bytes);
  }

  /** Empties the set. */
  clear(): void {
    this.#count = 0;
  }

  /** Adds a descriptor. @returns its index, for {@linkcode result}. @throws {RangeError} the set is full */
  add(descriptor: number, events: number): number {
    if (this.#count === this.capacity) throw new RangeError(`more than ${this.capacity} descriptors in a poll set`);
    const index = this.#count++;
    this.#descriptors[index * 2] = descriptor;
    this.#events[index * 4 + 2] = events;
    this.#events[index * 4 + 3] = 0;
    return index;
  }

  /** Waits until one of them is ready, or a signal arrives. @returns how many are ready, or -errno */
  wait(): number {
    return calls.ppoll(this.#buffer, this.#count, null);
  }

  /** The same, for so many nanoseconds at most. @returns 0 when they are over */
  waitFor(nanoseconds: number): number {
    this.#time[0] = BigInt(Math.floor(nanoseconds / 1e9));
    this.#time[1] = BigInt(Math.floor(nanoseconds % 1e9));
    return calls.ppoll(this.#buffer, this.#count, this.#time);
  }

  /** Looks which are ready, without waiting. @returns how many are ready, or -errno */
  look(): number {
    return calls.ppoll(this.#buffer, this.#count, NO_TIME);
  }

  /** What the last wait said of entry `index`. */
  result(index: number): number {
    return this.#events[index * 4 + 3];
  }
}
