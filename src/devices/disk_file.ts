/** Files that are disks: what can be one, and that nobody else writes to it. */

import type { Descriptor } from "../linux/descriptor.ts";
import { ALL_BYTES, areLocked, lockBytes } from "../linux/file_lock.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { openPlain, sizeOf } from "../linux/plain_file.ts";
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
 * Bytes by whose locks QEMU's programs tell each other what they do with an image, whatever is in them (block/file-posix.c,
 * RAW_LOCK_PERM_BASE and RAW_LOCK_SHARED_BASE): who reads, who writes, and who has nobody write beside.
 */
const QEMU = {
  READS: { first: 100, count: 1 },
  WRITES: { first: 101, count: 1 },
  NO_WRITERS: { first: 201, count: 1 },
} as const;

/**
 * Opens a disk; as long as it is open, it is locked: by one who writes, or by any number who only read, of ours or QEMU's.
 * @throws {DiskError} no such file, not to be written to, not made of whole sectors, empty, or somebody else has it
 */
export function openDisk(path: string, readOnly: boolean): Disk {
  try {
    return open(path, readOnly);
  } catch (error) {
    throw error instanceof LinuxError ? new DiskError(path, error.errnoName) : error;
  }
}

function open(path: string, readOnly: boolean): Disk {
  using stack = new DisposableStack();
  const file = stack.use(openPlain(path, readOnly));
  if (file === undefined) throw new DiskError(path, "no file or block device");
  const sizeBytes = sizeOf(file);
  if (sizeBytes === 0) throw new DiskError(path, "empty");
  if (sizeBytes % SECTOR_BYTES !== 0) throw new DiskError(path, `${sizeBytes} bytes are no whole sectors of 512`);
  if (!lock(file, readOnly)) throw new DiskError(path, "somebody else has it, and writes to it or would be written to");
  stack.move();
  return { file, sectors: sizeBytes / SECTOR_BYTES, readOnly };
}

/** @returns false somebody else has it in a way that does not go together with this */
function lock(file: Descriptor, readOnly: boolean): boolean {
  if (!readOnly) return lockBytes(file, ALL_BYTES, false);
  const { READS, WRITES, NO_WRITERS } = QEMU;
  return lockBytes(file, READS, true) && lockBytes(file, NO_WRITERS, true) && !areLocked(file, WRITES);
}
