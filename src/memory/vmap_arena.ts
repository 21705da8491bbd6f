/** One of vmap's arenas: reserved address space, the areas in it, and what each of them shows. */

import { type Access, type AddressSpan, Mapping } from "../linux/mapping.ts";
import { PAGE_SIZE, roundUp } from "./address.ts";
import type { MachineMemory } from "./bank.ts";
import { mappingBudget } from "./vmap_budget.ts";
import { type Run, RunRecord } from "./vmap_runs.ts";
import { LABEL, MAX_PAGES, PAGE_WORDS, VmapSpace } from "./vmap_space.ts";

/** Machine frames in a row. */
export interface VmapArea {
  /** Of the first byte. The pages before the first and behind the last one are without access. */
  readonly address: bigint;
  readonly pages: number;
  /** What can be done with its pages. */
  readonly access: Access;
  /** Whom it was made for, by a number of the caller's; 0 if that was not said. */
  readonly owner: number;
}

/** No free block of an arena is large enough. */
export class ArenaFullError extends Error {
  static {
    this.prototype.name = "ArenaFullError";
  }

  /** @param pages with the guard page */
  constructor(readonly arena: string, readonly pages: number) {
    super(`the ${arena} arena of vmap has no ${pages} free pages in a row, the guard page counted`);
  }
}

/** Before each area, in the same block of the space; one more lies behind the last page of the arena. */
const GUARD_PAGES = 1;

/** Words of the guard page of an area. */
const AREA_ACCESS = LABEL, AREA_OWNER = LABEL + 1;

/** How far apart code and what it calls may be: the displacement of a jump or call has 32 bits with its sign. */
const REACH_BYTES = 2 ** 31;

/** Refuses a size that no arena can have. @throws {RangeError} no multiple of the page size up to 1 TiB */
export function requireArenaSize(name: string, sizeBytes: number): void {
  const pages = sizeBytes / PAGE_SIZE;
  if (!(Number.isInteger(pages) && pages > 0 && pages <= MAX_PAGES)) {
    throw new RangeError(`vmap's ${name} arena cannot have ${sizeBytes} bytes`);
  }
}

/**
 * Guard pages and free ones are without access. The host counts each run as a mapping, and what lies between two areas
 * as one. Addresses come as numbers, which hold their 47 bits exactly.
 */
export class VmapArena implements Disposable {
  readonly #memory: Mapping;
  readonly #start: number;
  /** Memory only where there are areas. */
  readonly #table: Mapping;
  readonly #space: VmapSpace;
  readonly #words: Int32Array;
  readonly #record: RunRecord;
  #areas = 0;
  /** Taken from the process's budget. */
  #mappings = 0;

