/** Where a guest finds a virtio device: registers and an interrupt line. */

import type { DeviceModelHost } from "../dm/host.ts";
import { MMIO_BYTES } from "../virtio/abi.ts";
import { type VirtioDevice, VirtioMmio } from "../virtio/mmio.ts";

/** Plain data: it travels to the model. */
export interface VirtioPlace {
  /** Guest-physical address of the registers. */
  readonly address: number;
  /** Interrupt line. */
  readonly gsi: number;
  /** As before virtio 1.0; default false. */
  readonly legacy?: boolean;
}

/** Claims the registers of a device. */
export function virtioOverMmio(host: DeviceModelHost, device: VirtioDevice, place: VirtioPlace): VirtioMmio {
  const { address, gsi, legacy = false } = place;
  const transport = new VirtioMmio(device, host.memory, (level) => host.setIrqLevel(gsi, level), legacy);
  host.mapMemory(address, MMIO_BYTES, transport);
  return transport;
}
