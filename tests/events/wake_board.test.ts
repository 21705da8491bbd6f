import { assertEquals, assertGreater, assertThrows } from "@std/assert";
import { WAKE_BOARD, WAKE_BOARD_BYTES, WAKE_BOARD_VCPUS, WakeBoard } from "../../src/events/wake_board.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { Thread } from "../linux/threads.ts";
import { SHARED_BYTES, WOKEN } from "./wake_threads.ts";

const THREADS = new URL("./wake_threads.ts", import.meta.url).href;

/** A board with an eventfd for each waiter. */
class Board implements Disposable {
  readonly #stack = new DisposableStack();
  readonly memory = this.#stack.use(Mapping.anonymous(WAKE_BOARD_BYTES, "wake board"));
  readonly bytes = new Uint8Array(this.memory.buffer);
  readonly doorbells: number[];
  readonly board: WakeBoard;

  constructor(vcpusPerWaiter: number, waiters: number) {
    this.doorbells = Array.from({ length: waiters }, () => this.#stack.use(eventDescriptor("a waiter")).number);
    this.board = new WakeBoard(this.memory.address, vcpusPerWaiter, this.doorbells);
  }

  /** The waiters whose eventfd was written to. */
  get rung(): number[] {
    return this.doorbells.flatMap((doorbell, waiter) => {
      const poll = new PollSet(1);
      poll.add(doorbell, POLLIN);
      return poll.look() === 1 ? [waiter] : [];
    });
  }

  drain(waiter: number): number[] {
    const vcpus: number[] = [];
    assertEquals(this.board.drain(waiter, (vcpu) => vcpus.push(vcpu)), vcpus.length);
    return vcpus;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

Deno.test("WakeBoard has the layout that device models in other processes rely on", () => {
  using one = new Board(32, 3);
  one.board.wake(0);
  one.board.wake(33);
  one.board.wake(95);
  one.board.arm(2);
  const set = [...one.bytes.entries()].filter(([, byte]) => byte !== 0);
  assertEquals(set, [[0, 1], [4, 2], [11, 0x80], [4096 + 2, 1]]);
  assertEquals([WAKE_BOARD.flags, WAKE_BOARD.asleep, WAKE_BOARD_BYTES], [0, 4096, 8192]);
});

Deno.test("WakeBoard.wake() writes to the eventfd only when the vCPU's waiter has armed it, and once", () => {
  using one = new Board(64, 3);
  one.board.wake(64);
  assertEquals(one.rung, [], "nobody sleeps");
  one.board.arm(1);
  one.board.wake(63);
  one.board.wake(128);
  assertEquals(one.rung, [], "the others' vCPUs");
  one.board.wake(127);
  assertEquals([one.rung, one.bytes[4096 + 1]], [[1], 0]);
  one.board.arm(2);
  one.board.disarm(2);
  one.board.wake(191);
  assertEquals(one.rung, [1], "disarmed");
});

Deno.test("WakeBoard.drain() delivers each of the waiter's vCPUs once, lowest first, and nobody else's", () => {
  for (const [per, waiters] of [[32, 4], [64, 3], [96, 3], [1024, 2], [4096, 1]]) {
    using one = new Board(per, waiters);
    for (let waiter = 0; waiter < waiters; waiter++) {
      const first = waiter * per, mine = [first, first + 7, first + 31, first + per - 1];
      for (const vcpu of mine.toReversed()) one.board.wake(vcpu);
      for (let other = 0; other < waiters; other++) assertEquals(one.board.attention(other), other === waiter);
      for (let other = 0; other < waiters; other++) {
        if (other !== waiter) assertEquals(one.drain(other), []);
      }
      assertEquals(one.drain(waiter), [...new Set(mine)]);
      assertEquals([one.board.attention(waiter), one.drain(waiter)], [false, []]);
    }
  }
});

Deno.test("a waiter with one vCPU leaves the bits of the 31 others in its word alone", () => {
  using one = new Board(1, 0);
  for (const vcpu of [32, 33, 62, 63, 4095]) one.board.wake(vcpu);
  assertEquals([31, 32, 33, 34, 63, 4095].map((vcpu) => one.board.attention(vcpu)), [
    false,
    true,
    true,
    false,
    true,
    true,
  ]);
  assertEquals(one.drain(63), [63]);
  assertEquals(one.drain(34), []);
  assertEquals(one.drain(4095), [4095]);
  assertEquals([one.drain(32), one.drain(33), one.drain(62), one.drain(63)], [[32], [33], [62], []]);
});

Deno.test("the last waiter of a board has no vCPU beyond the last that there can be", () => {
  using one = new Board(96, 0);
  const last = Math.floor((WAKE_BOARD_VCPUS - 1) / 96);
  one.bytes.fill(0xff, 0, WAKE_BOARD_VCPUS / 8);
  one.bytes.fill(0xff, WAKE_BOARD_VCPUS / 8, WAKE_BOARD.asleep);
  assertEquals(one.drain(last), Array.from({ length: WAKE_BOARD_VCPUS - last * 96 }, (_, index) => last * 96 + index));
});

Deno.test("a vCPU that is woken while it is delivered is delivered again", () => {
  using one = new Board(32, 1);
  const delivered: number[] = [];
  one.board.wake(5);
  one.board.drain(0, (vcpu) => {
    delivered.push(vcpu);
    one.board.wake(5);
  });
  assertEquals([delivered, one.drain(0)], [[5], [5]]);
});

Deno.test("WakeBoard takes 1 vCPU a waiter, or a multiple of 32, and nothing else", () => {
  using memory = Mapping.anonymous(WAKE_BOARD_BYTES, "wake board");
  for (const per of [0, -32, 2, 31, 33, 48, 1.5, NaN]) {
    assertThrows(() => new WakeBoard(memory.address, per, []), RangeError, `${per} vCPUs a waiter`);
  }
});

for (const [per, waiters] of [[1, 2], [32, 2]]) {
  Deno.test(`threads that wake vCPUs of ${waiters} waiters with ${per} each lose no wake-up`, async () => {
    using memory = Mapping.anonymous(SHARED_BYTES, "wake boards of a test");
    using stack = new DisposableStack();
    const doorbells = Array.from({ length: waiters }, () => stack.use(eventDescriptor("a waiter")).number);
    const rounds = 20_000, shared = { address: memory.address, per, doorbells, rounds };
    const waiting = doorbells.map((_, waiter) => stack.use(new Thread<number>(THREADS, "waitFor", shared, waiter)));
    const waking = stack.use(new Thread(THREADS, "wakeAll", shared));
    await waking.result;
    const sleeps = await Promise.all(waiting.map(({ result }) => result));
    const woken = new Int32Array(memory.buffer, WOKEN, waiters * per);
    assertEquals([...woken], Array.from({ length: waiters * per }, () => rounds));
    for (const count of sleeps) assertGreater(count, 0, "it never slept: this tested nothing");
  });
}
