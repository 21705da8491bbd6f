/** How long to spin before sleeping: as long as it pays, and hardly at all where it does not. */

import { pause } from "../linux/calls.ts";

/** Longest spin in pauses (about 45 ns each): somewhat more than an answer from another core takes. */
const MOST = 512;
/** After spins that were in vain the budget is 0; each so many waits one short spin tries again. */
const LEAST = 16, TRY_AGAIN_EVERY = 64;

/** Learns from each wait whether what was waited for came while spinning. */
export class AdaptiveSpin {
  #budget = MOST;
  #waits = 0;

  /** Spins until `done` holds or the budget is used up. @returns whether it holds */
  until(done: () => boolean): boolean {
    let left = this.#budget;
    if (left === 0 && ++this.#waits % TRY_AGAIN_EVERY === 0) left = LEAST;
    for (; left > 0; left--) {
      if (done()) {
        this.#budget = Math.min(MOST, Math.max(LEAST, this.#budget * 2));
        return true;
      }
      pause();
    }
    this.#budget = this.#budget > LEAST ? this.#budget >> 1 : 0;
    return done();
  }
}
