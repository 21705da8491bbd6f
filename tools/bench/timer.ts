/** timerfd(2), for models that do something of their own accord. */

import { MONOTONIC_CLOCK } from "./clock.ts";
import { Descriptor } from "../../src/linux/descriptor.ts";

const TFD_CLOEXEC = 0x80000;

const libc = Deno.dlopen("libc.so.6", {
  timerfd_create: { parameters: ["i32", "i32"], result: "i32" },
  timerfd_settime: { parameters: ["i32", "i32", "buffer", "pointer"], result: "i32" },
});
const interval = new BigInt64Array(4); // struct itimerspec: the period, 0, then when it first expires

/** A timer that is not set. @throws {Error} there is none to be had */
export function createTimer(): Descriptor {
  const number = libc.symbols.timerfd_create(MONOTONIC_CLOCK, TFD_CLOEXEC);
  if (number < 0) throw new Error("timerfd_create");
  return new Descriptor(number, "timer");
}

/** Has it expire once. @param timer its number */
export function setTimer(timer: number, us: number): void {
  interval[2] = 0n;
  interval[3] = BigInt(us * 1000);
  libc.symbols.timerfd_settime(timer, 0, interval, null);
}
