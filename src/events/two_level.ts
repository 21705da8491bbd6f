/**
 * The 2-level event ABI: bitmaps in the frames that a guest shares with its hypervisor (xen/common/event_2l.c).
 *
 * The guest may write anything there at any moment; nothing read here is used as more than one bit. The order of the
 * accesses is the ABI: a sender sets the pending bit before it looks at the mask, unmasking clears the mask bit before it
 * looks at the pending bit, so of two at once one sees the other.
 */

import type { PortTable } from "./port_table.ts";

/** Where a guest with longs of one width has its events: offsets in bytes. */
export interface TwoLevelLayout {
  /** In struct shared_info. */
  readonly pending: number;
  readonly mask: number;
  /** In struct vcpu_info: a bit for each long of the pending bitmap. evtchn_upcall_pending is its first byte. */
  readonly selector: number;
}

/** The layouts of the ABI, and which vCPUs have their vcpu_info in shared_info from the beginning. */
export interface TwoLevelAbi {
  readonly 32: TwoLevelLayout;
  readonly 64: TwoLevelLayout;
  /** Offset of vCPU 0's vcpu_info in shared_info, the bytes of each, and how many there are. */
  readonly vcpuInfo: number;
  readonly vcpuInfoBytes: number;
  readonly legacyVcpus: number;
  /** In struct vcpu_info, the first word: the bit of evtchn_upcall_mask. */
  readonly upcallMask: number;
}

/** Machine frames as words. Nothing here allocates, and what it has given once stays where it is. */
export interface FrameWords {
  /** Memory that has the frame in it. */
  words(frame: number): Int32Array;
  /** The index there of the frame's first word. */
  index(frame: number): number;
}

/** What {@linkcode TwoLevelEvents.setPending} says: the vCPU's upcall is needed; the port was not pending before. */
export const RAISED = { UPCALL: 1, NEWLY: 2 } as const;

const UPCALL_PENDING = 1;
/** In {@linkcode TwoLevelEvents}' cache: not looked up yet. */
const UNKNOWN = -1;

/** The guest's bitmaps as one isolate sees them. */
export class TwoLevelEvents {
  readonly #shared: Int32Array;
  readonly #sharedAt: number;
  /** By vCPU: what infoFrame() was, and where that vcpu_info is. */
  readonly #frames: Int32Array;
  readonly #infoAt: Int32Array;
  readonly #infos: Int32Array[];

  /** @param table initialised already */
  constructor(
    private readonly table: PortTable,
    private readonly memory: FrameWords,
    private readonly abi: TwoLevelAbi,
  ) {
    this.#shared = memory.words(table.sharedInfo);
    this.#sharedAt = memory.index(table.sharedInfo);
    this.#frames = new Int32Array(table.vcpus).fill(UNKNOWN);
    this.#infoAt = new Int32Array(table.vcpus);
    this.#infos = new Array(table.vcpus).fill(this.#shared);
  }

