/**
 * The pages that vCPUs wait for inside KVM_RUN. An entry is a page, whoever and however many wait for it; from when its
 * server was asked until it has answered. Everything here is done under the p2m lock.
 */

import { clock } from "../linux/calls.ts";
import type { Area } from "./stage_area.ts";
import { MAX_FAULTS, STAGE_LAYOUT } from "./stage_layout.ts";
import type { StageTable } from "./stage_table.ts";

/**
 * QUEUED: the server has no slot free for it. SENT: it is asked, and somebody waits. IDLE: it is asked still, but the
 * page was mapped meanwhile, and whoever waited has gone on.
 */
export const FAULT = { FREE: 0, QUEUED: 1, SENT: 2, IDLE: 3 } as const;

/** Words, then doubles by their byte. */
const STATE = 0, AREA_ID = 1, SLOT = 2, RETRIES = 3, GENERATION = 4, WRITE = 5, SERVER = 6, GFN = 32, SINCE = 40;

/** Of an entry whose window is gone, though its server is still asked. */
const NO_GFN = -1;
const WORDS = STAGE_LAYOUT.faultBytes / 4, DOUBLES = STAGE_LAYOUT.faultBytes / 8;

/** The faults as one isolate sees them. Entries are known by their numbers. */
export class FaultTable {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;

  constructor(private readonly table: StageTable) {
    this.#words = table.faults.words;
    this.#doubles = table.faults.doubles;
  }

  /** The entry of a page, or -1. */
  find(gfn: number): number {
    const end = this.table.faultsEnd;
    for (let entry = 0; entry < end; entry++) {
      if (this.state(entry) !== FAULT.FREE && this.gfn(entry) === gfn) return entry;
    }
    return -1;
  }

  /** The lowest number from `entry` on that is in that state, or -1. */
  next(entry: number, state: number): number {
    const end = this.table.faultsEnd;
    while (entry < end && this.state(entry) !== state) entry++;
    return entry < end ? entry : -1;
  }

  /** Calls `visit` with each entry of an area. */
  forEach(area: Area, visit: (entry: number) => void): void {
    const end = this.table.faultsEnd;
    for (let entry = 0; entry < end; entry++) {
      if (this.state(entry) === FAULT.FREE || this.isOrphan(entry)) continue;
      if (this.area(entry) === area) visit(entry);
    }
  }

  /** Makes an entry, QUEUED. @returns its number, -1: there is no room */
  open(area: Area, gfn: number, write: boolean): number {
    let entry = 0;
    while (entry < this.table.faultsEnd && this.state(entry) !== FAULT.FREE) entry++;
    if (entry === MAX_FAULTS) return -1;
    if (entry === this.table.faultsEnd) this.table.faultsEnd = entry + 1;
    const at = entry * WORDS;
    this.#words[at + STATE] = FAULT.QUEUED;
    this.#words[at + AREA_ID] = area.id;
    this.#words[at + SLOT] = -1;
    this.#words[at + RETRIES] = 0;
    this.#words[at + WRITE] = write ? 1 : 0;
    this.#words[at + SERVER] = area.server;
    this.#doubles[entry * DOUBLES + GFN / 8] = gfn;
    this.#doubles[entry * DOUBLES + SINCE / 8] = clock();
    this.table.countOpenFaults(1);
    return entry;
  }

  /** Its server is asked, at `slot`. */
  sent(entry: number, slot: number): void {
    this.#words[entry * WORDS + STATE] = FAULT.SENT;
    this.#words[entry * WORDS + SLOT] = slot;
    this.#words[entry * WORDS + GENERATION] = this.area(entry).generation;
  }

  /** Somebody waits again for a page whose server was still asked. */
  again(entry: number, write: boolean): void {
    this.#words[entry * WORDS + STATE] = FAULT.SENT;
    this.#words[entry * WORDS + WRITE] = write ? 1 : 0;
    this.#doubles[entry * DOUBLES + SINCE / 8] = clock();
  }

  /** vCPU `vcpu` waits in this fault. */
  waits(entry: number, vcpu: number): void {
    this.table.faultOf[vcpu] = entry + 1;
    this.table.faultOfEnd = Math.max(this.table.faultOfEnd, vcpu + 1);
  }

  /** Pages were mapped: nobody waits for them any more, but to write, if they are read-only. */
  resolve(gfn: number, count: number, readOnly = false): void {
    const end = this.table.faultsEnd;
    for (let entry = 0; entry < end; entry++) {
      const state = this.state(entry), at = this.gfn(entry);
      if (state === FAULT.FREE || state === FAULT.IDLE || (readOnly && this.isWrite(entry))) continue;
      if (at >= gfn && at < gfn + count) this.#resolve(entry, state);
    }
  }

  #resolve(entry: number, state: number): void {
    this.area(entry).countWait((clock() - this.since(entry)) / this.table.ticksPerUs);
    this.#forget(entry);
    if (state === FAULT.QUEUED) this.close(entry);
    else this.#words[entry * WORDS + STATE] = FAULT.IDLE;
    this.#words[entry * WORDS + RETRIES] = 0;
  }

  /** Its window is gone; the server's slot is its own until it has answered. */
  orphan(entry: number): void {
    if (this.state(entry) !== FAULT.FREE) this.#doubles[entry * DOUBLES + GFN / 8] = NO_GFN;
  }

  isOrphan(entry: number): boolean {
    return this.gfn(entry) === NO_GFN;
  }

  /** The end of an entry. */
  close(entry: number): void {
    this.#forget(entry);
    this.#words[entry * WORDS + STATE] = FAULT.FREE;
    this.table.countOpenFaults(-1);
    let end = this.table.faultsEnd;
    while (end > 0 && this.state(end - 1) === FAULT.FREE) end--;
    this.table.faultsEnd = end;
  }

  /** Counts an answer that has not mapped the page. @returns how many there were since it was */
  countRetry(entry: number): number {
    return ++this.#words[entry * WORDS + RETRIES];
  }

  state(entry: number): number {
    return Atomics.load(this.#words, entry * WORDS + STATE);
  }

  area(entry: number): Area {
    return this.table.areas[this.#words[entry * WORDS + AREA_ID]];
  }

  /** Who is asked. */
  server(entry: number): number {
    return this.#words[entry * WORDS + SERVER];
  }

  gfn(entry: number): number {
    return this.#doubles[entry * DOUBLES + GFN / 8];
  }

  /** The server's slot, -1: none yet. */
  slot(entry: number): number {
    return this.#words[entry * WORDS + SLOT];
  }

  /** Whether the page is there and only writing is not permitted. */
  isWrite(entry: number): boolean {
    return this.#words[entry * WORDS + WRITE] !== 0;
  }

  /** The area's generation when the server was asked. */
  generation(entry: number): number {
    return this.#words[entry * WORDS + GENERATION];
  }

  /** Ticks when somebody began to wait. */
  since(entry: number): number {
    return this.#doubles[entry * DOUBLES + SINCE / 8];
  }

  #forget(entry: number): void {
    const { faultOf, faultOfEnd } = this.table;
    for (let vcpu = 0; vcpu < faultOfEnd; vcpu++) if (faultOf[vcpu] === entry + 1) faultOf[vcpu] = 0;
  }
}
