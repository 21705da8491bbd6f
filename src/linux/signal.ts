/** The kick: a signal whose handler only returns, so that a blocked system call of one thread comes back with EINTR. */

import * as calls from "./calls.ts";
import { check } from "./linux_error.ts";

/** A real-time signal that neither Deno nor the C library uses. */
const KICK_SIGNAL = 42;

const SA_RESTART = 0x1000_0000, SA_RESTORER = 0x0400_0000;

/** Installs the kick's handler for the process; doing it twice is harmless. @throws {LinuxError} */
export function installKick(): void {
  // struct kernel_sigaction: handler, flags, restorer, mask
  const action = new BigUint64Array([
    Deno.UnsafePointer.value(calls.handler),
    BigInt(SA_RESTART | SA_RESTORER),
    Deno.UnsafePointer.value(calls.restorer),
    0n,
  ]);
  check(calls.sigaction(KICK_SIGNAL, action), "rt_sigaction", `signal ${KICK_SIGNAL}`);
}

/** Kicks the thread `tid` of this process. A thread that is gone is no error. */
export function kickThread(tid: number): void {
  calls.tgkill(calls.getpid(), tid, KICK_SIGNAL);
}

/** The calling thread's id. */
export function threadId(): number {
  return calls.gettid();
}
