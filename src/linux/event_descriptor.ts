/** eventfd: the one thing that every thread, process and kernel interface can wake another with. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { check } from "./linux_error.ts";

const EFD_CLOEXEC = 0x80000;
const one = new BigUint64Array([1n]);
const count = new BigUint64Array(1);
const SIZE = 8n;

/** Creates an eventfd whose reads block while nobody has signalled. @throws {LinuxError} */
export function eventDescriptor(subject: string): Descriptor {
  return new Descriptor(check(calls.eventfd2(0, EFD_CLOEXEC), "eventfd", subject), subject);
}

/** Wakes whoever reads or polls the eventfd with this number. Never blocks: the count would have to reach 2^64. */
export function signalEvent(number: number): void {
  calls.write(number, one, SIZE);
}

/** Waits until the eventfd was signalled since the last read; a signal handler may end the wait early. */
export function awaitEvent(number: number): void {
  calls.read(number, count, SIZE);
}
