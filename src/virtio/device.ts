/** What a virtio device and its transport are to each other. */

import type { Virtqueue } from "./virtqueue.ts";

/** What is behind the registers. Queues and what is in them are its business once it is started. */
export interface VirtioDevice {
  /** One of DEVICE_ID. */
  readonly id: number;
  /** Features of its type, by the number of their bit; those of all devices are not among them. */
  readonly features: readonly number[];
  /** Optional features of its rings, if it does not serve them as {@linkcode Virtqueue} does. */
  readonly ringFeatures?: readonly number[];
  readonly queues: number;
  /** The largest size of each. */
  readonly queueSize: number;
  /** Its configuration, as the driver reads it. */
  readonly configuration: Uint8Array;
  /** Set before anything else is done. */
  transport: VirtioTransport;
  /** The driver has written to the configuration. */
  configure?(offset: number, size: number, value: number): void;
  /** The driver is ready. @param features all that both sides take */
  start(features: ReadonlySet<number>): void;
  /** There may be something in a queue. Like {@linkcode hasWork} only asked while the transport is live. */
  notified(queue: number): void;
  /**
   * Where KVM has that, notifications of a queue signal an eventfd, which stays the host's: the device hands it on, and is
   * not notified. Without this, the eventfd is watched, and it is.
   */
  takeNotifications?(queue: number, event: number): void;
  /** Whether it would do something if it were notified; without it, it waits until it is. */
  hasWork?(queue: number): boolean;
  /** The driver has taken a queue away: nothing of what is under way in it is touched or given back any more (4.2.2.1). */
  forget?(queue: number): void;
  /** The same for all queues, and nothing that the driver has said holds any more. */
  reset(): void;
}

/** What a device has of its transport. */
export interface VirtioTransport {
  readonly queues: readonly Virtqueue[];
  /** Whether the driver is at work, and nothing has gone wrong: else nothing is taken, nor given back. */
  readonly isLive: boolean;
  /** The driver is to see what was given back, and to hear of it, if it wants to. */
  usedBuffer(queue: Virtqueue): void;
  /** The driver is to hear of what was given back: who serves the rings in the device's stead knows that it wants to. */
  called(): void;
  /** The configuration has changed. */
  changed(): void;
  /** The driver has done what makes no sense: the device is not looked at until it is reset (2.1.2, DEVICE_NEEDS_RESET). */
  fail(): void;
}

/** The device's interrupt. */
export interface InterruptPin {
  /** There is something for the driver. */
  raise(): void;
  /** The driver has seen all that there was. */
  lower(): void;
}

/** How a device is not as usual. */
export interface VirtioVariant {
  /** As before virtio 1.0. */
  readonly legacy?: boolean;
  /** It sees only some of the guest's memory. */
  readonly isRestricted?: boolean;
}
