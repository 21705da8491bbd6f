/** A virtio disk in a file: requests go straight between the file and the guest's memory, as many at a time as there are. */

import type { DeviceModelHost } from "../dm/host.ts";
import { openDisk } from "./disk_file.ts";
import { VirtioBlock } from "./virtio_block_device.ts";
import { virtioOverMmio, type VirtioPlace } from "./virtio_place.ts";

/** What a disk is, and where the guest finds it. */
export interface VirtioBlockConfiguration extends VirtioPlace {
  /** The file's path. */
  readonly file: string;
  readonly readOnly?: boolean;
  /** Queues, for as many vCPUs; default 1. */
  readonly queues?: number;
  /** Whether io_uring may be used; default true. */
  readonly ring?: boolean;
}

/** @throws {DiskError} the file cannot be a disk */
export default function virtioBlock(host: DeviceModelHost, configuration: unknown): void {
  const { file, readOnly = false, queues = 1, ring = true, ...place } = configuration as VirtioBlockConfiguration;
  const disk = openDisk(file, readOnly), device = new VirtioBlock(host, disk, queues, ring);
  virtioOverMmio(host, device, place);
}
