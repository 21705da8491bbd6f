/** struct vcpu_runstate_info: what a vCPU did with its time, for calls and for the areas that a guest registers. */

import { VCPU_RUNSTATE_INFO } from "./abi/vcpu.ts";
import { setUnsigned64 } from "./layout.ts";

/** A vCPU's time, in nanoseconds, below 2^53. */
export interface Runstate {
  /** One of RUNSTATE. */
  readonly state: number;
  /** The system time at which it began. */
  readonly stateEntryTime: number;
  /** By state: the time spent in it, that of the present one up to now. */
  readonly time: ArrayLike<number>;
}

/** Puts it at `at`, in the layout of a caller's (or of the shared info's) width. */
export function putRunstate(view: DataView, at: number, bits: 32 | 64, runstate: Runstate): void {
  const layout = VCPU_RUNSTATE_INFO[bits];
  view.setUint32(at + layout.state, runstate.state, true);
  if (layout.state_entry_time === 8) view.setUint32(at + 4, 0, true);
  setUnsigned64(view, at + layout.state_entry_time, runstate.stateEntryTime);
  for (let state = 0; state < 4; state++) setUnsigned64(view, at + layout.time + state * 8, runstate.time[state]);
}
