/** Changing code that runs, without its being writable and executable at once. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { check } from "./linux_error.ts";

/**
 * This process's memory as a file. The kernel writes there as a debugger does: to pages that the process itself may not
 * write to, whose permissions stay as they are. Only private mappings take that, as those of libraries are.
 *
 * A thread that is in the middle of what is written may do anything: there must be none.
 */
export class CodeMemory implements Disposable {
  readonly #file: Descriptor;

  /** @throws {LinuxError} */
  constructor() {
    const register = calls.MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE;
    check(calls.membarrier(register), "membarrier", "processors that have fetched code");
    this.#file = Descriptor.open("/proc/self/mem");
  }

  /** Writes `bytes` at `address`. @throws {LinuxError} nothing was written */
  write(address: bigint, bytes: Uint8Array<ArrayBuffer>): void {
    const result = calls.pwrite64(this.#file.number, bytes, BigInt(bytes.length), address);
    check(result, "pwrite64", `code at 0x${address.toString(16)}`);
  }

  /** From now on no thread of this process executes what its processor has fetched before. @throws {LinuxError} */
  synchronize(): void {
    const command = calls.MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE;
    check(calls.membarrier(command), "membarrier", "processors that have fetched code");
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]();
  }
}
