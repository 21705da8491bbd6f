/** Where the registers and queues of a virtio device lie in its state (virtio over MMIO). */

import { MMIO } from "./abi.ts";
import type { VirtioDevice } from "./device.ts";
import { Virtqueue } from "./virtqueue.ts";

/** Words of a device's state: its registers, then each queue's words. */
export const WORD = {
  STATUS: 0,
  INTERRUPTS: 1,
  GENERATION: 2,
  DEVICE_FEATURES_SELECT: 3,
  DRIVER_FEATURES_SELECT: 4,
  DRIVER_FEATURES: 5, // two words
  QUEUE_SELECT: 7,
  PAGE_SIZE: 8,
  /** Not 0 as soon as the rest is what it is after a reset. */
  MADE: 9,
  QUEUES: 16,
} as const;

/** Words of a queue: what the driver has said of it, then the queue's own. */
export const QUEUE_WORD = {
  SIZE: 0,
  ALIGN: 1,
  PAGE: 2,
  READY: 3,
  DESCRIPTORS: 4,
  AVAILABLE: 6,
  USED: 8,
  OWN: 16,
} as const;

/** Halves of the addresses of a queue's rings. */
export const RING_REGISTERS: Readonly<Record<number, number>> = {
  [MMIO.QUEUE_DESC_LOW]: QUEUE_WORD.DESCRIPTORS,
  [MMIO.QUEUE_DESC_HIGH]: QUEUE_WORD.DESCRIPTORS + 1,
  [MMIO.QUEUE_DRIVER_LOW]: QUEUE_WORD.AVAILABLE,
  [MMIO.QUEUE_DRIVER_HIGH]: QUEUE_WORD.AVAILABLE + 1,
  [MMIO.QUEUE_DEVICE_LOW]: QUEUE_WORD.USED,
  [MMIO.QUEUE_DEVICE_HIGH]: QUEUE_WORD.USED + 1,
};

/** Words of state that a device needs: in memory that outlives its model, so that another can go on with it. */
export function stateWords({ queues, queueSize }: Pick<VirtioDevice, "queues" | "queueSize">): number {
  return WORD.QUEUES + queues * queueWords(queueSize);
}

/** Words of one queue of at most so many entries. */
export function queueWords(queueSize: number): number {
  return QUEUE_WORD.OWN + Virtqueue.stateWords(queueSize);
}
