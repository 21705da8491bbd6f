import { assertEquals, assertThrows } from "@std/assert";
import { Lock } from "../../src/linux/lock.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { COUNT, DONE, GO, LOCK, ORDER } from "./lock_threads.ts";
import { spinUntil, Thread } from "./threads.ts";

const THREADS = new URL("./lock_threads.ts", import.meta.url).href;
const CONTENDED = 2;

function sharedWords(): { memory: Mapping; words: Int32Array } {
  const memory = Mapping.anonymous(4096, "words of a test");
  return { memory, words: new Int32Array(memory.buffer) };
}

Deno.test("Lock lets one thread in at a time, and no round gets lost", async () => {
  const { memory, words } = sharedWords();
  using _memory = memory;
  const rounds = 200_000;
  using one = new Thread<number>(THREADS, "countInside", memory.address, rounds);
  using other = new Thread<number>(THREADS, "countInside", memory.address, rounds);
  assertEquals(await Promise.all([one.result, other.result]), [0, 0]);
  assertEquals(words[COUNT], 2 * rounds);
  assertEquals(words[LOCK], 0);
});

Deno.test("Lock wakes a thread that went to sleep waiting for it", async () => {
  const { memory, words } = sharedWords();
  using _memory = memory;
  const lock = new Lock(words, LOCK, memory.address);
  const rounds = 2000;
  using waiter = new Thread<number>(THREADS, "enterWhenTold", memory.address, rounds);
  await waiter.ready;
  for (let round = 1; round <= rounds; round++) {
    lock.hold(() => {
      Atomics.store(words, GO, round);
      spinUntil("the waiter goes to sleep", () => Atomics.load(words, LOCK) === CONTENDED);
      words[ORDER] = round;
    });
    spinUntil("the waiter wakes up", () => Atomics.load(words, DONE) === round);
  }
  assertEquals(await waiter.result, 0);
});

Deno.test("Lock.hold() returns the body's result and gives the lock back when the body throws", () => {
  const { memory, words } = sharedWords();
  using _memory = memory;
  const lock = new Lock(words, LOCK, memory.address);
  assertEquals(lock.hold(() => "result"), "result");
  assertThrows(() => lock.hold(() => assertEquals(words[LOCK], 0)));
  assertEquals(words[LOCK], 0);
  assertThrows(
    () =>
      lock.hold(() => {
        throw new RangeError("from the body");
      }),
    RangeError,
    "from the body",
  );
  assertEquals(words[LOCK], 0);
  assertEquals(lock.hold(() => 1), 1);
});
