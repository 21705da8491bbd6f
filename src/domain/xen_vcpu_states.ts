/** What all threads of a domain know of its vCPUs, as far as the guest's Xen is concerned: part of XenState. */

import { CONTEXT_BYTES } from "./xen_context.ts";

/**
 * What a vCPU's carrier is to do before it enters the guest again: bits, set by any thread that then kicks it. LATER, for
 * which nobody is kicked, is its own note that it has to be asked for its upcall again.
 */
export const ORDER = {
  UPCALL: 1,
  WAKE: 2,
  UP: 4,
  DOWN: 8,
  NMI: 16,
  CLOCK: 32,
  FLUSH: 64,
  LATER: 128,
  AREAS: 256,
} as const;

/** Words of a vCPU, then doubles by their byte, then the state in which it begins. */
const VECTOR = 0, ORDERS = 1, FLAGS = 2, RUNSTATE_LOW = 3, RUNSTATE_HIGH = 4, TIME_LOW = 5, TIME_HIGH = 6;
const SINGLESHOT = 32, PERIOD = 40, PERIODIC = 48, POLL_UNTIL = 56, INFO_GFN = 64, CONTEXT = 72, BLOCKED = 248;
/** Bits of FLAGS. */
const INITIALISED = 1, UP = 2, HAS_CONTEXT = 4, ASLEEP_BY_CALL = 8, UPCALL_DUE = 16;

/** Bytes of a vCPU. */
export const XEN_VCPU_BYTES = 256;

/** The vCPUs' part as one isolate sees it. */
export class XenVcpuStates {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #memory: ArrayBuffer;

  constructor(memory: ArrayBuffer) {
    this.#memory = memory;
    this.#words = new Int32Array(memory);
    this.#doubles = new Float64Array(memory);
  }

