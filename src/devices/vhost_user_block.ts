/** A virtio disk whose requests a vhost-user backend serves, straight from the guest's rings and memory. */

import type { DeviceModelHost } from "../dm/host.ts";
import { VhostUserBlock } from "./vhost_user_block_device.ts";
import { virtioOverMmio, type VirtioPlace } from "./virtio_place.ts";

/** Whose disk it is, and where the guest finds it. */
export interface VhostUserBlockConfiguration extends VirtioPlace {
  /** The path of the backend's socket. */
  readonly socket: string;
}

/** @throws {VhostUserError} nobody listens at the socket, or what does is no such backend */
export default function vhostUserBlock(host: DeviceModelHost, configuration: unknown): void {
  const { socket, ...place } = configuration as VhostUserBlockConfiguration;
  virtioOverMmio(host, new VhostUserBlock(host, socket), place);
}
