/** Files that are disks: what can be one, and that nobody else writes to it. */

import * as calls from "../linux/calls.ts";
import { Descriptor } from "../linux/descriptor.ts";
import { EAGAIN, errnoName } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { SECTOR_BYTES } from "../virtio/block_abi.ts";

/** A file that cannot be a disk, or not now. One line. */
export class DiskError extends Error {
  static {
    this.prototype.name = "DiskError";
  }

  constructor(readonly path: string, why: string) {
    super(`disk ${path}: ${why}`);
  }
}

/** An open disk. */
export interface Disk {
  readonly file: Descriptor;
  readonly sectors: number;
  readonly readOnly: boolean;
}

/**
 * Opens a disk; as long as it is open, it is locked (flock): by one who writes, or by any number who only read.
 * @throws {DiskError} no such file, not to be written to, not made of whole sectors, empty, or somebody else has it
 */
export function openDisk(path: string, readOnly: boolean): Disk {
  using stack = new DisposableStack();
  const file = stack.use(openFile(path, readOnly)), { number } = file;
  const locked = calls.flock(number, (readOnly ? calls.LOCK_SH : calls.LOCK_EX) | calls.LOCK_NB);
  if (locked === -EAGAIN) throw new DiskError(path, "somebody else has it, and writes to it or would be written to");
  if (locked < 0) throw new DiskError(path, errnoName(-locked));
  const sizeBytes = calls.lseek(number, 0n, calls.SEEK_END);
  if (sizeBytes < 0) throw new DiskError(path, "no file or block device");
  if (sizeBytes === 0) throw new DiskError(path, "empty");
  if (sizeBytes % SECTOR_BYTES !== 0) throw new DiskError(path, `${sizeBytes} bytes are no whole sectors of 512`);
  stack.move();
  return { file, sectors: sizeBytes / SECTOR_BYTES, readOnly };
}

function openFile(path: string, readOnly: boolean): Descriptor {
  try {
    return Descriptor.open(path, readOnly);
  } catch (error) {
    throw error instanceof LinuxError ? new DiskError(path, errnoName(error.errno)) : error;
  }
}
