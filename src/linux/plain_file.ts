/** Files and block devices: what has a size, and bytes at offsets. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { check } from "./linux_error.ts";

const F_SETFL = 4;

/** struct stat: its size, and where the file's type stands. */
const STAT_BYTES = 144, STAT_MODE = 24, S_IFMT = 0xf000, S_IFREG = 0x8000, S_IFBLK = 0x6000;

/**
 * Opens a file or a block device, and nothing else: with a pipe, say, that could last for ever.
 * @returns undefined it is something else @throws {LinuxError}
 */
export function openPlain(path: string, readOnly: boolean): Descriptor | undefined {
  using stack = new DisposableStack();
  const file = stack.use(Descriptor.open(path, readOnly, false));
  const status = new DataView(new ArrayBuffer(STAT_BYTES));
  check(calls.fstat(file.number, status), "fstat", path);
  const type = status.getUint32(STAT_MODE, true) & S_IFMT;
  if (type !== S_IFREG && type !== S_IFBLK) return undefined;
  // Else io_uring would give up where a file system cannot but wait (REQ_F_NOWAIT).
  check(calls.fcntl(file.number, F_SETFL, 0), "fcntl F_SETFL", path);
  stack.move();
  return file;
}

/** Its size in bytes, a block device's too. @throws {LinuxError} */
export function sizeOf(file: Descriptor): number {
  return check(calls.lseek(file.number, 0n, calls.SEEK_END), "lseek", file.subject);
}
