/**
 * What all threads of a domain know of its second stage: shared memory, and the two locks that order its changes.
 *
 * Order of locks: the grant table's; then the slots lock or a server's command lock, never both; then the p2m lock; below
 * it those of the server table and of the outcome. The p2m lock is held for a bounded time and never while KVM changes slots, which may wait for a fault that only
 * a holder of this lock can resolve.
 */

import { viewAt } from "../linux/mapping.ts";
import { Lock } from "../linux/lock.ts";
import { REGION_TABLE_BYTES, RegionTable } from "./region_table.ts";
import { MAX_AREAS, MAX_FAULTS, MAX_RUNS, STAGE_LAYOUT as AT } from "./stage_layout.ts";
import { AREA, Area } from "./stage_area.ts";

export { STAGE_BYTES } from "./stage_layout.ts";

/** Memory objects that the device model of one server may have. */
export const MAX_MEMORIES = 16;

/** Words of the header. */
const P2M_LOCK = 0, SLOTS_LOCK = 1, GENERATION = 2, OPEN_FAULTS = 3, AREAS = 4, RUNS = 5, STALE_RUNS = 6;
/** Descriptors plus one; 0 is none. */
const USERFAULT = 8, PROTECTS = 9, PIDFD = 10, SINK = 11, BLANK = 12, FAULTS = 13, POPULATED = 14, BALLOONED = 15;
/** A double, by its byte. */
const TICKS_PER_US = 64;
/** Words again. */
const WAITERS = 18, SPECIAL_MFN = 19, SPECIALS = 20, HIGHEST_GFN = 21, MAPPINGS = 22, MOST_MAPPINGS = 23;

/** The table as one isolate sees it. */
export class StageTable {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #memories: Int32Array;
  /** RAM and windows. */
  readonly areas: readonly Area[];
  /** Words and doubles of the runs that are mapped for the exit transport (see ExitRuns). */
  readonly runs: { readonly words: Int32Array; readonly doubles: Float64Array };
  readonly regions: RegionTable;
  /** Words and doubles of the faults that wait (see FaultTable). */
  readonly faults: { readonly words: Int32Array; readonly doubles: Float64Array };
  /** By vCPU: the fault that it waits in, plus one; or 0. */
  readonly faultOf: Int32Array;
  /** By special frame: the gfn at which it stands, plus one; or 0. */
  readonly #specials: Int32Array;
  /** The p2m lock. */
  readonly lock: Lock;
  /** Held over changes of KVM's slots for the exit transport. */
  readonly slotsLock: Lock;

