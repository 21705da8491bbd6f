/** A domain's extended regions in shared memory: where they are, which parts KVM shows, and what the guest has lent. */

import { type Gfn, gfnOf, PAGE_SIZE, SUPERPAGE_FRAMES } from "./address.ts";
import { MAX_REGIONS } from "./extended_regions.ts";

/** Ranges that a guest may have lent at one time. */
export const MAX_LOANS = 32;

/**
 * A region is shown in chunks, each a slot of KVM's of its own, made when the first frame comes to stand in it. There
 * are about this many at most, so that no region is too large; and one more for the rest of each region.
 */
const CHUNKS = 512, MAX_CHUNKS = CHUNKS + MAX_REGIONS;

/** What a chunk is. BLANK: its host addresses show ones. SHOWN: KVM has its slot. */
export const CHUNK = { ABSENT: 0, BLANK: 1, SHOWN: 2 } as const;

/** Words of the header, and of a chunk's state from CHUNK_STATES on. */
const COUNT = 0, CHUNK_PAGES = 1, LOANS = 2, ONES = 3, ONES_FILLED = 4, CHUNK_STATES = 16;
/** Doubles, by the byte where they begin: three of each region, two of each loan. */
const REGIONS = CHUNK_STATES * 4 + MAX_CHUNKS * 4 + MAX_CHUNKS % 2 * 4, LOAN_RANGES = REGIONS + MAX_REGIONS * 24;

/** Bytes of the table. */
export const REGION_TABLE_BYTES = LOAN_RANGES + MAX_LOANS * 16;

/** One region. */
export interface Region {
  readonly first: Gfn;
  /** Pages. */
  readonly count: number;
  /** Where the second stage shows its first page. */
  readonly host: number;
  /** The number of its first chunk among the chunks of all regions. */
  readonly firstChunk: number;
}

/** The table as one isolate sees it. What changes is changed under the p2m lock. */
export class RegionTable {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  #regions: readonly Region[] = [];

  /** @param memory REGION_TABLE_BYTES, zeroed at first */
  constructor(memory: ArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.#doubles = new Float64Array(memory);
  }

  /** Before the domain runs. @param ones a file of a superpage of ones, still to be filled */
  begin(
    regions: readonly { readonly first: Gfn; readonly count: number; readonly host: number }[],
    ones: number,
  ): void {
    const total = regions.reduce((sum, { count }) => sum + count, 0);
    this.#words[COUNT] = regions.length;
    this.#words[CHUNK_PAGES] = Math.max(SUPERPAGE_FRAMES, 2 ** Math.ceil(Math.log2(total / CHUNKS)));
    this.#words[ONES] = ones;
    regions.forEach(({ first, count, host }, index) =>
      this.#doubles.set([first, count, host], REGIONS / 8 + index * 3)
    );
  }

  /** Sorted by their addresses. */
  get all(): readonly Region[] {
    if (this.#regions.length === this.#words[COUNT]) return this.#regions;
    let firstChunk = 0;
    return this.#regions = Array.from({ length: this.#words[COUNT] }, (_, index) => {
      const [first, count, host] = this.#doubles.subarray(REGIONS / 8 + index * 3);
      const region = { first: first as Gfn, count, host, firstChunk };
      firstChunk += Math.ceil(count / this.chunkPages);
      return region;
    });
  }

  /** The region that holds a gfn. */
  of(gfn: number): Region | undefined {
    const { all } = this;
    for (let index = 0; index < all.length; index++) {
      const region = all[index];
      if (gfn >= region.first && gfn < region.first + region.count) return region;
    }
    return undefined;
  }

  /** Pages of a chunk, the last of a region excepted: a power of two, 2 MiB or more. */
  get chunkPages(): number {
    return this.#words[CHUNK_PAGES];
  }

  /** One of {@linkcode CHUNK}. @param chunk by its number */
  chunk(chunk: number): number {
    return Atomics.load(this.#words, CHUNK_STATES + chunk);
  }

  setChunk(chunk: number, state: number): void {
    Atomics.store(this.#words, CHUNK_STATES + chunk, state);
  }

  /** The file of ones. */
  get ones(): number {
    return this.#words[ONES];
  }

  get onesFilled(): boolean {
    return this.#words[ONES_FILLED] !== 0;
  }

  set onesFilled(on: boolean) {
    this.#words[ONES_FILLED] = on ? 1 : 0;
  }

  /** Whether [first, first + count) has pages of a region that the guest has not lent: nobody's windows can be there. */
  isKeptFree(first: number, count: number): boolean {
    const { all } = this;
    for (let index = 0; index < all.length; index++) {
      const region = all[index];
      if (first < region.first + region.count && region.first < first + count) return this.loanAround(first, count) < 0;
    }
    return false;
  }

  /** The same of bytes [first, last]. */
  keepsFree(first: number, last: number): boolean {
    const gfn = gfnOf(first);
    return this.isKeptFree(gfn, gfnOf(last) - gfn + 1);
  }

  /** The loan that has all of [first, first + count), or -1. */
  loanAround(first: number, count: number): number {
    for (let loan = 0; loan < this.#words[LOANS]; loan++) {
      if (first >= this.#loanFirst(loan) && first + count <= this.#loanFirst(loan) + this.#loanCount(loan)) return loan;
    }
    return -1;
  }

  /** Whether a page of [first, first + count) is lent. */
  hasLoan(first: number, count: number): boolean {
    for (let loan = 0; loan < this.#words[LOANS]; loan++) {
      if (first < this.#loanFirst(loan) + this.#loanCount(loan) && this.#loanFirst(loan) < first + count) return true;
    }
    return false;
  }

  /** Under the p2m lock. @returns false there is no room */
  lend(first: number, count: number): boolean {
    const loan = this.#words[LOANS];
    if (loan === MAX_LOANS) return false;
    this.#doubles[LOAN_RANGES / 8 + loan * 2] = first;
    this.#doubles[LOAN_RANGES / 8 + loan * 2 + 1] = count;
    Atomics.store(this.#words, LOANS, loan + 1);
    return true;
  }

  /** Under the p2m lock. @param loan one of {@linkcode loanAround} */
  endLoan(loan: number): void {
    const last = this.#words[LOANS] - 1, at = LOAN_RANGES / 8;
    this.#doubles.copyWithin(at + loan * 2, at + last * 2, at + last * 2 + 2);
    Atomics.store(this.#words, LOANS, last);
  }

  /** Pages of a region that are lent. */
  lentPages({ first, count }: Region): number {
    let pages = 0;
    for (let loan = 0; loan < this.#words[LOANS]; loan++) {
      const at = this.#loanFirst(loan);
      if (at >= first && at < first + count) pages += this.#loanCount(loan);
    }
    return pages;
  }

  /** Pages of a loan. */
  loanPages(loan: number): number {
    return this.#loanCount(loan);
  }

  #loanFirst(loan: number): number {
    return this.#doubles[LOAN_RANGES / 8 + loan * 2];
  }

  #loanCount(loan: number): number {
    return this.#doubles[LOAN_RANGES / 8 + loan * 2 + 1];
  }
}

/** The chunk that holds a gfn of a region, by its number. */
export function chunkOf(region: Region, gfn: number, chunkPages: number): number {
  return region.firstChunk + Math.floor((gfn - region.first) / chunkPages);
}

/** Where the second stage shows a gfn of a region. */
export function hostOf(region: Region, gfn: number): number {
  return region.host + (gfn - region.first) * PAGE_SIZE;
}
