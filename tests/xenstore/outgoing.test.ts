/** The queue of what waits for a domain. */

import { assertEquals } from "@std/assert";
import { HEADER_BYTES } from "../../src/xenstore/abi.ts";
import { Outgoing } from "../../src/xenstore/outgoing.ts";
import type { Cause } from "../../src/xenstore/watches.ts";

const EVENT_BYTES = HEADER_BYTES + "a\0t\0".length;

function queue() {
  const clock = { nowMs: 0 }, outgoing = new Outgoing(() => clock.nowMs);
  const waiting = { count: 0 };
  const cause: Cause = { wait: () => waiting.count++, sent: () => waiting.count-- };
  return { clock, outgoing, waiting, cause };
}

Deno.test("Outgoing gives what was put in, in pieces that end with the message", () => {
  const { outgoing, cause, waiting } = queue();
  outgoing.pushReply(Uint8Array.of(1, 2, 3));
  outgoing.pushEvent("a", "t", cause);
  assertEquals([outgoing.hasReply, outgoing.isEmpty, outgoing.queuedBytes], [true, false, 3 + EVENT_BYTES]);
  assertEquals([...outgoing.take(2)], [1, 2]);
  assertEquals([[...outgoing.take(0)], outgoing.hasReply], [[], true]);
  assertEquals([[...outgoing.take(100)], outgoing.hasReply, waiting.count], [[3], false, 1]);
  assertEquals([outgoing.take(100).length, waiting.count], [EVENT_BYTES, 0]);
  assertEquals([outgoing.isEmpty, outgoing.take(1).length, outgoing.queuedBytes], [true, 0, 0]);
});

Deno.test("Outgoing.pushEvent() leaves out an event that waits already, but for special paths", () => {
  const { outgoing, cause, waiting } = queue();
  for (const path of ["a", "a", "b", "@x", "@x"]) outgoing.pushEvent(path, "t", cause);
  outgoing.pushEvent("a", "u", cause);
  assertEquals(waiting.count, 5);
  outgoing.clear();
  assertEquals([waiting.count, outgoing.queuedBytes, outgoing.isEmpty], [0, 0, true]);
  outgoing.pushEvent("a", "t", cause);
  assertEquals(waiting.count, 1);
});

Deno.test("Outgoing.expire() drops old events, but no reply, and not what was taken in part", () => {
  const { clock, outgoing, cause, waiting } = queue();
  outgoing.pushEvent("a", "1", cause);
  outgoing.pushEvent("a", "2", cause);
  outgoing.pushReply(Uint8Array.of(1));
  clock.nowMs = 10;
  outgoing.pushEvent("a", "3", cause);
  const first = outgoing.take(5);
  outgoing.expire(10);
  assertEquals([waiting.count, outgoing.queuedBytes], [2, 2 * EVENT_BYTES + 1]);
  assertEquals([first.length, outgoing.take(100).length, outgoing.take(100).length], [5, EVENT_BYTES - 5, 1]);
  outgoing.expire(11);
  assertEquals([waiting.count, outgoing.isEmpty], [0, true]);
});

Deno.test("Outgoing.clear() forgets what was taken in part", () => {
  const { outgoing } = queue();
  outgoing.pushReply(Uint8Array.of(1, 2, 3));
  outgoing.take(1);
  outgoing.clear();
  outgoing.pushReply(Uint8Array.of(4, 5));
  assertEquals([...outgoing.take(9)], [4, 5]);
});
