/** Virtio over MMIO (virtio 1.2, 4.2): the registers of one device, current or legacy. */

import type { GuestMemoryAccess, RangeHandler } from "../dm/host.ts";
import { AVAILABLE, DESCRIPTOR, FEATURE, INTERRUPT, MAGIC, MAX_QUEUE_SIZE, MMIO, STATUS, VERSION } from "./abi.ts";
import type { InterruptPin, VirtioDevice, VirtioTransport, VirtioVariant } from "./device.ts";
import { QUEUE_WORD, queueWords, RING_REGISTERS, WORD } from "./mmio_state.ts";
import { type QueueLayout, Virtqueue } from "./virtqueue.ts";

/** "XENO". */
const VENDOR = 0x4f4e_4558;

/** The optional features of {@linkcode Virtqueue}. */
const RING_FEATURES: readonly number[] = [FEATURE.RING_INDIRECT_DESC, FEATURE.RING_EVENT_IDX];

/** What legacy devices divide rings by, if the driver does not say (4.2.4). */
const LEGACY_PAGE = 4096;

/** Registers as a range of memory. */
export class VirtioMmio implements RangeHandler, VirtioTransport {
  readonly queues: readonly Virtqueue[];
  private readonly legacy: boolean;
  /** Features of every device of this kind. */
  readonly #common: number[];
  /** What of the state is each queue's. */
  readonly #queues: readonly Uint32Array[];

