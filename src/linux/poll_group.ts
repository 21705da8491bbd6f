/** Descriptors that come and go, and a time, as one descriptor that can be waited for: epoll and timerfd. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { ENOENT } from "./errno.ts";
import { check } from "./linux_error.ts";
import { POLLIN, PollSet } from "./poll.ts";

const EPOLL_CLOEXEC = 0x80000, CLOCK_MONOTONIC = 1, TFD_CLOEXEC = 0x80000, TFD_NONBLOCK = 0x800;

/** struct epoll_event, packed: the events, and 64 bits that the caller likes. */
const EVENT_BYTES = 12;
/** struct itimerspec: interval and time, each a struct timespec of two 64-bit numbers. */
const TIMER_WORDS = 4, TIMER_SECONDS = 2, TIMER_NANOSECONDS = 3;

/**
 * A group is made anew each time that it changes: {@linkcode begin}, {@linkcode add} for each descriptor,
 * {@linkcode end}. Whoever closes a descriptor that is in it need not say so.
 */
export class PollGroup implements Disposable {
  /** Readable when one of them is ready, or the time has come. */
  readonly descriptor: Descriptor;
  readonly #held: DisposableStack;
  readonly #timer: Descriptor;
  readonly #poll: PollSet;
  readonly #event = new DataView(new ArrayBuffer(EVENT_BYTES));
  readonly #time = new BigInt64Array(TIMER_WORDS);
  /** In which round each descriptor was added last. */
  readonly #rounds = new Map<number, number>();
  #round = 0;
  #count = 0;

  /** @param capacity the most descriptors @throws {LinuxError} */
  constructor(private readonly capacity: number, subject: string) {
    using stack = new DisposableStack();
    const set = check(calls.epollCreate1(EPOLL_CLOEXEC), "epoll_create1", subject);
    this.descriptor = stack.use(new Descriptor(set, subject));
    const timer = check(calls.timerfdCreate(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "timerfd_create", subject);
    this.#timer = stack.use(new Descriptor(timer, subject));
    this.#poll = new PollSet(capacity);
    this.#control(calls.EPOLL_CTL_ADD, timer, POLLIN);
    this.#held = stack.move();
  }

  /** Nothing is in the group yet. */
  begin(): void {
    this.#round++;
    this.#count = 0;
    this.#poll.clear();
  }

  /** Adds a descriptor. @param events of poll(2) @returns its index in this round, or -1: the group is full */
  add(descriptor: number, events: number): number {
    if (this.#count === this.capacity) return -1;
    // A number may by now stand for another descriptor than in the last round, of which epoll knows nothing.
    const changed = this.#control(calls.EPOLL_CTL_MOD, descriptor, events);
    if (changed === -ENOENT) this.#control(calls.EPOLL_CTL_ADD, descriptor, events);
    this.#rounds.set(descriptor, this.#round);
    this.#count++;
    return this.#poll.add(descriptor, events);
  }

  /** What was not added in this round is not waited for any more. @param timeoutMs the time from now on; Infinity: none */
  end(timeoutMs: number): void {
    for (const [descriptor, round] of this.#rounds) {
      if (round === this.#round) continue;
      this.#control(calls.EPOLL_CTL_DEL, descriptor, 0);
      this.#rounds.delete(descriptor);
    }
    const isTimed = timeoutMs !== Infinity, ms = Math.max(timeoutMs, 0);
    this.#time[TIMER_SECONDS] = isTimed ? BigInt(Math.floor(ms / 1000)) : 0n;
    // A time of 0 would be none.
    this.#time[TIMER_NANOSECONDS] = isTimed ? BigInt(Math.floor(ms % 1000 * 1e6) + 1) : 0n;
    calls.timerfdSettime(this.#timer.number, this.#time);
  }

  /** Looks which are ready, for {@linkcode result}. */
  look(): void {
    this.#poll.look();
  }

  /** What the last look said of the descriptor with that index. */
  result(index: number): number {
    return this.#poll.result(index);
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }

  #control(operation: number, descriptor: number, events: number): number {
    this.#event.setUint32(0, events, true);
    return calls.epollCtl(this.descriptor.number, operation, descriptor, this.#event);
  }
}
