/** What the threads of control_block.test.ts do. */

import { ControlBlock } from "../../src/domain/control_block.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { meet } from "../linux/threads.ts";

/** Ends each of the runs whose control blocks lie one after another, both threads each at the same moment. @returns which it was the first to end */
export function endAll(addresses: readonly bigint[], words: bigint, who: number): number[] {
  const blocks = addresses.map((address) => new ControlBlock(address, 1)), meeting = new Int32Array(viewAt(words, 64));
  const won: number[] = [];
  blocks.forEach((block, round) => {
    meet(meeting, round % 2, 2 * (Math.floor(round / 2) + 1));
    if (block.end({ kind: "exit", status: who, reason: `thread ${who}`.repeat(who), vcpu: who })) won.push(round);
  });
  return won;
}
