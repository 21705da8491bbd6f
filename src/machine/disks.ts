/** The guest's virtio disks as the user asks for them. */

import { DiskError, openDisk } from "../devices/disk_file.ts";
import { MOST_BLOCK_QUEUES } from "../virtio/block_abi.ts";
import { parseGrant, UsageError } from "./options.ts";
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

const WORDS = ["ro", "legacy", "format=raw", "irq=edge", "irq=level"];

/** "FILE[,ro][,legacy][,format=raw][,irq=edge|level][,queues=N][,memory=WHAT]". @throws {UsageError} */
export function parseDisk(text: string): DiskOptions {
  const [file, ...words] = text.split(",");
  const value = (key: string) => words.findLast((word) => word.startsWith(`${key}=`))?.slice(key.length + 1);
  const isKnown = (word: string) => WORDS.includes(word) || /^(queues|memory)=/.test(word);
  const unknown = words.find((word) => !isKnown(word));
  if (unknown !== undefined) {
    throw new UsageError(
      `disk ${file}: ${unknown} is not ro, legacy, format=raw, irq=edge, irq=level, queues= or memory=`,
    );
  }
  const queues = value("queues"), memory = value("memory");
  return {
    file,
    readOnly: words.includes("ro"),
    legacy: words.includes("legacy"),
    trigger: words.includes("irq=level") ? "level" : "edge",
    ...(queues !== undefined && { queues: Number(queues) }),
    ...(memory !== undefined && { memory: parseGrant(memory) }),
  };
}

/** Its device model will open the disk again. @throws {UsageError} it cannot be one */
export function checkDisk(disk: string | DiskOptions): void {
  const { file, readOnly = false, queues = 1 } = typeof disk === "string" ? { file: disk } : disk;
  if (!(Number.isInteger(queues) && queues >= 1 && queues <= MOST_BLOCK_QUEUES)) {
    throw new UsageError(`disk ${file}: ${queues} queues: not a whole number from 1 to ${MOST_BLOCK_QUEUES}`);
  }
  try {
    openDisk(file, readOnly).file[Symbol.dispose]();
  } catch (error) {
    throw error instanceof DiskError ? new UsageError(error.message) : error;
  }
}
