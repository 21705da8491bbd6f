/** A domain's event channels in memory of a test, and what its guest sees and does. */

import { Doorbell } from "../../src/events/doorbell.ts";
import { EventChannels } from "../../src/events/event_channels.ts";
import type { EventReceivers } from "../../src/events/event_delivery.ts";
import { GuestChannels } from "../../src/events/guest_channels.ts";
import { PORT_TABLE_BYTES, PortTable } from "../../src/events/port_table.ts";
import { type FrameWords, TwoLevelEvents } from "../../src/events/two_level.ts";
import { TWO_LEVEL_ABI } from "../../src/hypercall/event_layout.ts";
import { Mapping, viewAt } from "../../src/linux/mapping.ts";

export const DOMID = 5, SHARED_INFO = 1;

/** Frames, of which the first is nobody's; then words that a test may use for itself. */
const TABLE_BYTES = (PORT_TABLE_BYTES + 4095) & ~4095, FRAMES = 16, FRAME_BYTES = 4096;
const OWN = TABLE_BYTES + FRAMES * FRAME_BYTES;
export const SCENE_BYTES = OWN + 4096;

/** Where struct shared_info and struct vcpu_info have what, in bytes (xen/xen.h). */
const PENDING = 2048, MASK = { 32: 2176, 64: 2560 }, SELECTOR = { 32: 4, 64: 8 }, INFO_BYTES = 64;

/** One isolate's view of the domain. */
export class GuestView implements EventReceivers {
  readonly table: PortTable;
  readonly channels: GuestChannels;
  readonly frames: Int32Array;
  readonly bytes: Uint8Array;
  /** Words of the test's own. */
  readonly own: Int32Array;
  readonly backEnds = new Map<number, EventChannels>();
  /** Upcalls and wakings, in their order. */
  readonly log: string[] = [];

  constructor(address: bigint, vcpus?: number, receivers?: (view: GuestView) => EventReceivers) {
    this.table = new PortTable(address);
    if (vcpus !== undefined) this.table.initialise({ domid: DOMID, vcpus, sharedInfo: SHARED_INFO });
    const frames = viewAt(address + BigInt(TABLE_BYTES), FRAMES * FRAME_BYTES);
    this.frames = new Int32Array(frames);
    this.bytes = new Uint8Array(frames);
    this.own = new Int32Array(viewAt(address + BigInt(OWN), 4096));
    const memory: FrameWords = { words: () => this.frames, index: (frame) => frame * FRAME_BYTES / 4 };
    const events = new TwoLevelEvents(this.table, memory, TWO_LEVEL_ABI);
    this.channels = new GuestChannels(this.table, events, receivers?.(this) ?? this, this.backEnds);
  }

  upcall(vcpu: number): void {
    this.log.push(`upcall ${vcpu}`);
  }

  unblock(vcpu: number): void {
    this.log.push(`unblock ${vcpu}`);
  }

  /** What was logged since the last look. */
  take(): string[] {
    return this.log.splice(0);
  }

  /** A back end of 32 ports whose pending word is word `id` of the test's own. */
  addBackEnd(id: number): EventChannels {
    const channels = new EventChannels(this.own, id, 1, new Doorbell(this.own, 64 + id, -1));
    this.backEnds.set(id, channels);
    return channels;
  }

  /** Byte of the frames at which a vCPU's vcpu_info begins. */
  info(vcpu: number): number {
    const frame = this.table.ofVcpus.infoFrame(vcpu);
    if (frame === 0) return SHARED_INFO * FRAME_BYTES + vcpu * INFO_BYTES;
    return (frame - 1) * FRAME_BYTES + this.table.ofVcpus.infoOffset(vcpu);
  }

  isUpcallPending(vcpu: number): boolean {
    return this.bytes[this.info(vcpu)] !== 0;
  }

  /** As the guest does on an upcall. @returns what it was */
  takeUpcall(vcpu: number): boolean {
    return (Atomics.and(this.frames, this.info(vcpu) / 4, ~0xff) & 0xff) !== 0;
  }

  /** The index of a word of a vCPU's evtchn_pending_sel. */
  selectorIndex(vcpu: number, word: number): number {
    return (this.info(vcpu) + SELECTOR[this.table.bits]) / 4 + word;
  }

  /** Longs of the bitmap that are selected for a vCPU. */
  selected(vcpu: number): number[] {
    return this.#bits(this.selectorIndex(vcpu, 0), this.table.bits);
  }

  takeSelected(vcpu: number): number[] {
    const selected = this.selected(vcpu);
    for (const long of selected) {
      Atomics.and(this.frames, this.selectorIndex(vcpu, long >>> 5), ~(1 << (long & 31)));
    }
    return selected;
  }

  /** Pending ports below `end`. */
  pending(end = this.table.bits ** 2): number[] {
    return this.#bits(this.pendingIndex(0), end);
  }

  masked(end = this.table.bits ** 2): number[] {
    return this.#bits(this.maskIndex(0), end);
  }

  pendingIndex(port: number): number {
    return (SHARED_INFO * FRAME_BYTES + PENDING) / 4 + (port >>> 5);
  }

  maskIndex(port: number): number {
    return (SHARED_INFO * FRAME_BYTES + MASK[this.table.bits]) / 4 + (port >>> 5);
  }

  mask(port: number): void {
    Atomics.or(this.frames, this.maskIndex(port), 1 << (port & 31));
  }

  /** The guest takes a port's event. @returns whether there was one */
  takePending(port: number): boolean {
    const bit = 1 << (port & 31);
    return (Atomics.and(this.frames, this.pendingIndex(port), ~bit) & bit) !== 0;
  }

  /** The index in the frames of a byte of shared_info. */
  sharedByte(offset: number): number {
    return SHARED_INFO * FRAME_BYTES + offset;
  }

  #bits(index: number, end: number): number[] {
    const bits: number[] = [];
    for (let bit = 0; bit < end; bit++) {
      if ((Atomics.load(this.frames, index + (bit >>> 5)) & (1 << (bit & 31))) !== 0) bits.push(bit);
    }
    return bits;
  }
}

/** A domain of a test; its memory ends with it. */
export class GuestScene extends GuestView implements Disposable {
  private constructor(readonly memory: Mapping, vcpus: number) {
    super(memory.address, vcpus);
  }

  static create(vcpus = 4): GuestScene {
    return new GuestScene(Mapping.anonymous(SCENE_BYTES, "a guest's event channels"), vcpus);
  }

  [Symbol.dispose](): void {
    this.memory[Symbol.dispose]();
  }
}