  /**
   * @param state {@linkcode stateWords} of them: zeroes, or what a model before this one has left
   */
  constructor(
    private readonly device: VirtioDevice,
    memory: GuestMemoryAccess,
    private readonly pin: InterruptPin,
    private readonly state: Uint32Array,
    { legacy = false, isRestricted = false }: VirtioVariant = {},
  ) {
    this.legacy = legacy;
    this.#common = [...device.ringFeatures ?? RING_FEATURES, ...legacy ? [] : [FEATURE.VERSION_1]];
    if (isRestricted) this.#common.push(FEATURE.ACCESS_PLATFORM);
    const words = queueWords(device.queueSize);
    this.#queues = Array.from({ length: device.queues }, (_, index) => {
      const at = WORD.QUEUES + index * words;
      return state.subarray(at, at + words);
    });
    this.queues = this.#queues.map((queue) => new Virtqueue(memory, queue.subarray(QUEUE_WORD.OWN)));
    if (state[WORD.MADE] === 0) this.#clear();
  }

  /** Goes on where the model before this one was, if there was one: whatever it had not given back is taken once more. */
  resume(): void {
    this.#queues.forEach((queue, index) => {
      if (queue[QUEUE_WORD.READY] !== 0) this.#begin(index, true);
    });
    if (!this.isLive) return;
    this.#start();
    this.#interrupt(INTERRUPT.USED_BUFFER); // whether its last ones have been heard, nobody knows
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
        return this.#deviceFeatures(this.state[WORD.DEVICE_FEATURES_SELECT]);
      case MMIO.QUEUE_NUM_MAX:
        return this.#selected === undefined ? 0 : this.device.queueSize;
      case MMIO.QUEUE_PFN:
        return this.legacy ? this.#selected?.[QUEUE_WORD.PAGE] ?? 0 : 0;
      case MMIO.QUEUE_READY:
        return this.legacy ? 0 : this.#selected?.[QUEUE_WORD.READY] ?? 0;
      case MMIO.INTERRUPT_STATUS:
        return this.state[WORD.INTERRUPTS];
      case MMIO.STATUS:
        return this.#status;
      case MMIO.CONFIG_GENERATION:
        return this.legacy ? 0 : this.state[WORD.GENERATION];
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
        this.state[WORD.DEVICE_FEATURES_SELECT] = value;
        break;
      case MMIO.DRIVER_FEATURES_SEL:
        this.state[WORD.DRIVER_FEATURES_SELECT] = value;
        break;
      case MMIO.DRIVER_FEATURES:
        if (this.#mayNegotiate && this.state[WORD.DRIVER_FEATURES_SELECT] < 2) {
          this.state[WORD.DRIVER_FEATURES + this.state[WORD.DRIVER_FEATURES_SELECT]] = value;
        }
        break;
      case MMIO.QUEUE_SEL:
        this.state[WORD.QUEUE_SELECT] = value;
        break;
      case MMIO.QUEUE_NUM:
        if (queue !== undefined && queue[QUEUE_WORD.READY] === 0) queue[QUEUE_WORD.SIZE] = value;
        break;
      case MMIO.QUEUE_NOTIFY:
        if (value < this.queues.length) this.notified(value);
        break;
      case MMIO.INTERRUPT_ACK:
        this.state[WORD.INTERRUPTS] &= ~value;
        if (!this.isInterrupting) this.pin.lower();
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
    return this.state[WORD.INTERRUPTS] !== 0;
  }

  usedBuffer(queue: Virtqueue): void {
    if (!this.isLive) return;
    queue.publish();
    if (queue.wantsInterrupt) this.#interrupt(INTERRUPT.USED_BUFFER);
  }

  called(): void {
    this.#interrupt(INTERRUPT.USED_BUFFER);
  }

  changed(): void {
    this.state[WORD.GENERATION] = (this.state[WORD.GENERATION] + 1) & 0xff;
    if ((this.#status & STATUS.DRIVER_OK) !== 0) this.#interrupt(INTERRUPT.CONFIGURATION);
  }

  fail(): void {
    if ((this.#status & STATUS.NEEDS_RESET) !== 0) return;
    this.#status |= STATUS.NEEDS_RESET;
    this.changed();
  }

  get isLive(): boolean {
    return (this.#status & STATUS.DRIVER_OK) !== 0 && (this.#status & (STATUS.NEEDS_RESET | STATUS.FAILED)) === 0;
  }

  get #status(): number {
    return this.state[WORD.STATUS];
  }

  set #status(status: number) {
    this.state[WORD.STATUS] = status;
  }

  get #selected(): Uint32Array | undefined {
    return this.#queues[this.state[WORD.QUEUE_SELECT]];
  }

  /** Features are settled with FEATURES_OK, which legacy drivers do not know. */
  get #mayNegotiate(): boolean {
    return (this.#status & (this.legacy ? STATUS.DRIVER_OK : STATUS.FEATURES_OK)) === 0;
  }

  /** Everything that the driver may take. */
  get #features(): number[] {
    return [...this.#common, ...this.device.features];
  }

  #deviceFeatures(word: number): number {
    let bits = 0;
    for (const bit of this.#features) if (bit >> 5 === word) bits |= 1 << (bit & 31);
    return bits >>> 0;
  }

  #takes(feature: number): boolean {
    return (this.state[WORD.DRIVER_FEATURES + (feature >> 5)] & (1 << (feature & 31))) !== 0;
  }

  #setStatus(status: number): void {
    if (status === 0) return this.#reset();
    let next = status | this.#status; // nothing can be taken back but all (2.1.1)
    if (!this.#areFeaturesGood) next &= ~STATUS.FEATURES_OK;
    if (!this.legacy && (next & STATUS.FEATURES_OK) === 0) next &= ~STATUS.DRIVER_OK; // nothing was agreed on (3.1.1)
    const starts = (next & STATUS.DRIVER_OK) !== 0 && (this.#status & STATUS.DRIVER_OK) === 0;
    this.#status = next;
    if (starts && this.isLive) this.#start();
  }

  #start(): void {
    this.device.start(new Set(this.#features.filter((bit) => this.#takes(bit))));
  }

  /** The driver has to take no more than there is, and version 1, and that memory is restricted if it is (6.1). */
  get #areFeaturesGood(): boolean {
    const isOffered = [0, 1].every((word) =>
      (this.state[WORD.DRIVER_FEATURES + word] & ~this.#deviceFeatures(word)) === 0
    );
    const needed = [FEATURE.VERSION_1, FEATURE.ACCESS_PLATFORM].filter((bit) => this.#common.includes(bit));
    return isOffered && needed.every((bit) => this.#takes(bit));
  }

  #reset(): void {
    this.device.reset();
    for (const queue of this.queues) queue.end();
    this.#clear();
    this.pin.lower();
  }

  #clear(): void {
    this.state.fill(0);
    this.state[WORD.PAGE_SIZE] = LEGACY_PAGE;
    for (const queue of this.#queues) queue[QUEUE_WORD.ALIGN] = LEGACY_PAGE;
    this.state[WORD.MADE] = 1;
  }

  #writeModern(queue: Uint32Array, offset: number, value: number): void {
    if (offset === MMIO.QUEUE_READY) return this.#setReady(queue, value);
    const word = RING_REGISTERS[offset];
    if (word !== undefined && queue[QUEUE_WORD.READY] === 0) queue[word] = value;
  }

  /** Legacy: one page number says where all rings are, one behind the other (2.7.2). */
  #writeLegacy(queue: Uint32Array, offset: number, value: number): void {
    if (offset === MMIO.GUEST_PAGE_SIZE) this.state[WORD.PAGE_SIZE] = value;
    else if (offset === MMIO.QUEUE_ALIGN) queue[QUEUE_WORD.ALIGN] = value;
    else if (offset === MMIO.QUEUE_PFN) {
      this.#setReady(queue, 0);
      queue[QUEUE_WORD.PAGE] = value;
      if (value !== 0) this.#setReady(queue, 1);
    }
  }

  #setReady(queue: Uint32Array, value: number): void {
    const index = this.state[WORD.QUEUE_SELECT], isReady = queue[QUEUE_WORD.READY] !== 0;
    if (value !== 1) {
      if (isReady) this.device.forget?.(index);
      queue[QUEUE_WORD.READY] = 0;
      this.queues[index].end();
    } else if (!isReady) {
      queue[QUEUE_WORD.READY] = 1;
      this.#begin(index, false);
    }
  }

  /** @param again a model before this one had it */
  #begin(index: number, again: boolean): void {
    const layout = this.legacy ? this.#legacyLayout(index) : this.#layout(index), { size } = layout;
    const isSize = size > 0 && size <= Math.min(this.device.queueSize, MAX_QUEUE_SIZE) && (size & (size - 1)) === 0;
    const features = {
      indirect: this.#takes(FEATURE.RING_INDIRECT_DESC),
      eventIndex: this.#takes(FEATURE.RING_EVENT_IDX),
    };
    if (isSize && this.queues[index].begin(layout, features, again)) return;
    this.#queues[index][QUEUE_WORD.READY] = 0;
    this.fail();
  }

  #layout(index: number): QueueLayout {
    const queue = this.#queues[index], whole = (word: number) => queue[word + 1] * 2 ** 32 + queue[word];
    const { SIZE, DESCRIPTORS, AVAILABLE, USED } = QUEUE_WORD;
    return { size: queue[SIZE], descriptors: whole(DESCRIPTORS), available: whole(AVAILABLE), used: whole(USED) };
  }

  #legacyLayout(index: number): QueueLayout {
    const queue = this.#queues[index], size = queue[QUEUE_WORD.SIZE], align = queue[QUEUE_WORD.ALIGN];
    const descriptors = queue[QUEUE_WORD.PAGE] * this.state[WORD.PAGE_SIZE];
    const available = descriptors + size * DESCRIPTOR.bytes;
    const end = available + AVAILABLE.ring + size * AVAILABLE.entry + 2;
    return { size, descriptors, available, used: Math.ceil(end / align) * align };
  }

  #interrupt(bit: number): void {
    this.state[WORD.INTERRUPTS] |= bit;
    this.pin.raise();
  }

  #readConfiguration(offset: number, size: number): number {
    const { configuration } = this.device;
    let value = 0;
    for (let byte = 0; byte < size; byte++) value += (configuration[offset + byte] ?? 0) * 2 ** (8 * byte);
    return value;
  }
}
