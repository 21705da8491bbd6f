/** Which descriptors the gate's Worker waits for: memory that it shares with the isolate that owns them. */

import { POLLIN, PollSet } from "../linux/poll.ts";
import { Doorbell } from "../events/doorbell.ts";

/** Words: the Worker's doorbell, whether it is to end, then a descriptor a slot, NOBODY where none is waited for. */
const ASLEEP = 0, STOP = 1, SLOTS = 2;
const NOBODY = -1;

/** Slots that there are. */
export const WATCH_SLOTS = 64;

/** To the Worker, once. */
export interface WatchStart {
  readonly words: Int32Array<SharedArrayBuffer>;
  /** The Worker's eventfd. */
  readonly doorbell: number;
}

/** From the Worker: the slots whose descriptors are ready, or that it has ended. */
export type WatchReport = readonly number[] | "stopped";

/**
 * The watch as either side sees it. A descriptor that was ready is not waited for until its owner says so again: so one
 * that always is gets its turn, and no more. The Worker only polls; it may see a number that has just become another
 * file's, and then the owner is told of a descriptor that has nothing, which its calls that do not wait find out.
 */
export class GateWatch {
  readonly #doorbell: Doorbell;

  constructor(private readonly words: Int32Array, doorbell: number) {
    this.#doorbell = new Doorbell(words, ASLEEP, doorbell);
  }

  /** New memory for a watch. */
  static memory(): Int32Array<SharedArrayBuffer> {
    const words = new Int32Array(new SharedArrayBuffer((SLOTS + WATCH_SLOTS) * 4));
    return words.fill(NOBODY, SLOTS);
  }

  /** The owner: waits for `descriptor` until it is readable or hung up, once. */
  watch(slot: number, descriptor: number): void {
    Atomics.store(this.words, SLOTS + slot, descriptor);
    this.#doorbell.ring();
  }

  /** The owner: before the slot's descriptor is closed. */
  forget(slot: number): void {
    Atomics.store(this.words, SLOTS + slot, NOBODY);
  }

  /** The owner: has the Worker end. */
  stop(): void {
    Atomics.store(this.words, STOP, 1);
    this.#doorbell.ring();
  }

  /** The Worker: sleeps until descriptors are ready, and reports them, until it is to end. */
  serve(report: (ready: number[]) => void): void {
    const poll = new PollSet(1 + WATCH_SLOTS), watched = new Int32Array(WATCH_SLOTS);
    while (Atomics.load(this.words, STOP) === 0) {
      this.#doorbell.arm();
      if (Atomics.load(this.words, STOP) !== 0) return;
      poll.clear();
      poll.add(this.#doorbell.descriptor, POLLIN);
      for (let slot = 0; slot < WATCH_SLOTS; slot++) {
        watched[slot] = Atomics.load(this.words, SLOTS + slot);
        poll.add(watched[slot], POLLIN); // poll(2) skips negative ones
      }
      poll.wait();
      this.#doorbell.disarm();
      if (poll.result(0) !== 0) this.#doorbell.clear();
      const ready = Array.from(watched.keys()).filter((slot) =>
        poll.result(1 + slot) !== 0 && this.#take(slot, watched)
      );
      if (ready.length > 0) report(ready);
    }
  }

  /** From now on the slot is its owner's; false if the owner has changed it meanwhile. */
  #take(slot: number, watched: Int32Array): boolean {
    return Atomics.compareExchange(this.words, SLOTS + slot, watched[slot], NOBODY) === watched[slot];
  }
}
