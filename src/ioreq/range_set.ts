/** Sorted, disjoint, merged ranges in shared memory: what a server claims of one kind. */

import { EEXIST, EINVAL, ENOENT, ENOMEM } from "../linux/errno.ts";
import { MAX_RANGES } from "./abi.ts";
import { DmOpError } from "./dm_op_error.ts";

/** A set of inclusive ranges [first, last]. Changing it is its owner's business (see ServerTable); finding is anybody's. */
export class RangeSet {
  /**
   * @param counts the memory whose word `countIndex` holds the number of ranges
   * @param bounds the memory that holds first and last of each range from `boundsIndex`, as doubles
   */
  constructor(
    private readonly counts: Int32Array,
    private readonly countIndex: number,
    private readonly bounds: Float64Array,
    private readonly boundsIndex: number,
  ) {}

  /** How many disjoint ranges there are. */
  get length(): number {
    return this.counts[this.countIndex];
  }

  /** Whether all of [first, last] lies in one range. */
  contains(first: number, last: number): boolean {
    const index = this.#lastStartingUpTo(first);
    return index >= 0 && last <= this.bounds[this.boundsIndex + index * 2 + 1];
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
      const at = this.boundsIndex + index * 2;
      return [this.bounds[at], this.bounds[at + 1]];
    });
  }

  /** Removes all. */
  clear(): void {
    this.counts[this.countIndex] = 0;
  }

  #lastStartingUpTo(first: number): number {
    let low = 0, high = this.counts[this.countIndex];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.bounds[this.boundsIndex + middle * 2] <= first) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #store(operation: string, ranges: [number, number][]): void {
    if (ranges.length > MAX_RANGES) throw new DmOpError(operation, ENOMEM, `more than ${MAX_RANGES} ranges`);
    ranges.forEach(([start, end], index) => {
      this.bounds[this.boundsIndex + index * 2] = start;
      this.bounds[this.boundsIndex + index * 2 + 1] = end;
    });
    this.counts[this.countIndex] = ranges.length;
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

function requireRange(operation: string, first: number, last: number): void {
  if (Number.isSafeInteger(first) && Number.isSafeInteger(last) && first >= 0 && first <= last) return;
  throw new DmOpError(operation, EINVAL, describe(first, last));
}

function describe(first: number, last: number): string {
  return `[0x${first.toString(16)}, 0x${last.toString(16)}]`;
}
