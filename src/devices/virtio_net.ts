/** A virtio network device with any network behind it. */

import type { DeviceModelHost } from "../dm/host.ts";
import { MAC_BYTES } from "../virtio/net_abi.ts";
import { macOfThread, parseMac } from "./mac_address.ts";
import type { NetworkOptions } from "./network.ts";
import { openNetwork } from "./open_network.ts";
import { VirtioNet } from "./virtio_net_device.ts";
import { virtioOverMmio, type VirtioPlace } from "./virtio_place.ts";

/** What a device is, and where the guest finds it. */
export type VirtioNetConfiguration = VirtioPlace & NetworkOptions & {
  /** "52:54:00:12:34:56"; default: 52:54:00 and the number of the model's first thread. */
  readonly mac?: string;
};

/** @throws {NetworkError} @throws {NetworkUnavailable} */
export default function virtioNet(host: DeviceModelHost, configuration: unknown): void {
  const { mac, ...options } = configuration as VirtioNetConfiguration;
  const address = addressOf(host.state(MAC_BYTES), mac);
  virtioOverMmio(host, new VirtioNet(host, openNetwork(options), address, options.legacy), options);
}

/** What the guest has read once stays true, whatever thread goes on with the device. */
function addressOf({ buffer, byteOffset }: DataView<ArrayBuffer>, mac: string | undefined): Uint8Array {
  const address = new Uint8Array(buffer, byteOffset, MAC_BYTES), isMade = address.some((byte) => byte !== 0);
  if (!isMade) address.set((mac === undefined ? undefined : parseMac(mac)) ?? macOfThread());
  return address;
}