  /** A port has an event for `vcpu`. @returns bits of {@linkcode RAISED} */
  setPending(port: number, vcpu: number): number {
    const bits = this.table.bits, layout = this.abi[bits];
    if (port >= bits * bits) return 0;
    const word = this.#sharedAt + (port >>> 5), bit = 1 << (port & 31);
    if ((Atomics.or(this.#shared, word + layout.pending / 4, bit) & bit) !== 0) return 0;
    if ((Atomics.load(this.#shared, word + layout.mask / 4) & bit) !== 0) return RAISED.NEWLY;
    return this.#select(port, vcpu, bits) ? RAISED.NEWLY | RAISED.UPCALL : RAISED.NEWLY;
  }

  /** The guest wants a port's events. @returns whether the vCPU's upcall is needed */
  unmask(port: number, vcpu: number): boolean {
    const bits = this.table.bits, layout = this.abi[bits];
    if (port >= bits * bits) return false;
    const word = this.#sharedAt + (port >>> 5), bit = 1 << (port & 31);
    if ((Atomics.and(this.#shared, word + layout.mask / 4, ~bit) & bit) === 0) return false;
    if ((Atomics.load(this.#shared, word + layout.pending / 4) & bit) === 0) return false;
    return this.#select(port, vcpu, bits);
  }

  /** What was pending belongs to a binding that is no more. */
  clearPending(port: number): void {
    const bits = this.table.bits;
    if (port >= bits * bits) return;
    Atomics.and(this.#shared, this.#sharedAt + this.abi[bits].pending / 4 + (port >>> 5), ~(1 << (port & 31)));
  }

  isPending(port: number): boolean {
    const bits = this.table.bits;
    if (port >= bits * bits) return false;
    const word = Atomics.load(this.#shared, this.#sharedAt + this.abi[bits].pending / 4 + (port >>> 5));
    return ((word >>> (port & 31)) & 1) !== 0;
  }

  /** Whether the vCPU has not taken its upcall yet. */
  isUpcallPending(vcpu: number): boolean {
    const info = this.#info(vcpu);
    return (Atomics.load(info, this.#infoAt[vcpu]) & 0xff) !== 0;
  }

  /**
   * Moves a vCPU's vcpu_info, once. Events that come meanwhile may still be told of at the old place; so afterwards every
   * long of the bitmap is selected, and the upcall is pending. Under the lock.
   */
  moveInfo(vcpu: number, frame: number, offset: number): void {
    const target = this.memory.words(frame), at = this.memory.index(frame) + offset / 4, { abi } = this;
    if (vcpu < abi.legacyVcpus) {
      const old = this.#info(vcpu), oldAt = this.#infoAt[vcpu];
      for (let word = 0; word < abi.vcpuInfoBytes / 4; word++) {
        Atomics.store(target, at + word, Atomics.load(old, oldAt + word));
      }
    } else {
      for (let word = 1; word < abi.vcpuInfoBytes / 4; word++) Atomics.store(target, at + word, 0);
      Atomics.store(target, at, abi.upcallMask);
    }
    this.table.ofVcpus.setInfo(vcpu, frame, offset);
    const bits = this.table.bits, selector = at + abi[bits].selector / 4;
    for (let word = 0; word < bits / 32; word++) Atomics.store(target, selector + word, -1);
    Atomics.or(target, at, UPCALL_PENDING);
  }

  /** Selects the port's long for the vCPU. @returns whether its upcall was not pending yet */
  #select(port: number, vcpu: number, bits: 32 | 64): boolean {
    const info = this.#info(vcpu), at = this.#infoAt[vcpu];
    const long = bits === 64 ? port >>> 6 : port >>> 5, bit = 1 << (long & 31);
    if ((Atomics.or(info, at + this.abi[bits].selector / 4 + (long >>> 5), bit) & bit) !== 0) return false;
    return (Atomics.or(info, at, UPCALL_PENDING) & UPCALL_PENDING) === 0;
  }

  /** The memory of a vCPU's vcpu_info, which begins there at #infoAt. */
  #info(vcpu: number): Int32Array {
    const frame = this.table.ofVcpus.infoFrame(vcpu);
    if (frame !== this.#frames[vcpu]) this.#findInfo(vcpu, frame);
    return this.#infos[vcpu];
  }

  #findInfo(vcpu: number, frame: number): void {
    if (frame !== 0) {
      this.#infos[vcpu] = this.memory.words(frame - 1);
      this.#infoAt[vcpu] = this.memory.index(frame - 1) + this.table.ofVcpus.infoOffset(vcpu) / 4;
    } else if (vcpu < this.abi.legacyVcpus) {
      this.#infoAt[vcpu] = this.#sharedAt + (this.abi.vcpuInfo + vcpu * this.abi.vcpuInfoBytes) / 4;
    } else {
      const { words, index } = this.table.ofVcpus.dummyInfo;
      this.#infos[vcpu] = words;
      this.#infoAt[vcpu] = index;
    }
    this.#frames[vcpu] = frame;
  }
}