  /** @param address where STAGE_BYTES of zeroed memory begin */
  constructor(readonly address: bigint) {
    const header = viewAt(address, AT.headerBytes), at = (offset: number) => address + BigInt(offset);
    this.#words = new Int32Array(header);
    this.#doubles = new Float64Array(header);
    this.#memories = new Int32Array(header, AT.memories);
    this.lock = new Lock(this.#words, P2M_LOCK, address);
    this.slotsLock = new Lock(this.#words, SLOTS_LOCK, address);
    const areas = viewAt(at(AT.areas), MAX_AREAS * AT.areaBytes);
    this.areas = Array.from({ length: MAX_AREAS }, (_, id) => new Area(id, areas, id * AT.areaBytes));
    const tables = (offset: number, bytes: number) => {
      const memory = viewAt(at(offset), bytes);
      return { words: new Int32Array(memory), doubles: new Float64Array(memory) };
    };
    this.runs = tables(AT.runs, MAX_RUNS * AT.runBytes);
    this.faults = tables(AT.faults, MAX_FAULTS * AT.faultBytes);
    this.regions = new RegionTable(viewAt(at(AT.regions), REGION_TABLE_BYTES));
    this.faultOf = new Int32Array(viewAt(at(AT.faultOf), AT.faultOfBytes));
    this.#specials = new Int32Array(viewAt(at(AT.specials), AT.specialsBytes));
  }

  /** Changes with every change of the p2m at run time. */
  get generation(): number {
    return Atomics.load(this.#words, GENERATION);
  }

  countChange(): void {
    Atomics.add(this.#words, GENERATION, 1);
  }

  /** Windows that there are, and those that are being taken away. */
  get windows(): number {
    return this.areas.filter(({ isFree, state }) => !isFree && state !== AREA.RAM).length;
  }

  /** Faults that wait. */
  get openFaults(): number {
    return this.#words[OPEN_FAULTS];
  }

  countOpenFaults(change: 1 | -1): void {
    this.#words[OPEN_FAULTS] += change;
  }

  /** Faults from here on are free. */
  get faultsEnd(): number {
    return Atomics.load(this.#words, FAULTS);
  }

  set faultsEnd(end: number) {
    Atomics.store(this.#words, FAULTS, end);
  }

  /** vCPUs from here on have never waited. */
  get faultOfEnd(): number {
    return this.#words[WAITERS];
  }

  set faultOfEnd(end: number) {
    this.#words[WAITERS] = end;
  }

  /** Areas from here on were never used. */
  get areasEnd(): number {
    return Atomics.load(this.#words, AREAS);
  }

  /** The lowest free area, or undefined. Under the p2m lock. */
  freeArea(): Area | undefined {
    const area = this.areas.find(({ isFree }) => isFree);
    if (area !== undefined && area.id >= this.areasEnd) Atomics.store(this.#words, AREAS, area.id + 1);
    return area;
  }

  /** The area that holds `gfn`. */
  areaOf(gfn: number): Area | undefined {
    for (let id = 0; id < this.areasEnd; id++) if (this.areas[id].contains(gfn)) return this.areas[id];
    return undefined;
  }

  /** The area whose host addresses hold `address`. */
  areaAt(address: number): Area | undefined {
    for (let id = 0; id < this.areasEnd; id++) if (this.areas[id].containsHost(address)) return this.areas[id];
    return undefined;
  }

  /** The area of RAM to which a frame belongs, wherever it stands. */
  homeArea(mfn: number): Area | undefined {
    for (let id = 0; id < this.areasEnd; id++) {
      const area = this.areas[id];
      if (area.state === AREA.RAM && mfn >= area.mfn && mfn < area.mfn + area.count) return area;
    }
    return undefined;
  }

  /** The domain's special frames are these from now on: before it runs. */
  setSpecials(firstMfn: number, count: number): void {
    this.#words[SPECIAL_MFN] = firstMfn;
    this.#words[SPECIALS] = count;
  }

  /** The machine frame of the first special frame; the others follow. */
  get specialMfn(): number {
    return this.#words[SPECIAL_MFN];
  }

  isSpecial(mfn: number): boolean {
    return mfn >= this.#words[SPECIAL_MFN] && mfn < this.#words[SPECIAL_MFN] + this.#words[SPECIALS];
  }

  /** The gfn at which a special frame stands, or -1: at none. */
  gfnOfSpecial(mfn: number): number {
    return Atomics.load(this.#specials, mfn - this.#words[SPECIAL_MFN]) - 1;
  }

  /** Under the p2m lock. @param gfn -1: it stands nowhere any more */
  setGfnOfSpecial(mfn: number, gfn: number): void {
    Atomics.store(this.#specials, mfn - this.#words[SPECIAL_MFN], gfn + 1);
  }

  /** The highest gfn at which a frame was ever placed, or -1 (RAM is not placed). */
  get highestPlaced(): number {
    return this.#words[HIGHEST_GFN] - 1;
  }

  /** Under the p2m lock. */
  notePlaced(gfn: number): void {
    if (gfn >= this.#words[HIGHEST_GFN]) this.#words[HIGHEST_GFN] = gfn + 1;
  }

  /**
   * Mappings of the host's that the guest is the reason of, by what it places where: they are taken before they are made.
   * Under the p2m lock. @returns false there would be too many; then none was taken
   */
  takeMappings(count: number): boolean {
    const taken = this.#words[MAPPINGS] + count, most = this.#words[MOST_MAPPINGS];
    if (most > 0 && taken > most) return false;
    this.#words[MAPPINGS] = taken;
    return true;
  }

  /** When they are gone. Under the p2m lock. */
  giveMappings(count: number): void {
    this.#words[MAPPINGS] -= count;
  }

  /** Before the domain runs. @param most that {@linkcode takeMappings} lets be; 0: any number */
  limitMappings(most: number): void {
    this.#words[MOST_MAPPINGS] = most;
  }

  /** Runs from here on were never used. */
  get runsEnd(): number {
    return this.#words[RUNS];
  }

  set runsEnd(end: number) {
    this.#words[RUNS] = end;
  }

  /** Runs whose slot is still to be deleted. */
  get staleRuns(): number {
    return Atomics.load(this.#words, STALE_RUNS);
  }

  countStaleRuns(change: 1 | -1): void {
    Atomics.add(this.#words, STALE_RUNS, change);
  }

  /** Frames of RAM that have memory, of a domain that populates on demand. */
  get populated(): number {
    return Atomics.load(this.#words, POPULATED);
  }

  countPopulated(change: number): void {
    Atomics.add(this.#words, POPULATED, change);
  }

  /** Frames of RAM that the guest has given back. */
  get ballooned(): number {
    return Atomics.load(this.#words, BALLOONED);
  }

  countBallooned(change: number): void {
    Atomics.add(this.#words, BALLOONED, change);
  }

  /** The index, in the table of banks, of a server's memory object; -1: there is none. */
  memory(server: number, id: number): number {
    return id >= 0 && id < MAX_MEMORIES ? this.#memories[server * MAX_MEMORIES + id] - 1 : -1;
  }

  setMemory(server: number, id: number, bank: number): void {
    this.#memories[server * MAX_MEMORIES + id] = bank + 1;
  }

  /** The userfaultfd, or -1; and whether it can protect from writing. */
  get userfault(): number {
    return this.#words[USERFAULT] - 1;
  }

  get protects(): boolean {
    return this.#words[PROTECTS] !== 0;
  }

  /** Ticks of the time-stamp counter in a microsecond, for waiting times. */
  get ticksPerUs(): number {
    return this.#doubles[TICKS_PER_US / 8];
  }

  set ticksPerUs(ticks: number) {
    this.#doubles[TICKS_PER_US / 8] = ticks;
  }

  /** This process's pidfd, or -1. */
  get pidfd(): number {
    return this.#words[PIDFD] - 1;
  }

  /** A file of one page of ones: what stands where nobody answers any more. */
  get sink(): number {
    return this.#words[SINK] - 1;
  }

  /** A file as large as the p2m, without any page: what a window shows before anything is mapped. */
  get blank(): number {
    return this.#words[BLANK] - 1;
  }

  /** From now on there is a fault transport. Descriptors by their numbers; -1 for a pidfd that is of no use. */
  setTransport(transport: { userfault: number; protects: boolean; pidfd: number; sink: number; blank: number }): void {
    this.#words[PROTECTS] = transport.protects ? 1 : 0;
    this.#words[PIDFD] = transport.pidfd + 1;
    this.#words[SINK] = transport.sink + 1;
    this.#words[BLANK] = transport.blank + 1;
    Atomics.store(this.#words, USERFAULT, transport.userfault + 1);
  }
}
