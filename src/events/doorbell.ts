/** Doorbells: the one way to wake a waiting thread. */

import { awaitEvent, signalEvent } from "../linux/event_descriptor.ts";

const AWAKE = 0, ASLEEP = 1;

/**
 * A thread's doorbell: an eventfd, and a word of shared memory that says whether anybody has to write to it. Who changes
 * the state that the thread waits for rings afterwards; who waits arms, looks at the state once more, and sleeps.
 */
export class Doorbell {
  /** @param words the memory that holds the word at `index`; @param descriptor the eventfd's number */
  constructor(
    private readonly words: Int32Array,
    private readonly index: number,
    readonly descriptor: number,
  ) {}

  /** Wakes the owner if it sleeps or is about to: one exchange, and a system call only then. */
  ring(): void {
    if (Atomics.exchange(this.words, this.index, AWAKE) === ASLEEP) signalEvent(this.descriptor);
  }

  /** The owner: from now on a ring writes to the eventfd. Then look at the state again before sleeping. */
  arm(): void {
    Atomics.store(this.words, this.index, ASLEEP);
  }

  /** The owner: what was waited for is there after all. An eventfd that was written to meanwhile wakes once for nothing. */
  disarm(): void {
    Atomics.store(this.words, this.index, AWAKE);
  }

  /** The owner: sleeps until somebody rings. Comes back early on a signal, or a ring meant for an earlier wait. */
  sleep(): void {
    awaitEvent(this.descriptor);
    this.disarm();
  }

  /** The owner: after poll(2) said that the eventfd is readable. */
  clear(): void {
    awaitEvent(this.descriptor);
  }
}
