/**
 * The registers of some vCPUs of guests/ioreq-many, by a model that may die at any moment and be followed by another one:
 * a request that is made twice has one effect, and all that has to survive is device state. At the calls whose numbers
 * are in `configuration.stalls` it says so, and waits in the middle of the request for its death.
 */

import type { DeviceModelHost } from "xenolith/dm";

export interface MortalConfiguration {
  /** Where the guest's registers begin. */
  readonly address: number;
  /** Whose registers are this server's. */
  readonly vcpus: readonly number[];
  /** Numbers of handler calls; negative ones are those that stall after the handler's work. None: it says nothing. */
  readonly stalls?: readonly number[];
}

/** What it says: lines on stdout. */
export const SERVING = "serving\n", STALLED = "stalled\n";

/** The last line: calls of the handlers of all generations. */
export const CALLS = /^calls (\d+)$/m;

const REGISTER_BYTES = 8, FACTOR = 0x9e37_79b1;

export default function mortal(host: DeviceModelHost, { address, vcpus, stalls }: MortalConfiguration): void {
  const counter = host.state(4);
  const say = (line: string) => stalls && Deno.stdout.writeSync(new TextEncoder().encode(line));
  /** Calls are counted before anything is done, so that the one in which a model dies counts. */
  function counted<T>(work: () => T): T {
    const calls = counter.getInt32(0) + 1;
    counter.setInt32(0, calls);
    if (stalls?.includes(calls)) stall();
    const result = work();
    if (stalls?.includes(-calls)) stall();
    return result;
  }
  function stall(): void {
    say(STALLED);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  }
  for (const vcpu of vcpus) {
    // Odd after a write, even after the read that follows: one store, and a repetition finds its work done.
    const state = host.state(4), steps = new Uint32Array(state.buffer, state.byteOffset, 1);
    host.mapMemory(address + REGISTER_BYTES * vcpu, REGISTER_BYTES, {
      write: () => counted(() => void (steps[0] |= 1)),
      read: () =>
        counted(() => {
          steps[0] += steps[0] & 1;
          return Math.imul(vcpu, FACTOR) + steps[0] / 2 - 1;
        }),
    });
  }
  host.beforeStop(() => say(`calls ${counter.getInt32(0)}\n`));
  say(SERVING);
}
