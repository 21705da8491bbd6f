/** eventfd: the one thing that every thread, process and kernel interface can wake another with. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { check } from "./linux_error.ts";

const EFD_CLOEXEC = 0x80000, EFD_NONBLOCK = 0x800;
const one = new BigUint64Array([1n]);
const count = new BigUint64Array(1);
const SIZE = 8n;

/**
 * Creates an eventfd.
 * @param waits whether a read blocks while nobody has signalled. One that others can write to must not: they could fill
 *   it, and then every signal would block; who waits for it polls
 * @throws {LinuxError}
 */
export function eventDescriptor(subject: string, waits = true): Descriptor {
  const flags = EFD_CLOEXEC | (waits ? 0 : EFD_NONBLOCK);
  return new Descriptor(check(calls.eventfd2(0, flags), "eventfd", subject), subject);
}

/** Wakes whoever reads or polls the eventfd with this number. One that is full needs no signal: it is readable. */
export function signalEvent(number: number): void {
  calls.write(number, one, SIZE);
}

/** Takes back all signals of one that does not wait. */
export function clearEvent(number: number): void {
  calls.read(number, count, SIZE);
}

/** Waits until the eventfd was signalled since the last read; a signal handler may end the wait early. */
export function awaitEvent(number: number): void {
  calls.read(number, count, SIZE);
}
