/** An area of the guest's physical map: a piece of RAM, or a window that a device model maps its memory into. */

import { type Gfn, PAGE_SIZE } from "./address.ts";

/** What an area is. */
export const AREA = { FREE: 0, RAM: 1, WINDOW: 2, /** A window whose server is gone. */ DEAD: 3 } as const;

/** How accesses to what is not mapped reach a window's server (docs/retry.md). */
export const TRANSPORT = { EXIT: 0, FAULT: 1 } as const;
export type Transport = (typeof TRANSPORT)[keyof typeof TRANSPORT];

/** Waiting times are counted in classes: up to 1 us, 2 us, 4 us, ... */
export const WAIT_CLASSES = 24;

/** Words. */
const STATE = 0, TRANSPORT_WORD = 1, SERVER = 2, GENERATION = 3, REGISTERED = 4, SLOT = 5;
const VIOLATIONS = 8, MAPS = 9, REVOKES = 10, RETRIES = 11, LAST_ERROR = 12, WAITS = 16;
/** Doubles, by their byte. */
const FIRST = 192, COUNT = 200, HOST = 208, MFN = 216, WAITED = 224, LONGEST = 232;

/** What a window has counted. */
export interface AreaTally {
  /** Accesses that had to wait for the server; several vCPUs at one page are one on the fault transport. */
  readonly violations: number;
  /** Pages mapped, remapped included. */
  readonly maps: number;
  readonly revokes: number;
  /** IORESP_RETRY after which the page was not mapped. */
  readonly retries: number;
  /** By class of waiting time: up to 2^n microseconds. */
  readonly waits: readonly number[];
  /** Microseconds. */
  readonly waitedUs: number;
  readonly longestUs: number;
}

/** One area as one isolate sees it. Changed under the p2m lock. */
export class Area {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;

  constructor(readonly id: number, memory: ArrayBuffer, offset: number) {
    this.#words = new Int32Array(memory, offset, FIRST / 4);
    this.#doubles = new Float64Array(memory, offset, 256 / 8);
  }

  get state(): number {
    return Atomics.load(this.#words, STATE);
  }

  set state(state: number) {
    Atomics.store(this.#words, STATE, state);
  }

  get isFree(): boolean {
    return this.state === AREA.FREE;
  }

  /** Begins an area. @param host address of its second stage, 0: it has none; @param mfn where RAM has its memory */
  begin(first: Gfn, count: number, host: number, mfn = 0): void {
    this.#words.fill(0);
    this.#doubles.fill(0, WAITED / 8);
    this.#doubles[FIRST / 8] = first;
    this.#doubles[COUNT / 8] = count;
    this.#doubles[HOST / 8] = host;
    this.#doubles[MFN / 8] = mfn;
  }

  setWindow(server: number, transport: Transport, slot: number): void {
    this.#words[SERVER] = server;
    this.#words[TRANSPORT_WORD] = transport;
    this.#words[SLOT] = slot;
  }

  get server(): number {
    return this.#words[SERVER];
  }

  get transport(): Transport {
    return this.#words[TRANSPORT_WORD] as Transport;
  }

  /** KVM's slot of a window of the fault transport. */
  get slot(): number {
    return this.#words[SLOT];
  }

  get first(): Gfn {
    return this.#doubles[FIRST / 8] as Gfn;
  }

  /** Pages. */
  get count(): number {
    return this.#doubles[COUNT / 8];
  }

  /** Where the second stage shows it, 0: nowhere. */
  get host(): number {
    return this.#doubles[HOST / 8];
  }

  /** The machine frame of RAM's first page. */
  get mfn(): number {
    return this.#doubles[MFN / 8];
  }

  contains(gfn: number): boolean {
    return !this.isFree && gfn >= this.first && gfn < this.first + this.count;
  }

  containsHost(address: number): boolean {
    return !this.isFree && address >= this.host && address < this.host + this.count * PAGE_SIZE;
  }

  hostOf(gfn: number): number {
    return this.host + (gfn - this.first) * PAGE_SIZE;
  }

  gfnAt(address: number): Gfn {
    return this.first + Math.floor((address - this.host) / PAGE_SIZE) as Gfn;
  }

  /** Whether accesses to its missing pages wait (userfaultfd). */
  get registered(): boolean {
    return this.#words[REGISTERED] !== 0;
  }

  set registered(on: boolean) {
    this.#words[REGISTERED] = on ? 1 : 0;
  }

  /** Changes with every map and revoke. */
  get generation(): number {
    return Atomics.load(this.#words, GENERATION);
  }

  /** The last error of a mapping, for the reason of a crash. */
  get lastError(): number {
    return this.#words[LAST_ERROR];
  }

  set lastError(errno: number) {
    this.#words[LAST_ERROR] = errno;
  }

  countMaps(pages: number): void {
    this.#words[MAPS] += pages;
    Atomics.add(this.#words, GENERATION, 1);
  }

  countRevokes(pages: number): void {
    this.#words[REVOKES] += pages;
    Atomics.add(this.#words, GENERATION, 1);
  }

  countViolation(): void {
    Atomics.add(this.#words, VIOLATIONS, 1);
  }

  countRetry(): void {
    Atomics.add(this.#words, RETRIES, 1);
  }

  /** A vCPU, or several at one page, waited so long. */
  countWait(us: number): void {
    this.#words[WAITS + waitClass(us)]++;
    this.#doubles[WAITED / 8] += us;
    if (us > this.#doubles[LONGEST / 8]) this.#doubles[LONGEST / 8] = us;
  }

  get tally(): AreaTally {
    return {
      violations: this.#words[VIOLATIONS],
      maps: this.#words[MAPS],
      revokes: this.#words[REVOKES],
      retries: this.#words[RETRIES],
      waits: Array.from(this.#words.subarray(WAITS, WAITS + WAIT_CLASSES)),
      waitedUs: this.#doubles[WAITED / 8],
      longestUs: this.#doubles[LONGEST / 8],
    };
  }
}

function waitClass(us: number): number {
  return us <= 1 ? 0 : Math.min(WAIT_CLASSES - 1, Math.ceil(Math.log2(us)));
}
