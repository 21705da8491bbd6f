/** What the threads of doorbell.test.ts do. */

import { Doorbell } from "../../src/events/doorbell.ts";
import { EventChannels } from "../../src/events/event_channels.ts";
import { viewAt } from "../../src/linux/mapping.ts";

/** Words of the shared memory: each side's turn and doorbell, and the pending bits of the second test. */
export const PING = 0, PONG = 1, PING_BELL = 2, PONG_BELL = 3, SENT = 4, PENDING = 8, PENDING_WORDS = 4;

/** Waits as every thread of the hypervisor does: arm, look once more, sleep. @returns how often it slept */
function waitAt(bell: Doorbell, arrived: () => boolean): number {
  let sleeps = 0;
  while (!arrived()) {
    bell.arm();
    if (arrived()) {
      bell.disarm();
      break;
    }
    bell.sleep();
    sleeps++;
  }
  return sleeps;
}

/** Answers each PING with the PONG of the same round. @returns how often it slept */
export function answer(address: bigint, ping: number, pong: number, rounds: number): number {
  const words = new Int32Array(viewAt(address, 4096));
  const mine = new Doorbell(words, PING_BELL, ping), others = new Doorbell(words, PONG_BELL, pong);
  let sleeps = 0;
  for (let round = 1; round <= rounds; round++) {
    sleeps += waitAt(mine, () => Atomics.load(words, PING) === round);
    Atomics.store(words, PONG, round);
    others.ring();
  }
  return sleeps;
}

/** Sends each PING and waits for its PONG. @returns how often it slept */
export function ask(address: bigint, ping: number, pong: number, rounds: number): number {
  const words = new Int32Array(viewAt(address, 4096));
  const mine = new Doorbell(words, PONG_BELL, pong), others = new Doorbell(words, PING_BELL, ping);
  let sleeps = 0;
  for (let round = 1; round <= rounds; round++) {
    Atomics.store(words, PING, round);
    others.ring();
    sleeps += waitAt(mine, () => Atomics.load(words, PONG) === round);
  }
  return sleeps;
}

/** Takes events until there were `count`. */
export function takeEvents(address: bigint, descriptor: number, count: number): void {
  const words = new Int32Array(viewAt(address, 4096)), bell = new Doorbell(words, PING_BELL, descriptor);
  const channels = new EventChannels(words, PENDING, PENDING_WORDS, bell);
  for (let taken = 0; taken < count;) {
    waitAt(bell, () => channels.pending);
    taken += channels.drain(() => {});
  }
}

/** Sends `count` events to ports in a pseudo-random order, each port when its last event was taken. */
export function sendEvents(address: bigint, descriptor: number, count: number): void {
  const words = new Int32Array(viewAt(address, 4096));
  const channels = new EventChannels(words, PENDING, PENDING_WORDS, new Doorbell(words, PING_BELL, descriptor));
  for (let sent = 0, port = 1; sent < count; port = (port * 77 + 13) % (PENDING_WORDS * 32)) {
    if ((Atomics.load(words, PENDING + (port >>> 5)) & (1 << (port & 31))) !== 0) continue;
    Atomics.store(words, SENT, ++sent);
    channels.send(port);
  }
}