  /** The vector by which a vCPU hears of events; 0: it has none of its own. */
  upcallVector(vcpu: number): number {
    return Atomics.load(this.#words, this.#vcpu(vcpu) + VECTOR);
  }

  setUpcallVector(vcpu: number, vector: number): void {
    Atomics.store(this.#words, this.#vcpu(vcpu) + VECTOR, vector);
  }

  /** Adds to what a vCPU's carrier is to do; then it has to be kicked. */
  order(vcpu: number, order: number): void {
    Atomics.or(this.#words, this.#vcpu(vcpu) + ORDERS, order);
  }

  /** The carrier: takes all orders. */
  takeOrders(vcpu: number): number {
    return Atomics.exchange(this.#words, this.#vcpu(vcpu) + ORDERS, 0);
  }

  hasOrder(vcpu: number, order: number): boolean {
    return (Atomics.load(this.#words, this.#vcpu(vcpu) + ORDERS) & order) !== 0;
  }

  /** Whether a vCPU's upcall could not be delivered yet. */
  isUpcallDue(vcpu: number): boolean {
    return this.#has(vcpu, UPCALL_DUE);
  }

  setUpcallDue(vcpu: number, due: boolean): void {
    this.#set(vcpu, UPCALL_DUE, due);
  }

  isInitialised(vcpu: number): boolean {
    return this.#has(vcpu, INITIALISED);
  }

  /** @returns false it was before */
  markInitialised(vcpu: number): boolean {
    return (Atomics.or(this.#words, this.#vcpu(vcpu) + FLAGS, INITIALISED) & INITIALISED) === 0;
  }

  isUp(vcpu: number): boolean {
    return this.#has(vcpu, UP);
  }

  setUp(vcpu: number, up: boolean): void {
    this.#set(vcpu, UP, up);
  }

  /** Whether {@linkcode context} is to be given to the vCPU before it runs. */
  hasContext(vcpu: number): boolean {
    return this.#has(vcpu, HAS_CONTEXT);
  }

  setHasContext(vcpu: number, on: boolean): void {
    this.#set(vcpu, HAS_CONTEXT, on);
  }

  /** Whether the vCPU sleeps because it has asked to by hypercall, or is about to: any upcall wakes it. */
  isAsleep(vcpu: number): boolean {
    return this.#has(vcpu, ASLEEP_BY_CALL);
  }

  setAsleep(vcpu: number, on: boolean): void {
    this.#set(vcpu, ASLEEP_BY_CALL, on);
  }

  /** The state in which a vCPU begins. */
  context(vcpu: number): DataView<ArrayBuffer> {
    return new DataView(this.#memory, this.#vcpu(vcpu) * 4 + CONTEXT, CONTEXT_BYTES);
  }

  /** The gfn of a vcpu_info that was registered. */
  infoGfn(vcpu: number): number {
    return this.#doubles[(this.#vcpu(vcpu) * 4 + INFO_GFN) / 8];
  }

  setInfoGfn(vcpu: number, gfn: number): void {
    this.#doubles[(this.#vcpu(vcpu) * 4 + INFO_GFN) / 8] = gfn;
  }

  /** Linear addresses at which the guest wants runstate and time, in halves; 0: nowhere. */
  runstateLow(vcpu: number): number {
    return this.#words[this.#vcpu(vcpu) + RUNSTATE_LOW] >>> 0;
  }

  runstateHigh(vcpu: number): number {
    return this.#words[this.#vcpu(vcpu) + RUNSTATE_HIGH] >>> 0;
  }

  setRunstateArea(vcpu: number, low: number, high: number): void {
    this.#words[this.#vcpu(vcpu) + RUNSTATE_LOW] = low;
    this.#words[this.#vcpu(vcpu) + RUNSTATE_HIGH] = high;
  }

  timeLow(vcpu: number): number {
    return this.#words[this.#vcpu(vcpu) + TIME_LOW] >>> 0;
  }

  timeHigh(vcpu: number): number {
    return this.#words[this.#vcpu(vcpu) + TIME_HIGH] >>> 0;
  }

  setTimeArea(vcpu: number, low: number, high: number): void {
    this.#words[this.#vcpu(vcpu) + TIME_LOW] = low;
    this.#words[this.#vcpu(vcpu) + TIME_HIGH] = high;
  }

  /** System time at which a vCPU's timer fires; 0: it does not. */
  singleshot(vcpu: number): number {
    return this.#doubles[(this.#vcpu(vcpu) * 4 + SINGLESHOT) / 8];
  }

  setSingleshot(vcpu: number, at: number): void {
    this.#doubles[(this.#vcpu(vcpu) * 4 + SINGLESHOT) / 8] = at;
  }

  /** Nanoseconds from one event of its other timer to the next; 0: none. And when the next one is. */
  period(vcpu: number): number {
    return this.#doubles[(this.#vcpu(vcpu) * 4 + PERIOD) / 8];
  }

  periodic(vcpu: number): number {
    return this.#doubles[(this.#vcpu(vcpu) * 4 + PERIODIC) / 8];
  }

  setPeriodic(vcpu: number, period: number, next: number): void {
    this.#doubles[(this.#vcpu(vcpu) * 4 + PERIOD) / 8] = period;
    this.#doubles[(this.#vcpu(vcpu) * 4 + PERIODIC) / 8] = next;
  }

  /** Nanoseconds that a vCPU has been asleep, as it said last. */
  blocked(vcpu: number): number {
    return this.#doubles[(this.#vcpu(vcpu) * 4 + BLOCKED) / 8];
  }

  setBlocked(vcpu: number, ns: number): void {
    this.#doubles[(this.#vcpu(vcpu) * 4 + BLOCKED) / 8] = ns;
  }

  /** System time at which a vCPU stops to wait for ports; 0: it does not wait, or for ever. */
  pollUntil(vcpu: number): number {
    return this.#doubles[(this.#vcpu(vcpu) * 4 + POLL_UNTIL) / 8];
  }

  setPollUntil(vcpu: number, at: number): void {
    this.#doubles[(this.#vcpu(vcpu) * 4 + POLL_UNTIL) / 8] = at;
  }

  #vcpu(vcpu: number): number {
    return vcpu * (XEN_VCPU_BYTES / 4);
  }

  #has(vcpu: number, flag: number): boolean {
    return (Atomics.load(this.#words, this.#vcpu(vcpu) + FLAGS) & flag) !== 0;
  }

  #set(vcpu: number, flag: number, on: boolean): void {
    if (on) Atomics.or(this.#words, this.#vcpu(vcpu) + FLAGS, flag);
    else Atomics.and(this.#words, this.#vcpu(vcpu) + FLAGS, ~flag);
  }
}
