/** What the thread of server_table.test.ts does: it moves a claim from one server to another and back. */

import { RANGE } from "../../src/ioreq/abi.ts";
import { ServerTable } from "../../src/ioreq/server_table.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { meet } from "../linux/threads.ts";

/** The claim that moves, and the servers between which it does. */
export const FIRST = 1000, LAST = 1999, HOMES = [3, 5];

/** Words that both sides share. */
export const STOP = 0, MOVES = 1, MEETING = 2;

/** Moves the claim until the word STOP is set, and counts in MOVES. */
export function moveClaim(table: bigint, shared: bigint): void {
  const servers = new ServerTable(table), words = new Int32Array(viewAt(shared, 64));
  for (let home = 0; Atomics.load(words, STOP) === 0; Atomics.add(words, MOVES, 1)) {
    servers.change(() => {
      servers.server(HOMES[home]).ranges[RANGE.MEMORY].remove(FIRST, LAST);
      home = 1 - home;
      servers.server(HOMES[home]).ranges[RANGE.MEMORY].add(FIRST, LAST);
    });
  }
}

/** Adds and removes ranges of one server that start at odd or even hundreds: `who` is 0 or 1. */
export function toggle(table: bigint, shared: bigint, who: number, rounds: number): void {
  const servers = new ServerTable(table), claims = servers.server(0).ranges[RANGE.PORT];
  meet(new Int32Array(viewAt(shared, 64)), MEETING, 2);
  for (let round = 0; round < rounds; round++) {
    const first = ((round * 37) % 50 * 2 + who) * 100;
    servers.change(() =>
      claims.contains(first, first + 9) ? claims.remove(first, first + 9) : claims.add(first, first + 9)
    );
  }
}
