/**
 * Slots of what is mapped outside of RAM and of windows by fault: one for each run of pages whose frames go on. That is
 * the exit transport's second stage, made by the carrier that comes to such a page; and what is placed where there was
 * nothing (PlacedFrames), made by the carrier that places it.
 *
 * A run is taken away at once and in any thread: its host addresses become inaccessible, and its slot is stale. KVM
 * deletes a slot only when no vCPU waits for a page, so that is left to carriers: they do it before they make another,
 * and when KVM_RUN fails because a vCPU has come to a stale one. Order of locks: see StageTable.
 */

import { viewAt } from "../linux/mapping.ts";
import { allocateBlocks, forbid, mapGuarded, readAt, unmap, writeAt } from "../linux/remap.ts";
import type { Vm } from "../kvm/vm.ts";
import { PAGE_SIZE } from "./address.ts";
import type { BankViews } from "./bank.ts";
import { type P2m, P2M_TYPE, p2mMfn, p2mType } from "./p2m.ts";
import { AREA, type Area, TRANSPORT } from "./stage_area.ts";
import { FIRST_RUN_SLOT, MAX_RUNS, STAGE_LAYOUT } from "./stage_layout.ts";
import type { StageTable } from "./stage_table.ts";

/**
 * ADDING: KVM is about to have the slot. STALE: the pages were taken away, and KVM has it still, or will have. DELETING:
 * KVM is about to delete it.
 */
const FREE = 0, ADDING = 1, LIVE = 2, STALE = 3, DELETING = 4;

const STATE = 0, FIRST = 16, COUNT = 24, HOST = 32;
const WORDS = STAGE_LAYOUT.runBytes / 4, DOUBLES = STAGE_LAYOUT.runBytes / 8;

/** The longest run: a slot's memory is mapped and forgotten as a whole. */
const MOST_PAGES = 512;

/** The runs as one isolate sees them. */
export class ExitRuns {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;

  constructor(private readonly table: StageTable, private readonly p2m: P2m, private readonly banks: BankViews) {
    this.#words = table.runs.words;
    this.#doubles = table.runs.doubles;
  }

