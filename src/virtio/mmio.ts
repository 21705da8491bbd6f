/** Virtio over MMIO (virtio 1.2, 4.2): the registers of one device, current or legacy. */

import type { GuestMemoryAccess, RangeHandler } from "../dm/host.ts";
import { AVAILABLE, DESCRIPTOR, FEATURE, INTERRUPT, MAGIC, MAX_QUEUE_SIZE, MMIO, STATUS, VERSION } from "./abi.ts";
import { type QueueLayout, Virtqueue } from "./virtqueue.ts";

/** What is behind the registers. Queues and what is in them are its business once it is started. */
export interface VirtioDevice {
  /** One of DEVICE_ID. */
  readonly id: number;
  /** Features of its type, by the number of their bit; those of all devices are not among them. */
  readonly features: readonly number[];
  readonly queues: number;
  /** The largest size of each. */
  readonly queueSize: number;
  /** Its configuration, as the driver reads it. */
  readonly configuration: Uint8Array;
  /** The driver has written to the configuration. */
  configure?(offset: number, size: number, value: number): void;
  /** The driver is ready. @param features those that it takes, of {@linkcode VirtioDevice.features} */
  start(features: ReadonlySet<number>): void;
  /** There may be something in a queue. */
  notified(queue: number): void;
  /** Whether it would do something if it were notified; without it, it waits until it is. */
  hasWork?(queue: number): boolean;
  /** Whatever is under way is not given back any more. */
  reset(): void;
}

/** What a device has of its transport. */
export interface VirtioTransport {
  readonly queues: readonly Virtqueue[];
  /** The driver is to hear that a queue has something for it, if it wants to. */
  usedBuffer(queue: Virtqueue): void;
  /** The configuration has changed. */
  changed(): void;
  /** The driver has done what makes no sense: the device is not looked at until it is reset (2.1.2, DEVICE_NEEDS_RESET). */
  fail(): void;
}

/** "XENO". */
const VENDOR = 0x4f4e_4558;

/** What legacy devices divide rings by, if the driver does not say (4.2.4). */
const LEGACY_PAGE = 4096;

/** Halves of 64-bit numbers, and what the driver has said of a queue before it is used. */
interface QueueRegisters {
  size: number;
  align: number;
  page: number;
  readonly low: { descriptors: number; available: number; used: number };
  readonly high: { descriptors: number; available: number; used: number };
}

/** The device's interrupt. */
export interface InterruptPin {
  /** There is something for the driver. */
  raise(): void;
  /** The driver has seen all that there was. */
  lower(): void;
}

/** Registers as a range of memory. */
export class VirtioMmio implements RangeHandler, VirtioTransport {
  readonly queues: readonly Virtqueue[];
  readonly #registers: QueueRegisters[];
  #deviceFeaturesSelect = 0;
  #driverFeaturesSelect = 0;
  readonly #driverFeatures = [0, 0];
  #queueSelect = 0;
  #pageSize = LEGACY_PAGE;
  #status = 0;
  #interrupts = 0;
  #generation = 0;

  /** @param legacy as before virtio 1.0 */
  constructor(
    private readonly device: VirtioDevice,
    memory: GuestMemoryAccess,
    private readonly pin: InterruptPin,
    private readonly legacy = false,
  ) {
    this.queues = Array.from({ length: device.queues }, () => new Virtqueue(memory));
    this.#registers = this.queues.map(newRegisters);
  }

