/**
 * Locks on bytes of a file (fcntl(2), "open file description locks"): whoever has the file open shares them, and they go
 * when the last descriptor of it is closed, however that ends.
 */

import * as calls from "./calls.ts";
import type { Descriptor } from "./descriptor.ts";
import { EACCES, EAGAIN } from "./errno.ts";
import { check } from "./linux_error.ts";

const F_OFD_GETLK = 36, F_OFD_SETLK = 37, F_RDLCK = 0, F_WRLCK = 1, F_UNLCK = 2;

/** struct flock: its size, and what stands where. */
const FLOCK_BYTES = 32, FLOCK_TYPE = 0, FLOCK_START = 8, FLOCK_LENGTH = 16;

/** Bytes of a file, which need not have them. */
export interface FileBytes {
  readonly first: number;
  readonly count: number;
}

/** Every byte that a file can have: a count of 0 has no end. */
export const ALL_BYTES: FileBytes = { first: 0, count: 0 };

/** Locks bytes, for this opening of the file alone or together with any that do not change them. @returns false another does not permit that */
export function lockBytes(file: Descriptor, bytes: FileBytes, isShared: boolean): boolean {
  const result = calls.fcntlLock(file.number, F_OFD_SETLK, lockOf(isShared ? F_RDLCK : F_WRLCK, bytes));
  if (result === -EAGAIN || result === -EACCES) return false;
  check(result, "fcntl F_OFD_SETLK", file.subject);
  return true;
}

/** Whether another opening of the file has locked any of these bytes, in whatever way. */
export function areLocked(file: Descriptor, bytes: FileBytes): boolean {
  const lock = lockOf(F_WRLCK, bytes);
  check(calls.fcntlLock(file.number, F_OFD_GETLK, lock), "fcntl F_OFD_GETLK", file.subject);
  return lock.getInt16(FLOCK_TYPE, true) !== F_UNLCK;
}

function lockOf(type: number, { first, count }: FileBytes): DataView<ArrayBuffer> {
  const lock = new DataView(new ArrayBuffer(FLOCK_BYTES));
  lock.setInt16(FLOCK_TYPE, type, true);
  lock.setBigInt64(FLOCK_START, BigInt(first), true);
  lock.setBigInt64(FLOCK_LENGTH, BigInt(count), true);
  return lock;
}
