/** Access to a guest's memory by guest-physical address, through the p2m and the directmap. */

import { PAGE_SIZE } from "./address.ts";
import type { BankViews } from "./bank.ts";
import { LocatedRuns } from "./located_runs.ts";
import type { MemoryViews } from "./memory_views.ts";
import { type P2m, P2M_TYPE, p2mMfn, p2mType } from "./p2m.ts";

/** A guest-physical range that is not (wholly) the guest's memory. */
export class GuestAddressError extends Error {
  static {
    this.prototype.name = "GuestAddressError";
  }

  constructor(readonly address: number, readonly sizeBytes: number, why: string) {
    super(`guest-physical 0x${address.toString(16)} + ${sizeBytes}: ${why}`);
  }
}

/** Where {@linkcode GuestMemory.locate} finds memory: in its bank, at an offset. */
export interface Place {
  memory: MemoryViews;
  offset: number;
}

/** Reads and writes the memory of one domain. Whatever address a guest gives, the worst is a GuestAddressError. */
export class GuestMemory {
  readonly #runs: LocatedRuns;

  /** @param populate gives a gfn memory that has its memory on demand, before it is written to */
  constructor(
    private readonly p2m: P2m,
    private readonly banks: BankViews,
    private readonly populate: (gfn: number) => void = () => {},
  ) {
    this.#runs = new LocatedRuns(p2m, banks);
  }

  /** Fills `target` from the guest's memory. @throws {GuestAddressError} before anything was copied */
  read(address: number, target: Uint8Array): void {
    this.#require(address, target.length, false);
    this.#walk(address, target.length, (frame, at) => target.set(frame, at));
  }

  /** Stores `source` in the guest's memory. @throws {GuestAddressError} before anything was copied */
  write(address: number, source: Uint8Array): void {
    this.#require(address, source.length, true);
    this.#populate(address, source.length);
    this.#walk(address, source.length, (frame, at) => frame.set(source.subarray(at, at + frame.length)));
  }

  /** Whether all of [address, address + sizeBytes) is the guest's memory. */
  contains(address: number, sizeBytes: number): boolean {
    return this.#firstProblem(address, sizeBytes, false) === null;
  }

  /** The frame behind a gfn that is the guest's memory, or -1; for writing, it is writable and populated. */
  frame(gfn: number, writing: boolean): number {
    const entry = this.p2m.lookup(gfn), type = p2mType(entry), mfn = p2mMfn(entry);
    if (!isMemory(type, writing) || this.banks.find(mfn) < 0) return -1;
    if (writing && type === P2M_TYPE.POPULATE_ON_DEMAND) this.populate(gfn);
    return mfn;
  }

  /** See GuestMemoryAccess.locate(). */
  locate(address: number, sizeBytes: number, writing: boolean, found: Place): number {
    const run = this.#runs.find(address);
    if (run === undefined) return this.#locateFrames(address, sizeBytes, writing, found);
    found.memory = run.memory;
    found.offset = address - run.shift;
    return address + sizeBytes <= run.end ? sizeBytes : this.#runs.follow(run, address, sizeBytes);
  }

  /** The same, frame by frame: memory that is not there yet, or only to be read. */
  #locateFrames(address: number, sizeBytes: number, writing: boolean, found: Place): number {
    if (!(Number.isSafeInteger(address) && address >= 0)) return 0;
    const gfn = Math.floor(address / PAGE_SIZE), inPage = address - gfn * PAGE_SIZE, mfn = this.frame(gfn, writing);
    if (mfn < 0) return 0;
    const { banks } = this, bank = banks.find(mfn);
    if (!banks.hasDirectmap(bank)) return 0;
    let size = PAGE_SIZE - inPage;
    for (let next = 1; size < sizeBytes; next++, size += PAGE_SIZE) {
      if (this.frame(gfn + next, writing) !== mfn + next || banks.find(mfn + next) !== bank) break;
    }
    found.memory = banks.memory(bank);
    found.offset = banks.offset(bank, mfn) + inPage;
    return Math.min(size, sizeBytes);
  }

  #require(address: number, sizeBytes: number, writing: boolean): void {
    const problem = this.#firstProblem(address, sizeBytes, writing);
    if (problem !== null) throw new GuestAddressError(address, sizeBytes, problem);
  }

  #firstProblem(address: number, sizeBytes: number, writing: boolean): string | null {
    const isWhole = (number: number) => Number.isSafeInteger(number) && number >= 0;
    if (!isWhole(address) || !isWhole(sizeBytes) || !isWhole(address + sizeBytes)) {
      return "no guest-physical address";
    }
    const end = Math.ceil((address + sizeBytes) / PAGE_SIZE);
    for (let gfn = Math.floor(address / PAGE_SIZE); gfn < end; gfn++) {
      const entry = this.p2m.lookup(gfn), type = p2mType(entry);
      if (type === P2M_TYPE.GRANT_MAP_RW || type === P2M_TYPE.GRANT_MAP_RO) {
        return `gfn 0x${gfn.toString(16)} is a device model's memory, which nobody else may look at`;
      }
      if (!isMemory(type, writing)) return `gfn 0x${gfn.toString(16)} is no ${writing ? "writable " : ""}memory`;
      if (this.banks.find(p2mMfn(entry)) < 0) return `mfn 0x${p2mMfn(entry).toString(16)} is in no bank`;
    }
    return null;
  }

  #populate(address: number, sizeBytes: number): void {
    const end = Math.ceil((address + sizeBytes) / PAGE_SIZE);
    for (let gfn = Math.floor(address / PAGE_SIZE); gfn < end; gfn++) {
      if (p2mType(this.p2m.lookup(gfn)) === P2M_TYPE.POPULATE_ON_DEMAND) this.populate(gfn);
    }
  }

  /** Calls `visit` with each longest run of memory that is contiguous in one bank, and its offset in the range. */
  #walk(address: number, sizeBytes: number, visit: (run: Uint8Array, at: number) => void): void {
    for (let done = 0; done < sizeBytes;) {
      const gfn = Math.floor((address + done) / PAGE_SIZE);
      const mfn = p2mMfn(this.p2m.lookup(gfn));
      const bank = this.banks.find(mfn);
      if (bank < 0) throw new GuestAddressError(address, sizeBytes, `mfn 0x${mfn.toString(16)} is in no bank`);
      const inPage = (address + done) - gfn * PAGE_SIZE;
      let size = PAGE_SIZE - inPage;
      for (let next = 1; done + size < sizeBytes; next++, size += PAGE_SIZE) {
        const entry = p2mMfn(this.p2m.lookup(gfn + next));
        if (entry !== mfn + next || this.banks.find(entry) !== bank) break;
      }
      size = Math.min(size, sizeBytes - done);
      const start = this.banks.offset(bank, mfn) + inPage;
      visit(this.banks.bytes(bank).subarray(start, start + size), done);
      done += size;
    }
  }
}

/** Memory that is populated on demand is zeroes until it is written to. */
function isMemory(type: number, writing: boolean): boolean {
  return type === P2M_TYPE.RAM_RW || type === P2M_TYPE.POPULATE_ON_DEMAND || (type === P2M_TYPE.RAM_RO && !writing);
}
