/** What the threads of event_descriptor.test.ts and signal.test.ts do: sleep, in one way each. */

import * as calls from "../../src/linux/calls.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { threadId } from "../../src/linux/signal.ts";

/** Sleeps in read(2). @returns what the call returned */
export function sleepInRead(thread: bigint, descriptor: number): number {
  new Int32Array(viewAt(thread, 4))[0] = threadId();
  return calls.read(descriptor, new BigUint64Array(1), 8n);
}

/** Sleeps in ppoll(2). @returns what the call returned */
export function sleepInPoll(thread: bigint, descriptor: number): number {
  const poll = new PollSet(1);
  poll.add(descriptor, POLLIN);
  new Int32Array(viewAt(thread, 4))[0] = threadId();
  return poll.wait();
}
