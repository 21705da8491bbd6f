/** What the threads of guest_channels_threads.test.ts do: vCPUs that handle their events, and others that cause them. */

import { Doorbell } from "../../src/events/doorbell.ts";
import { meet } from "../linux/threads.ts";
import { DOMID, GuestView } from "./guest_scene.ts";

/** Words of the test's own: upcalls of each vCPU, its doorbell, who has finished, where threads meet, then by port. */
export const REQUESTED = 128, BELL = 136, DONE = 144, MEETING = 145, HANDLED = 192, SENT = 256, SEEN = 512;

/** Ports that stay what they are: IPIs of vCPU port % VCPUS. Then a loop, then one that comes and goes. */
export const VCPUS = 2, STABLE = 8, LOOP = 9, LOOP_END = 10, CHURNED = 11;

export interface Shared {
  readonly address: bigint;
  readonly doorbells: readonly number[];
  readonly rounds: number;
  readonly threads: number;
}

export interface Places {
  readonly guest: GuestView;
  readonly bells: readonly Doorbell[];
}

/** The domain as one of its threads sees it: an upcall is counted, and rings. */
export function open({ address, doorbells }: Shared): Places {
  const bells: Doorbell[] = [];
  const guest = new GuestView(address, undefined, ({ own }) => ({
    upcall(vcpu) {
      Atomics.add(own, REQUESTED + vcpu, 1);
      bells[vcpu].ring();
    },
    unblock: () => {},
  }));
  bells.push(...doorbells.map((descriptor, vcpu) => new Doorbell(guest.own, BELL + vcpu, descriptor)));
  return { guest, bells };
}

/** A vCPU: handles what it is told of, and nothing else, until all others are done. @returns how often it was told */
export function handle(shared: Shared, vcpu: number): number {
  const { guest, bells } = open(shared), { own } = guest;
  const isDone = () => Atomics.load(own, DONE) === shared.threads;
  let seen = 0;
  meet(own, MEETING, shared.threads + VCPUS);
  for (;;) {
    const isLast = isDone(), requested = Atomics.load(own, REQUESTED + vcpu);
    if (requested !== seen) {
      seen = requested;
      handleEvents(guest, vcpu);
    } else if (isLast) {
      return seen;
    } else {
      bells[vcpu].arm();
      if (Atomics.load(own, REQUESTED + vcpu) !== seen || isDone()) bells[vcpu].disarm();
      else bells[vcpu].sleep();
    }
  }
}

/** As guests do: upcall flag, then selector, then each port, masked while it is handled. */
function handleEvents(guest: GuestView, vcpu: number): void {
  guest.takeUpcall(vcpu);
  if (Atomics.exchange(guest.frames, guest.selectorIndex(vcpu, 0), 0) === 0) return;
  for (let port = 1; port <= CHURNED; port++) {
    const bit = 1 << port;
    if ((Atomics.load(guest.frames, guest.pendingIndex(port)) & bit) === 0) continue;
    if ((Atomics.load(guest.frames, guest.maskIndex(port)) & bit) !== 0) continue;
    // Another vCPU may have been told of it, too: its long is one for all.
    if (port <= STABLE && port % VCPUS !== vcpu) continue;
    guest.mask(port);
    if (guest.takePending(port)) {
      Atomics.add(guest.own, HANDLED, 1);
      if (port <= STABLE) Atomics.store(guest.own, SEEN + port, Atomics.load(guest.own, SENT + port));
    }
    guest.channels.unmask(port);
  }
}

/** Sends to every port in an order of its own, and masks and unmasks. @returns wrong results */
export function send(shared: Shared, thread: number): number[] {
  const { guest, bells } = open(shared), { own, channels } = guest, wrong: number[] = [];
  meet(own, MEETING, shared.threads + VCPUS);
  for (let round = 0; round < shared.rounds; round++) {
    const port = 1 + (round * 7 + thread * 3) % CHURNED;
    if (port <= STABLE) Atomics.add(own, SENT + port, 1);
    const result = channels.send(port);
    if (result !== 0 && port < LOOP_END) wrong.push(result);
    if (round % 5 !== thread) continue;
    const masked = 1 + (round * 3) % STABLE;
    guest.mask(masked);
    channels.unmask(masked);
  }
  finish(own, bells);
  return wrong;
}

/** Closes and binds ports. @returns what should not have been */
export function churn(shared: Shared): string[] {
  const { guest, bells } = open(shared), { own, channels } = guest, wrong: string[] = [];
  const expect = (what: string, value: number, expected: number) => {
    if (value !== expected) wrong.push(`${what}: ${value}, not ${expected}`);
  };
  const closed = (port: number) => {
    expect("close", channels.close(port), 0);
    for (let look = 0; look < 20; look++) {
      if (channels.events.isPending(port)) wrong.push(`${port} is pending after it was closed`);
    }
  };
  meet(own, MEETING, shared.threads + VCPUS);
  for (let round = 0; round < shared.rounds / 10; round++) {
    expect("bind_ipi", channels.bindIpi(round % VCPUS), CHURNED);
    channels.unmask(CHURNED); // a vCPU that has handled it when it was closed could not do that
    closed(CHURNED);
    closed(LOOP_END);
    expect("bind_interdomain", channels.bindInterdomain(DOMID, LOOP), LOOP_END);
    channels.unmask(LOOP_END);
  }
  finish(own, bells);
  return wrong;
}

function finish(own: Int32Array, bells: readonly Doorbell[]): void {
  Atomics.add(own, DONE, 1);
  for (const bell of bells) bell.ring();
}

/** Moves vCPU 0's and then vCPU 1's vcpu_info while events come. */
export function move(shared: Shared): number[] {
  const { guest, bells } = open(shared), { own, channels } = guest;
  meet(own, MEETING, shared.threads + VCPUS);
  const results = Array.from({ length: VCPUS }, (_, vcpu) => {
    const before = Atomics.load(own, HANDLED);
    while (Atomics.load(own, HANDLED) < before + 1000 && Atomics.load(own, DONE) < shared.threads - 1);
    return channels.registerVcpuInfo(vcpu, 4 + vcpu, 64 * vcpu);
  });
  finish(own, bells);
  return results;
}

/** Sets bits at random where the guest has its events, and clears them. */
export function scribble(shared: Shared): void {
  const { guest, bells } = open(shared);
  meet(guest.own, MEETING, shared.threads + VCPUS);
  let state = 1;
  for (let round = 0; round < shared.rounds; round++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    Atomics.xor(guest.frames, guest.sharedByte(0) / 4 + (state >>> 22), 1 << (round & 31));
  }
  finish(guest.own, bells);
}
