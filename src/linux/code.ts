/** Changing code that runs, without it ever being writable and executable at once. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { check } from "./linux_error.ts";

/** Opens what {@linkcode writeCode} writes through: this process's memory as a file. @throws {LinuxError} */
export function openCode(): Descriptor {
  const { MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: register } = calls;
  check(calls.membarrier(register), "membarrier", "changing code");
  return Descriptor.open("/proc/self/mem");
}

/**
 * Writes `bytes` at `address`. The kernel writes to pages that the process itself may not write to, as for a debugger, and
 * leaves their permissions. Afterwards no processor executes what it has fetched before (the barrier), but a thread in
 * the middle of these bytes meanwhile may do anything: there must be none.
 * @param memory of {@linkcode openCode} @throws {LinuxError} nothing was written
 */
export function writeCode(memory: Descriptor, address: bigint, bytes: Uint8Array<ArrayBuffer>): void {
  const what = `code at 0x${address.toString(16)}`;
  check(calls.pwrite64(memory.number, bytes, BigInt(bytes.length), address), "pwrite64", what);
  check(calls.membarrier(calls.MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE), "membarrier", what);
}
