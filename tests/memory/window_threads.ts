/** What several threads do to one window at a time: for physical_map_threads.test.ts. */

import { BankViews } from "../../src/memory/bank.ts";
import { P2m } from "../../src/memory/p2m.ts";
import { PhysicalMap } from "../../src/memory/physical_map.ts";
import { StageTable } from "../../src/memory/stage_table.ts";
import { meet } from "../linux/threads.ts";

/** Where everything is. */
export interface Places {
  readonly stage: bigint;
  readonly p2m: bigint;
  readonly banks: bigint;
  /** A word on which the threads meet. */
  readonly words: Int32Array;
  readonly threads: number;
}

/** Maps and revokes pages of a window in an order of its own. @returns the errors that there were */
export function churn(places: Places, thread: number, server: number, first: number, pages: number, rounds: number) {
  const table = new StageTable(places.stage);
  const map = new PhysicalMap(table, new P2m(places.p2m), new BankViews(places.banks));
  const errors: number[] = [];
  meet(places.words, 0, places.threads);
  for (let round = 0; round < rounds; round++) {
    const page = (round * 7 + thread * 3) % (pages - 2), count = 1 + (round + thread) % 3;
    const isMap = (round + thread) % 2 === 0;
    const errno = isMap
      ? map.map(server, first + page, count, 0, (round * 5 + thread) % 8, false)
      : map.revoke(server, first + page, count);
    map.flush();
    if (errno !== 0) errors.push(errno);
  }
  return errors;
}
