/** The guest's virtio disks as the user asks for them. */

import { DiskError, openDisk } from "../devices/disk_file.ts";
import { MOST_BLOCK_QUEUES } from "../virtio/block_abi.ts";
import { DeviceWords } from "./device_words.ts";
import { UsageError } from "./options.ts";
import type { VirtioDeviceOptions } from "./virtio.ts";

/** A disk of the guest's: a file, or a block device. */
export interface DiskOptions extends VirtioDeviceOptions {
  /** Its path. */
  readonly file: string;
  /** The guest can only read it; default false. */
  readonly readOnly?: boolean;
  /** Queues for requests, 1 to 16; default 1. */
  readonly queues?: number;
}

/** "FILE[,ro][,format=raw][,queues=N]", and what all devices take. @throws {UsageError} */
export function parseDisk(text: string): DiskOptions {
  const [file, ...rest] = text.split(","),
    words = new DeviceWords(`disk ${file}`, rest, ["ro", "format=raw", "queues="]);
  return {
    file,
    ...words.has("ro") && { readOnly: true },
    ...words.has("queues") && { queues: Number(words.one("queues")) },
    ...words.common,
  };
}

/** Their device models will open them again: what cannot be a disk, or not twice, is found before. @throws {UsageError} */
export function checkDisks(disks: readonly (string | DiskOptions)[]): void {
  using held = new DisposableStack();
  for (const disk of disks) {
    const { file, readOnly = false, queues = 1 }: DiskOptions = typeof disk === "string" ? { file: disk } : disk;
    if (!(Number.isInteger(queues) && queues >= 1 && queues <= MOST_BLOCK_QUEUES)) {
      throw new UsageError(`disk ${file}: ${queues} queues: not a whole number from 1 to ${MOST_BLOCK_QUEUES}`);
    }
    try {
      held.use(openDisk(file, readOnly).file);
    } catch (error) {
      throw error instanceof DiskError ? new UsageError(error.message) : error;
    }
  }
}
