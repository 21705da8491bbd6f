/** What a domain's vCPUs have of its event channels: part of the port table's shared memory. */

import { MAX_VCPU_IDS } from "../kvm/abi.ts";

/** Virtual interrupts that a vCPU has a place for. */
export const MAX_VIRQS = 24;

/** Words: how many vCPUs wait for ports, a vcpu_info for vCPUs that have none, a bit for each vCPU that waits. */
const POLLERS = 0, NO_INFO = 16, POLL_MASK = 32, TABLE = POLL_MASK + MAX_VCPU_IDS / 32;
/** Words of a vCPU: the ports of its virtual interrupts, then these. */
const POLLED = MAX_VIRQS, INFO_FRAME = 25, INFO_OFFSET = 26, VCPU_WORDS = 32;

export const EVENT_VCPUS_WORDS = TABLE + MAX_VCPU_IDS * VCPU_WORDS;

/** The vCPUs as one isolate sees them. */
export class EventVcpus {
  constructor(private readonly words: Int32Array) {}

  /** The port of a virtual interrupt, 0 none; those of the domain are vCPU 0's. */
  virqPort(vcpu: number, virq: number): number {
    return Atomics.load(this.words, TABLE + vcpu * VCPU_WORDS + virq);
  }

  setVirqPort(vcpu: number, virq: number, port: number): void {
    Atomics.store(this.words, TABLE + vcpu * VCPU_WORDS + virq, port);
  }

  /** Frame of a registered vcpu_info, plus one; 0 none is. It is set once, after its offset. */
  infoFrame(vcpu: number): number {
    return Atomics.load(this.words, TABLE + vcpu * VCPU_WORDS + INFO_FRAME);
  }

  /** Byte offset of a registered vcpu_info in its frame. */
  infoOffset(vcpu: number): number {
    return this.words[TABLE + vcpu * VCPU_WORDS + INFO_OFFSET];
  }

  setInfo(vcpu: number, frame: number, offset: number): void {
    this.words[TABLE + vcpu * VCPU_WORDS + INFO_OFFSET] = offset;
    Atomics.store(this.words, TABLE + vcpu * VCPU_WORDS + INFO_FRAME, frame + 1);
  }

  /** A vcpu_info that no guest sees, of all vCPUs that have none (Xen: dummy_vcpu_info). */
  get dummyInfo(): { readonly words: Int32Array; readonly index: number } {
    return { words: this.words, index: NO_INFO };
  }

  /** Whether any vCPU waits for ports. */
  get hasPollers(): boolean {
    return Atomics.load(this.words, POLLERS) !== 0;
  }

  /** The lowest vCPU from `vcpu` on, below `end`, that waits for ports; or -1. */
  nextPoller(vcpu: number, end: number): number {
    let mask = -1 << (vcpu & 31);
    for (let word = vcpu >>> 5; word * 32 < end; word++, mask = -1) {
      const bits = Atomics.load(this.words, POLL_MASK + word) & mask;
      if (bits !== 0) return word * 32 + 31 - Math.clz32(bits & -bits);
    }
    return -1;
  }

  /** The port that a vCPU waits for; 0: any may be. */
  polled(vcpu: number): number {
    return Atomics.load(this.words, TABLE + vcpu * VCPU_WORDS + POLLED);
  }

  setPolled(vcpu: number, port: number): void {
    Atomics.store(this.words, TABLE + vcpu * VCPU_WORDS + POLLED, port);
  }

  /** It waits, for any port. */
  addPoller(vcpu: number): void {
    const bit = 1 << (vcpu & 31);
    this.setPolled(vcpu, 0);
    if ((Atomics.or(this.words, POLL_MASK + (vcpu >>> 5), bit) & bit) === 0) Atomics.add(this.words, POLLERS, 1);
  }

  /** Whether it waits for ports. */
  isPoller(vcpu: number): boolean {
    return (Atomics.load(this.words, POLL_MASK + (vcpu >>> 5)) & (1 << (vcpu & 31))) !== 0;
  }

  /** It waits no more. @returns whether it did: then the caller is who wakes it */
  removePoller(vcpu: number): boolean {
    const bit = 1 << (vcpu & 31);
    if ((Atomics.and(this.words, POLL_MASK + (vcpu >>> 5), ~bit) & bit) === 0) return false;
    Atomics.sub(this.words, POLLERS, 1);
    return true;
  }
}
