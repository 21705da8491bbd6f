/** Sorted, disjoint, merged ranges in shared memory: what a server claims of one kind. */

import { EEXIST, EINVAL, ENOENT, ENOMEM } from "../linux/errno.ts";
import { MAX_RANGES } from "./abi.ts";
import { DmOpError } from "./dm_op_error.ts";

/** First and last of each range as doubles, then its tally: requests, and ticks as two words. */
const TALLY_WORDS = 4, REQUESTS = 0, TICKS = 1;

/** Memory of a set, all but the word that holds the number of ranges. */
export const RANGE_SET_BYTES = MAX_RANGES * (2 * 8 + TALLY_WORDS * 4);

/** What was answered within one range. */
export interface RangeTally {
  readonly first: number;
  readonly last: number;
  readonly requests: number;
  /** Time-stamp ticks from request to answer, summed up. */
  readonly ticks: number;
}

/** A set of inclusive ranges [first, last]. Changing it is its owner's business (see ServerTable); finding is anybody's. */
export class RangeSet {
  readonly #bounds: Float64Array;
  readonly #tallies: Int32Array;

  /**
   * @param counts the memory whose word `countIndex` holds the number of ranges
   * @param memory holds {@linkcode RANGE_SET_BYTES} from `offset` on
   */
  constructor(
    private readonly counts: Int32Array,
    private readonly countIndex: number,
    memory: ArrayBuffer,
    offset: number,
  ) {
    this.#bounds = new Float64Array(memory, offset, MAX_RANGES * 2);
    this.#tallies = new Int32Array(memory, offset + MAX_RANGES * 16, MAX_RANGES * TALLY_WORDS);
  }

  /** How many disjoint ranges there are. */
  get length(): number {
    return this.counts[this.countIndex];
  }

  /** Whether all of [first, last] lies in one range. */
  contains(first: number, last: number): boolean {
    const index = this.#lastStartingUpTo(first);
    return index >= 0 && last <= this.#bounds[index * 2 + 1];
  }

  /** Counts an answered request at `first`; nothing if no range holds it any more. Allocates nothing. */
  tally(first: number, ticks: number): void {
    const index = this.#lastStartingUpTo(first);
    if (index < 0 || first > this.#bounds[index * 2 + 1]) return;
    const at = index * TALLY_WORDS, low = ticks >>> 0;
    Atomics.add(this.#tallies, at + REQUESTS, 1);
    const before = Atomics.add(this.#tallies, at + TICKS, low) >>> 0;
    const carry = Math.floor(ticks / 2 ** 32) + (before + low >= 2 ** 32 ? 1 : 0);
    if (carry > 0) Atomics.add(this.#tallies, at + TICKS + 1, carry);
  }

  /** What was answered within each range, lowest first. A range that was merged or cut keeps what it had. */
  tallies(): RangeTally[] {
    return this.list().map(([first, last], index) => {
      const at = index * TALLY_WORDS;
      return { first, last, requests: this.#tallies[at + REQUESTS] >>> 0, ticks: this.#ticks(at) };
    });
  }

  /** Adds a range. @throws {DmOpError} EINVAL first > last; EEXIST it overlaps; ENOMEM more than 256 after merging */
  add(first: number, last: number): void {
    requireRange("map_io_range_to_ioreq_server", first, last);
    const ranges = this.list();
    if (ranges.some((range) => first <= range[1] && last >= range[0])) {
      throw new DmOpError("map_io_range_to_ioreq_server", EEXIST, describe(first, last));
    }
    ranges.push([first, last]);
    this.#store("map_io_range_to_ioreq_server", merged(ranges));
  }

  /** Adds what is missing of a range. @throws {DmOpError} EINVAL first > last; ENOMEM more than 256 after merging */
  cover(first: number, last: number): void {
    const operation = "buffer_io_range";
    requireRange(operation, first, last);
    const apart = this.list().filter((range) => first > range[1] || last < range[0]);
    const touched = this.list().filter((range) => first <= range[1] && last >= range[0]).flat();
    this.#store(operation, merged([...apart, [Math.min(first, ...touched), Math.max(last, ...touched)]]));
  }

  /** Removes a range. @throws {DmOpError} EINVAL first > last; ENOENT not all of it is there; ENOMEM too many pieces */
  remove(first: number, last: number): void {
    requireRange("unmap_io_range_from_ioreq_server", first, last);
    if (!this.contains(first, last)) {
      throw new DmOpError("unmap_io_range_from_ioreq_server", ENOENT, describe(first, last));
    }
    const ranges = this.list().flatMap(([start, end]): [number, number][] => {
      if (last < start || first > end) return [[start, end]];
      const pieces: [number, number][] = [];
      if (start < first) pieces.push([start, first - 1]);
      if (end > last) pieces.push([last + 1, end]);
      return pieces;
    });
    this.#store("unmap_io_range_from_ioreq_server", ranges);
  }

  /** A copy of the ranges, lowest first. */
  list(): [number, number][] {
    return Array.from({ length: this.length }, (_, index) => {
      return [this.#bounds[index * 2], this.#bounds[index * 2 + 1]];
    });
  }

  /** Removes all. */
  clear(): void {
    this.counts[this.countIndex] = 0;
  }

  #ticks(at: number): number {
    return (this.#tallies[at + TICKS] >>> 0) + (this.#tallies[at + TICKS + 1] >>> 0) * 2 ** 32;
  }

  #lastStartingUpTo(first: number): number {
    let low = 0, high = this.counts[this.countIndex];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#bounds[middle * 2] <= first) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #store(operation: string, ranges: [number, number][]): void {
    if (ranges.length > MAX_RANGES) throw new DmOpError(operation, ENOMEM, `more than ${MAX_RANGES} ranges`);
    const before = this.tallies();
    this.#tallies.fill(0);
    ranges.forEach((range, index) => this.#bounds.set(range, index * 2));
    this.counts[this.countIndex] = ranges.length;
    before.forEach((old) => this.#inherit(old));
  }

  /** What a range had goes to the lowest piece of what is left of it. */
  #inherit({ first, last, requests, ticks }: RangeTally): void {
    const holding = this.#lastStartingUpTo(first);
    const heir = holding >= 0 && this.#bounds[holding * 2 + 1] >= first ? holding : holding + 1;
    if (heir >= this.length || this.#bounds[heir * 2] > last) return;
    const at = heir * TALLY_WORDS, sum = this.#ticks(at) + ticks;
    this.#tallies[at + REQUESTS] += requests;
    this.#tallies[at + TICKS] = sum % 2 ** 32;
    this.#tallies[at + TICKS + 1] = sum / 2 ** 32;
  }
}

function merged(ranges: [number, number][]): [number, number][] {
  const result: [number, number][] = [];
  for (const [first, last] of ranges.sort((one, other) => one[0] - other[0])) {
    const before = result.at(-1);
    if (before !== undefined && before[1] + 1 === first) before[1] = last;
    else result.push([first, last]);
  }
  return result;
}

/** @throws {DmOpError} EINVAL not addresses, or first > last */
export function requireRange(operation: string, first: number, last: number): void {
  if (Number.isSafeInteger(first) && Number.isSafeInteger(last) && first >= 0 && first <= last) return;
  throw new DmOpError(operation, EINVAL, describe(first, last));
}

function describe(first: number, last: number): string {
  return `[0x${first.toString(16)}, 0x${last.toString(16)}]`;
}