  /**
   * @param near what 32-bit displacements in the arena have to reach; without it, the arena may be anywhere
   * @throws {RangeError} see {@linkcode requireArenaSize} @throws {LinuxError} no address space (there)
   */
  constructor(private readonly name: string, sizeBytes: number, machine: MachineMemory, near?: AddressSpan) {
    requireArenaSize(name, sizeBytes);
    const pages = sizeBytes / PAGE_SIZE;
    using stack = new DisposableStack();
    this.#table = stack.use(Mapping.anonymous(roundUp(pages * PAGE_WORDS * 4, PAGE_SIZE), `vmap's ${name} table`));
    this.#words = new Int32Array(this.#table.buffer);
    this.#space = new VmapSpace(this.#words, pages);
    this.#record = new RunRecord(machine, this.#words);
    const reserved = sizeBytes + GUARD_PAGES * PAGE_SIZE, subject = `vmap's ${name} arena`;
    this.#memory = stack.use(
      near === undefined
        ? Mapping.reserve(reserved, PAGE_SIZE, subject)
        : Mapping.reserveNear(reserved, near, REACH_BYTES, subject),
    );
    this.#start = Number(this.#memory.address);
    stack.move();
  }

  /** Areas in use. */
  get areas(): number {
    return this.#areas;
  }

  /** Whether `address` is in the arena, be there an area or not. */
  contains(address: number): boolean {
    return address >= this.#start && address < this.#start + this.#memory.sizeBytes;
  }

  /** Pages of the area that begins at `address`; 0: none does. */
  pagesAt(address: number): number {
    const page = (address - this.#start) / PAGE_SIZE;
    return this.#space.isTaken(page - GUARD_PAGES) ? this.#pagesOf(page) : 0;
  }

  /** The area around `address`; none: that is a guard page, a free one, or not in the arena. */
  areaOf(address: number): VmapArea | undefined {
    const page = Math.floor((address - this.#start) / PAGE_SIZE);
    const block = this.#space.blockOf(page), first = block + GUARD_PAGES;
    return block < 0 || page < first ? undefined : this.#area(first, this.#pagesOf(first));
  }

  /**
   * Makes an area that shows `runs`. When it throws, nothing was done.
   * @param pages as many as the runs have together
   * @throws {ArenaFullError} @throws {MappingLimitError} @throws {LinuxError}
   */
  map(runs: readonly Run[], pages: number, access: Access, owner: number): VmapArea {
    const mappings = runs.length + 1;
    this.#takeMappings(mappings);
    const block = this.#space.take(GUARD_PAGES + pages), first = block + GUARD_PAGES;
    if (block < 0) {
      this.#giveMappings(mappings);
      throw new ArenaFullError(this.name, GUARD_PAGES + pages);
    }
    this.#words[block * PAGE_WORDS + AREA_ACCESS] = access;
    this.#words[block * PAGE_WORDS + AREA_OWNER] = owner;
    try {
      this.#show(first, runs);
    } catch (error) {
      // Should the host refuse this, too, the block stays taken: nobody may get addresses that show something.
      this.#memory.unplace(first * PAGE_SIZE, pages * PAGE_SIZE);
      this.#space.give(block);
      this.#giveMappings(mappings);
      throw error;
    }
    this.#areas++;
    return this.#area(first, pages);
  }

  /** Makes the pages of an area free, in one system call. @throws {LinuxError} the area is as it was */
  unmap(address: number): void {
    const first = this.#firstPage(address), pages = this.#pagesOf(first);
    this.#memory.unplace(first * PAGE_SIZE, pages * PAGE_SIZE);
    this.#giveMappings(this.#record.count(first, first + pages) + 1);
    this.#space.give(first - GUARD_PAGES);
    this.#areas--;
  }

  /**
   * Shows `runs` in an area of as many pages, each run in one step. When it throws, the area shows what it did before,
   * but for frames whose bank is gone: they read as zeroes.
   * @throws {MappingLimitError} @throws {LinuxError}
   */
  replace(address: number, runs: readonly Run[]): void {
    const first = this.#firstPage(address), before = this.#record.read(first, first + this.#pagesOf(first));
    this.#takeMappings(runs.length);
    try {
      this.#show(first, runs);
    } catch (error) {
      this.#show(first, before);
      this.#giveMappings(runs.length);
      throw error;
    }
    this.#giveMappings(before.length);
  }

  /** Shows zeroes in an area, in one step and with one mapping. @throws {LinuxError} the area is as it was */
  retire(address: number): void {
    const first = this.#firstPage(address), pages = this.#pagesOf(first);
    const before = this.#record.count(first, first + pages), runs = [{ bank: null, mfn: 0, pages }];
    this.#show(first, runs);
    this.#giveMappings(before - runs.length);
  }

  /** Every page of every area is gone. */
  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
    this.#giveMappings(this.#mappings);
    this.#table[Symbol.dispose]();
  }

  /** @throws {MappingLimitError} */
  #takeMappings(count: number): void {
    mappingBudget.take(count, this.#memory.subject);
    this.#mappings += count;
  }

  #giveMappings(count: number): void {
    mappingBudget.give(count);
    this.#mappings -= count;
  }

  /** The first page of the area that begins at `address`. @throws {RangeError} none does */
  #firstPage(address: number): number {
    const page = (address - this.#start) / PAGE_SIZE;
    if (!this.#space.isTaken(page - GUARD_PAGES)) {
      throw new RangeError(`no area of vmap begins at 0x${address.toString(16)}`);
    }
    return page;
  }

  #pagesOf(first: number): number {
    return this.#space.sizeOf(first - GUARD_PAGES) - GUARD_PAGES;
  }

  #area(first: number, pages: number): VmapArea {
    const owner = this.#words[(first - GUARD_PAGES) * PAGE_WORDS + AREA_OWNER];
    return { address: this.#memory.addressOf(first * PAGE_SIZE), pages, access: this.#accessOf(first), owner };
  }

  #accessOf(first: number): Access {
    return this.#words[(first - GUARD_PAGES) * PAGE_WORDS + AREA_ACCESS] as Access;
  }

  /** @param first of an area */
  #show(first: number, runs: readonly Run[]): void {
    const access = this.#accessOf(first);
    for (const run of runs) {
      const { bank, mfn, pages } = run, offset = first * PAGE_SIZE, sizeBytes = pages * PAGE_SIZE;
      if (bank === null) this.#memory.placeZeroes(offset, sizeBytes, access);
      else this.#memory.place(offset, sizeBytes, bank.file, (mfn - bank.firstMfn) * PAGE_SIZE, access);
      this.#record.write(first, run);
      first += pages;
    }
  }
}
