import { assert, assertEquals, assertThrows } from "@std/assert";
import { pipe } from "../../src/linux/descriptor.ts";
import { EINTR } from "../../src/linux/errno.ts";
import { awaitEvent, eventDescriptor, signalEvent } from "../../src/linux/event_descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, PollSet } from "../../src/linux/poll.ts";
import { installKick, kickThread, threadId } from "../../src/linux/signal.ts";
import { sleepsIn } from "./process.ts";
import { spinUntil, Thread } from "./threads.ts";

const THREADS = new URL("./event_threads.ts", import.meta.url).href;
const READ = 0, PPOLL = 271;

Deno.test("an eventfd is readable from a signal until it is awaited", () => {
  using event = eventDescriptor("a test");
  const poll = new PollSet(1);
  const look = () => {
    poll.clear();
    poll.add(event.number, POLLIN);
    return poll.look();
  };
  assertEquals(look(), 0);
  signalEvent(event.number);
  signalEvent(event.number);
  assertEquals([look(), poll.result(0)], [1, POLLIN]);
  awaitEvent(event.number);
  assertEquals(look(), 0);
});

Deno.test("an eventfd wakes a thread that sleeps in read or in ppoll", async () => {
  using shared = Mapping.anonymous(4096, "thread id");
  const thread = new Int32Array(shared.buffer);
  for (const [sleep, call, result] of [["sleepInRead", READ, 8], ["sleepInPoll", PPOLL, 1]] as const) {
    using event = eventDescriptor("a test");
    thread[0] = 0;
    using sleeper = new Thread<number>(THREADS, sleep, shared.address, event.number);
    await sleeper.ready;
    spinUntil("it sleeps", () => Atomics.load(thread, 0) !== 0 && sleepsIn(thread[0], call));
    signalEvent(event.number);
    assertEquals(await sleeper.result, result);
  }
});

Deno.test("a kick ends ppoll with EINTR, and does not end a read of an eventfd: that is what SA_RESTART is for", async () => {
  installKick();
  using shared = Mapping.anonymous(4096, "thread id");
  const thread = new Int32Array(shared.buffer);
  using event = eventDescriptor("a test");
  using poller = new Thread<number>(THREADS, "sleepInPoll", shared.address, event.number);
  await poller.ready;
  spinUntil("it sleeps", () => Atomics.load(thread, 0) !== 0 && sleepsIn(thread[0], PPOLL));
  kickThread(thread[0]);
  assertEquals(await poller.result, -EINTR);

  thread[0] = 0;
  using reader = new Thread<number>(THREADS, "sleepInRead", shared.address, event.number);
  await reader.ready;
  spinUntil("it sleeps", () => Atomics.load(thread, 0) !== 0 && sleepsIn(thread[0], READ));
  for (let kick = 0; kick < 100; kick++) kickThread(thread[0]);
  signalEvent(event.number);
  assertEquals(await reader.result, 8);
});

Deno.test("installKick() may be called again, and a kick for a thread that is gone is no error", () => {
  installKick();
  installKick();
  kickThread(2 ** 30);
  kickThread(threadId());
});

Deno.test("PollSet tells each descriptor's events apart, and skips descriptor -1", () => {
  const { reader, writer } = pipe("a test");
  using event = eventDescriptor("a test");
  const poll = new PollSet(4);
  assertEquals(poll.add(reader.number, POLLIN), 0);
  assertEquals(poll.add(-1, POLLIN), 1);
  assertEquals(poll.add(writer.number, POLLOUT), 2);
  assertEquals(poll.add(event.number, POLLIN), 3);
  assertEquals(poll.look(), 1);
  assertEquals([0, 1, 2, 3].map((index) => poll.result(index)), [0, 0, POLLOUT, 0]);
  writer[Symbol.dispose]();
  poll.clear();
  poll.add(reader.number, 0);
  assertEquals([poll.wait(), poll.result(0)], [1, POLLHUP]);
  reader[Symbol.dispose]();
});

Deno.test("PollSet reports a pipe without a reader as an error", () => {
  const { reader, writer } = pipe("a test");
  using _writer = writer;
  reader[Symbol.dispose]();
  const poll = new PollSet(1);
  poll.add(writer.number, 0);
  assertEquals([poll.look(), poll.result(0)], [1, POLLERR]);
});

Deno.test("PollSet, cleared, shows nothing of the last round", () => {
  using event = eventDescriptor("a test");
  signalEvent(event.number);
  const poll = new PollSet(2);
  poll.add(event.number, POLLIN);
  poll.wait();
  poll.clear();
  poll.add(event.number, POLLOUT);
  assertEquals(poll.result(0), 0);
  assert(poll.look() === 1 && poll.result(0) === POLLOUT);
});

Deno.test("PollSet.add() refuses more than its capacity: the kernel would write behind the set", () => {
  const poll = new PollSet(2);
  poll.add(-1, 0);
  poll.add(-1, 0);
  assertThrows(() => poll.add(-1, 0), RangeError, "2");
  assertEquals(poll.look(), 0);
});
