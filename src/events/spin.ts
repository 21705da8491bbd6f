/** How long to spin before sleeping: as long as it pays, and hardly ever where it does not. */

import { pause } from "../linux/calls.ts";

/**
 * Longest spin in pauses (about 40 ns each): longer than waking an idle processor takes, else two sides that both slept
 * never find each other awake again (docs/performance.md).
 */
const MOST = 1024;
/**
 * After spins in vain at most so many waits go by without one. Where no processor is idle a spin costs 80 us, on either
 * side: with 256 that was 0.6 us of each wait. Where one is again, it is still found within a quarter of a second.
 */
const MOST_SKIPPED = 2048;

/** Learns from each wait whether what was waited for came while spinning: spins fully, or not at all. */
export class AdaptiveSpin {
  /** Waits that go by without a spin from now on, and after the next one in vain. */
  #skip = 0;
  #penalty = 1;

  /** Spins until `done` holds or it has been long enough. @returns whether it holds */
  until(done: () => boolean): boolean {
    if (this.#skip > 0) {
      this.#skip--;
      return done();
    }
    for (let left = MOST; left > 0; left--) {
      if (done()) {
        this.#penalty = 1;
        return true;
      }
      pause();
    }
    this.#skip = this.#penalty;
    this.#penalty = Math.min(MOST_SKIPPED, this.#penalty * 2);
    return done();
  }
}
