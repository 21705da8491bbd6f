/** Sealed memory files (memfd): memory that can be mapped many times and handed to another process. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { EINVAL } from "./errno.ts";
import { check, LinuxError } from "./linux_error.ts";

const MFD_CLOEXEC = 1, MFD_ALLOW_SEALING = 2;
const F_GETFL = 3,
  O_ACCMODE = 3,
  O_RDWR = 2,
  F_ADD_SEALS = 1033,
  F_GET_SEALS = 1034,
  F_SEAL_SEAL = 1,
  F_SEAL_SHRINK = 2,
  F_SEAL_GROW = 4,
  F_SEAL_WRITE = 8,
  F_SEAL_FUTURE_WRITE = 16;

/** struct statfs and struct stat: their sizes, and where the type of file system and the file's size stand. */
const STATFS_BYTES = 120, STATFS_TYPE = 0, STAT_BYTES = 144, STAT_SIZE = 48;

/** The file system of memory files whose pages have the processor's size. */
const TMPFS_MAGIC = 0x0102_1994;

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

/**
 * Whether somebody else's file will have memory for all of its first bytes: touching a mapping of one that was truncated
 * kills the process.
 * @throws {LinuxError} EINVAL no memory file, without F_SEAL_SHRINK, not to be written to, smaller, or of huge pages
 */
export function requireFixed(file: Descriptor, sizeBytes: number): void {
  const seals = calls.fcntl(file.number, F_GET_SEALS, 0);
  const system = new DataView(new ArrayBuffer(STATFS_BYTES)), status = new DataView(new ArrayBuffer(STAT_BYTES));
  check(calls.fstatfs(file.number, system), "fstatfs", file.subject);
  check(calls.fstat(file.number, status), "fstat", file.subject);
  const isMemory = seals >= 0 && system.getUint32(STATFS_TYPE, true) === TMPFS_MAGIC;
  const refuse = (why: string) => new LinuxError("add_memory", EINVAL, `${file.subject}: ${why}`);
  if (!isMemory) throw refuse("no memory file of ordinary pages");
  if ((seals & F_SEAL_SHRINK) === 0) throw refuse("it can be truncated: F_SEAL_SHRINK is missing");
  if ((seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) !== 0) throw refuse("it is sealed against writing");
  const flags = check(calls.fcntl(file.number, F_GETFL, 0), "fcntl F_GETFL", file.subject);
  if ((flags & O_ACCMODE) !== O_RDWR) throw refuse("it is not open for reading and writing");
  if (status.getBigInt64(STAT_SIZE, true) < BigInt(sizeBytes)) throw refuse(`it has less than ${sizeBytes} bytes`);
}
