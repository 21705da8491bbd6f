/** What a device model finds claimed when it goes on where another generation of it was. */

import type { RangeType } from "../ioreq/abi.ts";
import type { Server, ServerTable } from "../ioreq/server_table.ts";

/** One model's: what it claims again is there, and what it does not is given up. */
export class InheritedRanges {
  readonly #again: { readonly type: RangeType; readonly first: number; readonly last: number }[] = [];

  constructor(private readonly table: ServerTable, private readonly server: Server) {}

  /** It claims a range. @returns whether it has that already */
  claim(type: RangeType, first: number, last: number): boolean {
    this.#again.push({ type, first, last });
    return this.server.ranges[type].contains(first, last);
  }

  /** It has claimed all that it does. */
  settle(): void {
    this.table.change(() => {
      this.server.ranges.forEach((ranges, type) => {
        for (const [first, last] of ranges.list()) this.#giveUp(type as RangeType, first, last);
      });
    });
  }

  #giveUp(type: RangeType, first: number, last: number): void {
    const claimed = this.#again.filter((range) => range.type === type && range.first <= last && range.last >= first);
    let from = first;
    for (const range of claimed.sort((one, other) => one.first - other.first)) {
      if (range.first > from) this.server.ranges[type].remove(from, range.first - 1);
      from = Math.max(from, range.last + 1);
    }
    if (from <= last) this.server.ranges[type].remove(from, last);
  }
}
