/** Sealed memory files (memfd): memory that can be mapped many times and handed to another process. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { check } from "./linux_error.ts";

const MFD_CLOEXEC = 1, MFD_ALLOW_SEALING = 2;
const F_ADD_SEALS = 1033, F_SEAL_SEAL = 1, F_SEAL_SHRINK = 2, F_SEAL_GROW = 4;

/** A memfd of a fixed size: a truncated file would kill every process that touches its mapping (SIGBUS). */
export class MemoryFile extends Descriptor {
  private constructor(number: number, readonly sizeBytes: number, subject: string) {
    super(number, subject);
  }

  /** @param sizeBytes a multiple of the page size; pages cost nothing until touched. @throws {LinuxError} */
  static create(name: string, sizeBytes: number): MemoryFile {
    const subject = `memory file ${name} (${sizeBytes} bytes)`;
    const name0 = new TextEncoder().encode(`${name}\0`);
    const number = check(calls.memfdCreate(name0, MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create", subject);
    const file = new MemoryFile(number, sizeBytes, subject);
    try {
      check(calls.ftruncate(number, BigInt(sizeBytes)), "ftruncate", subject);
      check(calls.fcntl(number, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), "fcntl F_ADD_SEALS", subject);
      return file;
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
  }
}
