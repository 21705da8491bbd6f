/** What the threads of servers_review.test.ts and gfn_pool.test.ts do: they take gfns out of one pool at once. */

import type { Gfn } from "../../src/memory/address.ts";
import { BUFIOREQ } from "../../src/ioreq/abi.ts";
import { GfnPool } from "../../src/ioreq/gfn_pool.ts";
import { meet } from "../linux/threads.ts";
import { TestDomain } from "./test_domain.ts";

/** Memory that the threads share. */
export interface SharedPool {
  /** The pool's. */
  readonly free: Int32Array;
  readonly count: number;
  /** How many have each gfn. */
  readonly owners: Int32Array;
  readonly meeting: Int32Array;
}

/** A pool whose gfns begin at 0. */
export function sharedPool(count: number): SharedPool {
  const words = (length: number) => new Int32Array(new SharedArrayBuffer(length * 4));
  return { free: GfnPool.memory(count), count, owners: words(count), meeting: words(1) };
}

/** Takes three gfns and gives them back, again and again. @returns how often somebody else had one of them, too */
export function takeAndGive({ free, count, owners, meeting }: SharedPool, rounds: number): number {
  const pool = new GfnPool(free, 0 as Gfn, count), taken: Gfn[] = [];
  let clashes = 0;
  meet(meeting, 0, 2);
  for (let round = 0; round < rounds; round++) {
    for (let index = 0; index < 3; index++) {
      const gfn = taken[index] = pool.allocate()!;
      if (Atomics.add(owners, gfn, 1) !== 0) clashes++;
    }
    for (const gfn of taken) {
      Atomics.sub(owners, gfn, 1);
      pool.release(gfn);
    }
  }
  return clashes;
}

/** Creates servers, gets them by gfn, destroys them. @returns how often a server had a gfn that another had, too */
export function createServers({ free, count, owners, meeting }: SharedPool, rounds: number): number {
  using domain = new TestDomain({ vcpus: 300, pool: free, gfns: count });
  const { servers, guestFrames: { pool } } = domain;
  let clashes = 0;
  meet(meeting, 0, 2);
  for (let round = 0; round < rounds; round++) {
    const id = servers.create(1, BUFIOREQ.ATOMIC), { ioreqGfns, bufioreqGfn } = servers.info(1, id, true);
    const gfns = [...ioreqGfns, bufioreqGfn!].map((gfn) => gfn - pool.base);
    for (const gfn of gfns) if (Atomics.add(owners, gfn, 1) !== 0) clashes++;
    for (const gfn of gfns) Atomics.sub(owners, gfn, 1);
    servers.destroy(1, id);
  }
  return clashes;
}