  /** Takes every run away that has one of these pages. Under the p2m lock. */
  retire(gfn: number, count: number): void {
    for (let run = 0; run < this.table.runsEnd; run++) {
      const state = this.#state(run);
      if (state === FREE || state === DELETING || !this.#overlaps(run, gfn, count)) continue;
      forbid(this.#doubles[run * DOUBLES + HOST / 8], this.#pages(run) * PAGE_SIZE);
      if (state !== STALE) this.#stale(run);
    }
  }

  #stale(run: number): void {
    this.#words[run * WORDS + STATE] = STALE;
    this.table.countStaleRuns(1);
  }

  /** Deletes stale slots; by a carrier, which waits for that. @returns whether there is, or was, any */
  sweep(vm: Vm): boolean {
    return this.table.staleRuns > 0 && this.table.slotsLock.hold(() => this.#sweep(vm));
  }

  /** The same by the domain's owner, which must not be kept. Rejects with LinuxError. */
  async sweepLater(vm: Vm): Promise<void> {
    for (let run = 0; run < this.table.runsEnd; run++) {
      if (!this.table.slotsLock.hold(() => this.#claim(run))) continue;
      using deleting = this.#deleting(run);
      await vm.changeMemoryRegion(FIRST_RUN_SLOT + run, this.#address(run), 0, this.#host(run));
      deleting.move();
      this.#deleted(run);
    }
  }

  /**
   * Gives a mapped page, and those mapped around it, a slot; nothing if it has one. Where the host has none to give, each
   * access goes on leaving the guest. By a carrier, which may have to wait.
   * @returns whether it has one
   */
  ensure(vm: Vm, gfn: number): boolean {
    return this.table.slotsLock.hold(() => {
      this.#sweep(vm);
      const run = this.table.lock.hold(() => this.#begin(gfn));
      if (run < 0) return this.#runAt(gfn, LIVE) >= 0;
      const [first, count, host] = this.#doubles.subarray(run * DOUBLES + FIRST / 8, run * DOUBLES + HOST / 8 + 1);
      const readOnly = p2mType(this.p2m.lookup(gfn)) === P2M_TYPE.GRANT_MAP_RO;
      let added = true;
      try {
        this.#sweep(vm); // the runs that went into this one
        vm.setMemoryRegion(FIRST_RUN_SLOT + run, first * PAGE_SIZE, count * PAGE_SIZE, BigInt(host), readOnly);
      } catch {
        added = false;
      }
      return this.table.lock.hold(() => this.#end(run, added));
    });
  }

  /** Reads or writes a mapped page for the guest; the p2m lock is held. @returns whether that was possible */
  access(gfn: number, offset: number, bytes: Uint8Array<ArrayBuffer>, write: boolean): boolean {
    const mfn = p2mMfn(this.p2m.lookup(gfn)), bank = this.banks.find(mfn);
    if (bank < 0) return false;
    const at = this.banks.offset(bank, mfn);
    if (this.banks.hasDirectmap(bank)) {
      move(bytes, this.banks.bytes(bank).subarray(at + offset, at + offset + bytes.length), write);
      return true;
    }
    return this.#accessForeign(this.banks.descriptor(bank), at, offset, bytes, write);
  }

  /**
   * Through a mapping of its own, since pread and pwrite may copy byte by byte, and another vCPU would see half of a word.
   * The file cannot shrink (requireFixed), and is given memory first: so looking at it harms nobody.
   */
  #accessForeign(file: number, at: number, offset: number, bytes: Uint8Array<ArrayBuffer>, write: boolean): boolean {
    if (allocateBlocks(file, at, PAGE_SIZE) !== 0) return false;
    const host = mapGuarded(PAGE_SIZE, file, at);
    if (host < 0) return (write ? writeAt : readAt)(file, bytes, at + offset) === bytes.length; // better than nothing
    move(bytes, new Uint8Array(viewAt(BigInt(host + offset), bytes.length)), write);
    return unmap(host, 2 * PAGE_SIZE) === 0;
  }

  /** The end of all, when KVM has no slot any more: host addresses are given back. */
  dispose(): void {
    for (let run = 0; run < this.table.runsEnd; run++) if (this.#state(run) !== FREE) this.#free(run);
  }

  /** A new run around `gfn`, ADDING, or -1. */
  #begin(gfn: number): number {
    const area = this.table.areaOf(gfn), entry = this.p2m.lookup(gfn), mfn = p2mMfn(entry);
    if (!this.#hasRuns(area, entry) || this.#runAt(gfn) >= 0 || this.#isKeptFree(gfn)) return -1;
    const before = this.#joining(gfn, -1, MOST_PAGES / 2), after = this.#joining(gfn, 1, MOST_PAGES - before - 1);
    const count = before + 1 + after, bank = this.banks.find(mfn);
    let run = 0;
    while (run < MAX_RUNS && this.#state(run) !== FREE) run++;
    if (run === MAX_RUNS) return -1;
    const host = mapGuarded(count * PAGE_SIZE, this.banks.descriptor(bank), this.banks.offset(bank, mfn - before));
    if (host < 0) return -1;
    for (let other = 0; other < this.table.runsEnd; other++) {
      if (this.#state(other) === LIVE && this.#overlaps(other, gfn - before, count)) this.#stale(other);
    }
    this.#doubles[run * DOUBLES + FIRST / 8] = gfn - before;
    this.#doubles[run * DOUBLES + COUNT / 8] = count;
    this.#doubles[run * DOUBLES + HOST / 8] = host;
    this.#words[run * WORDS + STATE] = ADDING;
    if (run >= this.table.runsEnd) this.table.runsEnd = run + 1;
    return run;
  }

  /** What stands in an extended region is shown with it (RegionFrames), but for windows that the guest has asked for. */
  #isKeptFree(gfn: number): boolean {
    return this.table.regions.isKeptFree(gfn, 1);
  }

  /** Whether what an entry shows gets its slot here: in a window by exit, or where there is no area, what was placed. */
  #hasRuns(area: Area | undefined, entry: number): boolean {
    if (area !== undefined && (area.state !== AREA.WINDOW || area.transport !== TRANSPORT.EXIT)) return false;
    return isGrant(entry) || (area === undefined && isPlaced(this.table, entry));
  }

  /**
   * How many pages beside `gfn` can be in one slot with it. KVM's slots cannot grow. Where somebody places page after
   * page, the slot that there is goes, and one that is longer comes: whoever gets in between leaves the guest, and waits
   * for the slots lock. In a window a slot stays as it is.
   */
  #joining(gfn: number, step: 1 | -1, most: number): number {
    const area = this.table.areaOf(gfn), entry = this.p2m.lookup(gfn), bank = this.banks.find(p2mMfn(entry));
    let pages = 0;
    while (pages < most) {
      const away = (pages + 1) * step, at = gfn + away;
      if (this.p2m.lookup(at) !== entry + away || this.banks.find(p2mMfn(entry) + away) !== bank) break;
      if (area === undefined ? this.table.areaOf(at) !== undefined || this.#isKeptFree(at) : !area.contains(at)) break;
      const run = this.#runAt(at), more = run < 0 ? 1 : this.#pages(run);
      if (run >= 0 && (area !== undefined || this.#state(run) !== LIVE || pages + more > most)) break;
      pages += more;
    }
    return pages;
  }

  /** KVM has the slot or refused it; meanwhile the run may have been taken away. @returns whether it can be used */
  #end(run: number, added: boolean): boolean {
    if (added) {
      if (this.#state(run) !== ADDING) return false;
      this.#words[run * WORDS + STATE] = LIVE;
      return true;
    }
    if (this.#state(run) === STALE) this.table.countStaleRuns(-1);
    this.#free(run);
    return false;
  }

  #sweep(vm: Vm): boolean {
    const found = this.table.staleRuns > 0;
    for (let run = 0; found && run < this.table.runsEnd; run++) {
      if (!this.#claim(run)) continue;
      using deleting = this.#deleting(run);
      vm.setMemoryRegion(FIRST_RUN_SLOT + run, this.#address(run), 0, this.#host(run));
      deleting.move();
      this.#deleted(run);
    }
    return found;
  }

  /** Under the slots lock. @returns whether the run was stale, and is the caller's to delete */
  #claim(run: number): boolean {
    if (this.#state(run) !== STALE) return false;
    this.#words[run * WORDS + STATE] = DELETING;
    return true;
  }

  /** Until KVM has deleted its slot, a claimed run can become stale again. */
  #deleting(run: number): DisposableStack {
    const stack = new DisposableStack();
    stack.defer(() => this.#words[run * WORDS + STATE] = STALE);
    return stack;
  }

  #deleted(run: number): void {
    this.table.lock.hold(() => {
      this.table.countStaleRuns(-1);
      this.#free(run);
    });
  }

  #address(run: number): number {
    return this.#doubles[run * DOUBLES + FIRST / 8] * PAGE_SIZE;
  }

  #host(run: number): bigint {
    return BigInt(this.#doubles[run * DOUBLES + HOST / 8]);
  }

  /** With the page behind it, which keeps it from becoming one mapping with another run: forbid() needs no new one then. */
  #free(run: number): void {
    unmap(this.#doubles[run * DOUBLES + HOST / 8], (this.#pages(run) + 1) * PAGE_SIZE);
    this.#words[run * WORDS + STATE] = FREE;
  }

  /** The run that has a page, in one state if that matters, or -1. */
  #runAt(gfn: number, state = -1): number {
    for (let run = 0; run < this.table.runsEnd; run++) {
      const found = this.#state(run);
      if (found !== FREE && (state < 0 || found === state) && this.#overlaps(run, gfn, 1)) return run;
    }
    return -1;
  }

  #pages(run: number): number {
    return this.#doubles[run * DOUBLES + COUNT / 8];
  }

  #overlaps(run: number, gfn: number, count: number): boolean {
    const first = this.#doubles[run * DOUBLES + FIRST / 8];
    return gfn < first + this.#pages(run) && first < gfn + count;
  }

  #state(run: number): number {
    return Atomics.load(this.#words, run * WORDS + STATE);
  }
}

function isGrant(entry: number): boolean {
  const type = p2mType(entry);
  return type === P2M_TYPE.GRANT_MAP_RW || type === P2M_TYPE.GRANT_MAP_RO;
}

/** Whether an entry outside of RAM shows a frame of the domain's own that was placed there (and not an ioreq page). */
export function isPlaced(table: StageTable, entry: number): boolean {
  const mfn = p2mMfn(entry);
  return p2mType(entry) === P2M_TYPE.RAM_RW && (table.isSpecial(mfn) || table.homeArea(mfn) !== undefined);
}

/** Arrays of words, by the bytes of one. */
const WORD_ARRAYS = { 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const;

/** Copies `bytes` to memory of the guest, or the other way; 1, 2, 4 or 8 aligned bytes at once. */
function move(bytes: Uint8Array<ArrayBuffer>, memory: Uint8Array<ArrayBuffer>, write: boolean): void {
  const [from, to] = write ? [bytes, memory] : [memory, bytes];
  const Words = WORD_ARRAYS[bytes.length as keyof typeof WORD_ARRAYS];
  if (Words === undefined || (from.byteOffset | to.byteOffset) % bytes.length !== 0) return to.set(from);
  const target = new Words(to.buffer, to.byteOffset, 1) as BigUint64Array;
  target[0] = (new Words(from.buffer, from.byteOffset, 1) as BigUint64Array)[0];
}
