import { assertEquals, assertGreater } from "@std/assert";
import { Doorbell } from "../../src/events/doorbell.ts";
import { EventChannels } from "../../src/events/event_channels.ts";
import { eventDescriptor, signalEvent } from "../../src/linux/event_descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { Thread } from "../linux/threads.ts";
import { PENDING, PENDING_WORDS, SENT } from "./event_threads.ts";

const THREADS = new URL("./event_threads.ts", import.meta.url).href;

/** Whether a doorbell's eventfd was written to. */
function isSignalled(descriptor: number): boolean {
  const poll = new PollSet(1);
  poll.add(descriptor, POLLIN);
  return poll.look() === 1;
}

Deno.test("Doorbell.ring() writes to the eventfd only when the owner has armed it, and once", () => {
  using event = eventDescriptor("a test");
  const words = new Int32Array(4), bell = new Doorbell(words, 2, event.number);
  bell.ring();
  assertEquals(isSignalled(event.number), false, "nobody sleeps");
  bell.arm();
  bell.ring();
  assertEquals(isSignalled(event.number), true);
  bell.clear();
  bell.ring();
  assertEquals(isSignalled(event.number), false, "it was rung already");
  bell.arm();
  bell.disarm();
  bell.ring();
  assertEquals(isSignalled(event.number), false, "disarmed");
  assertEquals([...words], [0, 0, 0, 0]);
});

Deno.test("Doorbell.sleep() returns at once when it was rung between arm() and sleep(), and leaves it disarmed", () => {
  using event = eventDescriptor("a test");
  const words = new Int32Array(1), bell = new Doorbell(words, 0, event.number);
  bell.arm();
  bell.ring();
  bell.sleep();
  assertEquals(words[0], 0);
  signalEvent(event.number);
  bell.arm();
  bell.sleep();
  assertEquals(words[0], 0, "woken by an earlier ring, it must not stay armed");
});

Deno.test("two threads that wait for each other at doorbells lose no wake-up", async () => {
  using memory = Mapping.anonymous(4096, "words of a test");
  using ping = eventDescriptor("ping");
  using pong = eventDescriptor("pong");
  const rounds = 20_000, shared = [memory.address, ping.number, pong.number, rounds];
  using asking = new Thread<number>(THREADS, "ask", ...shared);
  using answering = new Thread<number>(THREADS, "answer", ...shared);
  const sleeps = await asking.result + await answering.result;
  assertGreater(sleeps, 0, "nobody ever slept: this tested nothing");
});

Deno.test("EventChannels.drain() delivers every pending port once, lowest first, over all words", () => {
  using event = eventDescriptor("a test");
  const words = new Int32Array(8), channels = new EventChannels(words, 2, 4, new Doorbell(words, 0, event.number));
  assertEquals(channels.pending, false);
  const sent = [127, 0, 31, 32, 64, 5, 63, 96, 5];
  for (const port of sent) channels.send(port);
  assertEquals(channels.pending, true);
  const delivered: number[] = [];
  assertEquals(channels.drain((port) => delivered.push(port)), 8);
  assertEquals(delivered, [0, 5, 31, 32, 63, 64, 96, 127]);
  assertEquals(channels.pending, false);
  assertEquals(channels.drain(() => delivered.push(-1)), 0);
  assertEquals([words[0], words[1], words[6], words[7]], [0, 0, 0, 0], "words of others");
});

Deno.test("an event that is sent while events are delivered stays pending or is delivered, but is not lost", () => {
  using event = eventDescriptor("a test");
  const words = new Int32Array(3), channels = new EventChannels(words, 1, 2, new Doorbell(words, 0, event.number));
  const delivered: number[] = [];
  channels.send(3);
  channels.drain((port) => {
    delivered.push(port);
    if (port === 3) { for (const other of [1, 3, 40]) channels.send(other); }
  });
  channels.drain((port) => delivered.push(port));
  assertEquals(delivered.sort((one, other) => one - other), [1, 3, 3, 40]);
});

Deno.test("EventChannels.send() rings the doorbell of an owner that sleeps", () => {
  using event = eventDescriptor("a test");
  const words = new Int32Array(2), bell = new Doorbell(words, 0, event.number);
  const channels = new EventChannels(words, 1, 1, bell);
  channels.send(1);
  assertEquals(isSignalled(event.number), false);
  bell.arm();
  channels.send(1);
  assertEquals(isSignalled(event.number), true);
});

Deno.test("EventChannels between two threads deliver every event exactly once", async () => {
  using memory = Mapping.anonymous(4096, "words of a test");
  using event = eventDescriptor("events");
  const count = 50_000, shared = [memory.address, event.number, count];
  using taking = new Thread(THREADS, "takeEvents", ...shared);
  using sending = new Thread(THREADS, "sendEvents", ...shared);
  await Promise.all([taking.result, sending.result]);
  const words = new Int32Array(memory.buffer);
  assertEquals([words[SENT], ...words.subarray(PENDING, PENDING + PENDING_WORDS)], [count, 0, 0, 0, 0]);
});
