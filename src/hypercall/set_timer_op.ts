/** set_timer_op: the calling vCPU's timer that fires once, the old way (xen/common/sched/core.c). */

import type { Call } from "./call.ts";
import type { SingleshotTimers } from "./vcpu_op.ts";

/** A time further away, or negative, is a counter that has wrapped: Xen then takes 100 ms. */
const MAX_AHEAD = 2 ** 50, INSTEAD = 100_000_000;

/** A time of 0 stops the timer; a 32-bit caller gives it in two arguments. @returns 0 */
export function setTimerOp(domain: SingleshotTimers, call: Call): number {
  const low = call.low[0], high = (call.bits === 64 ? call.high[0] : call.low[1]) | 0;
  const at = low + high * 2 ** 32, now = domain.now();
  if (at === 0) domain.setSingleshotTimer(call.vcpu, Infinity);
  else domain.setSingleshotTimer(call.vcpu, at < 0 || at - now >= MAX_AHEAD ? now + INSTEAD : at);
  return 0;
}
