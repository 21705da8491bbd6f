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
  const disk = openDisk(file, readOnly), sectors = firstSize(host.state(8), disk.sectors);
  virtioOverMmio(host, new VirtioBlock(host, { ...disk, sectors }, queues, ring), place);
}

/** A disk is as large as it was when the guest began, whatever has become of its file until this model took over. */
function firstSize(state: DataView<ArrayBuffer>, sectors: number): number {
  if (state.getFloat64(0) === 0) state.setFloat64(0, sectors);
  return state.getFloat64(0);
}
