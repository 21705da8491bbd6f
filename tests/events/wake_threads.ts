/** What the threads of wake_board.test.ts do. */

import { WAKE_BOARD_BYTES, WakeBoard } from "../../src/events/wake_board.ts";
import { awaitEvent } from "../../src/linux/event_descriptor.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { spinUntil } from "../linux/threads.ts";

/** Two boards, as every waiter has several; then for each vCPU what was asked, and what was seen. */
export const ASKED = 2 * WAKE_BOARD_BYTES, WOKEN = ASKED + 4096, SHARED_BYTES = WOKEN + 4096;

interface Shared {
  readonly address: bigint;
  readonly per: number;
  readonly doorbells: readonly number[];
  readonly rounds: number;
}

function open({ address, per, doorbells }: Shared) {
  const memory = viewAt(address, SHARED_BYTES), length = per * doorbells.length;
  return {
    boards: [0, 1].map((index) => new WakeBoard(address + BigInt(index * WAKE_BOARD_BYTES), per, doorbells)),
    asked: new Int32Array(memory, ASKED, length),
    woken: new Int32Array(memory, WOKEN, length),
  };
}

/** Takes what its vCPUs are asked until each was asked in every round; sleeps as waiters do. @returns how often */
export function waitFor(shared: Shared, waiter: number): number {
  const { boards, asked, woken } = open(shared), { per, rounds } = shared;
  let left = per, sleeps = 0;
  const deliver = (vcpu: number) => {
    const now = Atomics.load(asked, vcpu);
    if (Atomics.load(woken, vcpu) === now) return;
    Atomics.store(woken, vcpu, now);
    if (now === rounds) left--;
  };
  for (;;) {
    for (const board of boards) board.drain(waiter, deliver);
    if (left === 0) return sleeps;
    for (const board of boards) board.arm(waiter);
    if (!boards.some((board) => board.attention(waiter))) {
      awaitEvent(shared.doorbells[waiter]);
      sleeps++;
    }
    for (const board of boards) board.disarm(waiter);
  }
}

/** Asks each vCPU for the next round when all have seen the last, through one board or the other. */
export function wakeAll(shared: Shared): void {
  const { boards, asked, woken } = open(shared);
  for (let round = 1; round <= shared.rounds; round++) {
    for (let index = 0; index < asked.length; index++) {
      const vcpu = (index * 5 + round) % asked.length;
      Atomics.store(asked, vcpu, round);
      boards[(round + vcpu) & 1].wake(vcpu);
    }
    for (let vcpu = 0; vcpu < asked.length; vcpu++) {
      spinUntil("it is seen", () => Atomics.load(woken, vcpu) === round);
    }
  }
}
