/** Where a guest finds a virtio device: registers, notifications and an interrupt line. */

import type { DeviceModelHost } from "../dm/host.ts";
import { clearEvent, signalEvent } from "../linux/event_descriptor.ts";
import { POLLIN } from "../linux/poll.ts";
import { MMIO, MMIO_BYTES } from "../virtio/abi.ts";
import type { InterruptPin, VirtioDevice } from "../virtio/device.ts";
import { stateWords } from "../virtio/mmio_state.ts";
import { VirtioMmio } from "../virtio/mmio.ts";

/** Plain data: it travels to the model. */
export interface VirtioPlace {
  /** Guest-physical address of the registers. */
  readonly address: number;
  /** Interrupt line. */
  readonly gsi: number;
  /** How the guest takes the line; default "edge", which is what it is told. */
  readonly trigger?: "edge" | "level";
  /** The model sees only some of the guest's memory; default false. */
  readonly isRestricted?: boolean;
  /** As before virtio 1.0; default false. */
  readonly legacy?: boolean;
}

/**
 * Claims the registers of a device, has notifications and interrupts go by eventfd where KVM has that, and goes on where
 * a model before this one was.
 */
export function virtioOverMmio(host: DeviceModelHost, device: VirtioDevice, place: VirtioPlace): void {
  const { address, legacy = false, isRestricted = false } = place;
  const { buffer, byteOffset } = host.state(stateWords(device) * 4);
  const state = new Uint32Array(buffer, byteOffset, stateWords(device)), pin = pinOf(host, place, () => transport);
  const transport: VirtioMmio = new VirtioMmio(device, host.memory, pin, state, { legacy, isRestricted });
  host.mapMemory(address, MMIO_BYTES, transport);
  for (let queue = 0; queue < device.queues; queue++) notifyByEvent(host, device, transport, address, queue);
  device.transport = transport;
  transport.resume();
}

function notifyByEvent(
  host: DeviceModelHost,
  device: VirtioDevice,
  transport: VirtioMmio,
  address: number,
  queue: number,
): void {
  const write = { space: "memory", address: address + MMIO.QUEUE_NOTIFY, sizeBytes: 4, value: queue } as const;
  const event = host.connectWrite(write);
  if (event === undefined) return;
  if (device.takeNotifications !== undefined) return device.takeNotifications(queue, event);
  host.watch({
    descriptor: event,
    interest: () => POLLIN,
    ready(events) {
      if (events !== 0) clearEvent(event);
      transport.notified(queue);
    },
    pending: () => transport.hasWork(queue),
  });
}

function pinOf(
  host: DeviceModelHost,
  { gsi, trigger = "edge" }: VirtioPlace,
  transport: () => VirtioMmio,
): InterruptPin {
  const line = host.connectLine(gsi, trigger);
  if (line === undefined) {
    return { raise: () => host.setIrqLevel(gsi, true), lower: () => host.setIrqLevel(gsi, false) };
  }
  const { raise, ended } = line;
  if (ended !== undefined) {
    host.watch({
      descriptor: ended,
      interest: () => POLLIN,
      ready() {
        clearEvent(ended);
        if (transport().isInterrupting) signalEvent(raise);
      },
    });
  }
  // Each time anew: a driver that looks at its rings before it acknowledges would miss what came in between.
  return { raise: () => signalEvent(raise), lower() {} };
}