  read(offset: number, size: number): number {
    if (offset >= MMIO.CONFIG) return this.#readConfiguration(offset - MMIO.CONFIG, size);
    if (size !== 4) return 0; // the driver must use 32 bits (4.2.2.2)
    switch (offset) {
      case MMIO.MAGIC:
        return MAGIC;
      case MMIO.VERSION:
        return this.legacy ? VERSION.LEGACY : VERSION.MODERN;
      case MMIO.DEVICE_ID:
        return this.device.id;
      case MMIO.VENDOR_ID:
        return VENDOR;
      case MMIO.DEVICE_FEATURES:
        return this.#deviceFeatures(this.#deviceFeaturesSelect);
      case MMIO.QUEUE_NUM_MAX:
        return this.#selected === undefined ? 0 : this.device.queueSize;
      case MMIO.QUEUE_PFN:
        return this.legacy ? this.#selected?.page ?? 0 : 0;
      case MMIO.QUEUE_READY:
        return !this.legacy && this.queues[this.#queueSelect]?.isReady ? 1 : 0;
      case MMIO.INTERRUPT_STATUS:
        return this.#interrupts;
      case MMIO.STATUS:
        return this.#status;
      case MMIO.CONFIG_GENERATION:
        return this.legacy ? 0 : this.#generation;
      default: // shared memory regions: there are none (4.2.2.1)
        return !this.legacy && offset >= MMIO.SHM_LEN_LOW && offset <= MMIO.SHM_BASE_HIGH ? 0xffff_ffff : 0;
    }
  }

  write(offset: number, size: number, value: number): void {
    if (offset >= MMIO.CONFIG) return this.device.configure?.(offset - MMIO.CONFIG, size, value);
    if (size !== 4) return;
    const queue = this.#selected;
    switch (offset) {
      case MMIO.DEVICE_FEATURES_SEL:
        this.#deviceFeaturesSelect = value;
        break;
      case MMIO.DRIVER_FEATURES_SEL:
        this.#driverFeaturesSelect = value;
        break;
      case MMIO.DRIVER_FEATURES:
        if (this.#mayNegotiate && this.#driverFeaturesSelect < 2) {
          this.#driverFeatures[this.#driverFeaturesSelect] = value;
        }
        break;
      case MMIO.QUEUE_SEL:
        this.#queueSelect = value;
        break;
      case MMIO.QUEUE_NUM:
        if (queue !== undefined && !this.queues[this.#queueSelect].isReady) queue.size = value;
        break;
      case MMIO.QUEUE_NOTIFY:
        if (value < this.queues.length) this.notified(value);
        break;
      case MMIO.INTERRUPT_ACK:
        this.#interrupts &= ~value;
        if (this.#interrupts === 0) this.pin.lower();
        break;
      case MMIO.STATUS:
        this.#setStatus(value & 0xff);
        break;
      default:
        if (queue === undefined) return;
        if (this.legacy) this.#writeLegacy(queue, offset, value);
        else this.#writeModern(queue, offset, value);
    }
  }

  /** The driver says that it has put something into a queue. */
  notified(queue: number): void {
    if (this.isLive) this.device.notified(queue);
  }

  /** Whether the device would do something if it were notified. */
  hasWork(queue: number): boolean {
    return this.isLive && (this.device.hasWork?.(queue) ?? false);
  }

  /** Whether there is something that the driver has not seen yet. */
  get isInterrupting(): boolean {
    return this.#interrupts !== 0;
  }

  usedBuffer(queue: Virtqueue): void {
    if (queue.wantsInterrupt) this.#interrupt(INTERRUPT.USED_BUFFER);
  }

  changed(): void {
    this.#generation = (this.#generation + 1) & 0xff;
    if ((this.#status & STATUS.DRIVER_OK) !== 0) this.#interrupt(INTERRUPT.CONFIGURATION);
  }

  fail(): void {
    this.#status |= STATUS.NEEDS_RESET;
    this.changed();
  }

  /** Whether the driver is at work, and nothing has gone wrong. */
  get isLive(): boolean {
    return (this.#status & STATUS.DRIVER_OK) !== 0 && (this.#status & (STATUS.NEEDS_RESET | STATUS.FAILED)) === 0;
  }

  get #selected(): QueueRegisters | undefined {
    return this.#registers[this.#queueSelect];
  }

  /** Features are settled with FEATURES_OK, which legacy drivers do not know. */
  get #mayNegotiate(): boolean {
    return (this.#status & (this.legacy ? STATUS.DRIVER_OK : STATUS.FEATURES_OK)) === 0;
  }

  #deviceFeatures(word: number): number {
    const common = [FEATURE.RING_INDIRECT_DESC, FEATURE.RING_EVENT_IDX, ...this.legacy ? [] : [FEATURE.VERSION_1]];
    let bits = 0;
    for (const bit of [...common, ...this.device.features]) if (bit >> 5 === word) bits |= 1 << (bit & 31);
    return bits >>> 0;
  }

  #takes(feature: number): boolean {
    return (this.#driverFeatures[feature >> 5] & (1 << (feature & 31))) !== 0;
  }

  #setStatus(status: number): void {
    if (status === 0) return this.#reset();
    // What the device has found out the driver cannot take back (2.1.1).
    let next = status | (this.#status & STATUS.NEEDS_RESET);
    if ((status & STATUS.FEATURES_OK) !== 0 && !this.#areFeaturesGood) next &= ~STATUS.FEATURES_OK;
    const starts = (next & STATUS.DRIVER_OK) !== 0 && (this.#status & STATUS.DRIVER_OK) === 0;
    this.#status = next;
    if (starts && this.isLive) this.device.start(new Set(this.device.features.filter((bit) => this.#takes(bit))));
  }

  /** The driver has to take no more than there is, and version 1 (6.1.1). */
  get #areFeaturesGood(): boolean {
    const isOffered = [0, 1].every((word) => (this.#driverFeatures[word] & ~this.#deviceFeatures(word)) === 0);
    return isOffered && (this.legacy || this.#takes(FEATURE.VERSION_1));
  }

  #reset(): void {
    this.device.reset();
    for (const queue of this.queues) queue.end();
    this.#registers.forEach((_, index) => this.#registers[index] = newRegisters());
    this.#driverFeatures.fill(0);
    this.#deviceFeaturesSelect =
      this.#driverFeaturesSelect =
      this.#queueSelect =
      this.#status =
      this.#interrupts =
        0;
    this.#pageSize = LEGACY_PAGE;
    this.pin.lower();
  }

  #writeModern(queue: QueueRegisters, offset: number, value: number): void {
    if (offset === MMIO.QUEUE_READY) return this.#setReady(queue, value === 1);
    if (this.queues[this.#queueSelect].isReady) return;
    switch (offset) {
      case MMIO.QUEUE_DESC_LOW:
        queue.low.descriptors = value;
        break;
      case MMIO.QUEUE_DESC_HIGH:
        queue.high.descriptors = value;
        break;
      case MMIO.QUEUE_DRIVER_LOW:
        queue.low.available = value;
        break;
      case MMIO.QUEUE_DRIVER_HIGH:
        queue.high.available = value;
        break;
      case MMIO.QUEUE_DEVICE_LOW:
        queue.low.used = value;
        break;
      case MMIO.QUEUE_DEVICE_HIGH:
        queue.high.used = value;
    }
  }

  #setReady({ size, low, high }: QueueRegisters, ready: boolean): void {
    const queue = this.queues[this.#queueSelect], whole = (name: keyof typeof low) => high[name] * 2 ** 32 + low[name];
    if (!ready) return queue.end();
    if (queue.isReady) return;
    const layout = { descriptors: whole("descriptors"), available: whole("available"), used: whole("used") };
    this.#begin(queue, { size, ...layout });
  }

  /** Legacy: one page number says where all rings are, one behind the other (2.7.2). */
  #writeLegacy(queue: QueueRegisters, offset: number, value: number): void {
    if (offset === MMIO.GUEST_PAGE_SIZE) this.#pageSize = value;
    else if (offset === MMIO.QUEUE_ALIGN) queue.align = value;
    else if (offset === MMIO.QUEUE_PFN) {
      const virtqueue = this.queues[this.#queueSelect], { size, align } = queue, descriptors = value * this.#pageSize;
      queue.page = value;
      virtqueue.end();
      if (value === 0) return;
      const available = descriptors + size * DESCRIPTOR.bytes;
      const end = available + AVAILABLE.ring + size * AVAILABLE.entry + 2;
      this.#begin(virtqueue, { size, descriptors, available, used: Math.ceil(end / align) * align });
    }
  }

  #begin(queue: Virtqueue, layout: QueueLayout): void {
    const { size } = layout, { queueSize } = this.device;
    const isSize = size > 0 && size <= Math.min(queueSize, MAX_QUEUE_SIZE) && (size & (size - 1)) === 0;
    const features = {
      indirect: this.#takes(FEATURE.RING_INDIRECT_DESC),
      eventIndex: this.#takes(FEATURE.RING_EVENT_IDX),
    };
    if (!isSize || !queue.begin(layout, features)) this.fail();
  }

  #interrupt(bit: number): void {
    this.#interrupts |= bit;
    this.pin.raise();
  }

  #readConfiguration(offset: number, size: number): number {
    const { configuration } = this.device;
    let value = 0;
    for (let byte = 0; byte < size; byte++) value += (configuration[offset + byte] ?? 0) * 2 ** (8 * byte);
    return value;
  }
}

function newRegisters(): QueueRegisters {
  const halves = () => ({ descriptors: 0, available: 0, used: 0 });
  return { size: 0, align: LEGACY_PAGE, page: 0, low: halves(), high: halves() };
}
