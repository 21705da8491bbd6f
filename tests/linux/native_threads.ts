/** A native thread with nothing around it, and what the other thread of native_thread.test.ts does. */

import type { RunPage } from "../../src/kvm/run_page.ts";
import { awaitEvent, eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { Mapping, viewAt } from "../../src/linux/mapping.ts";
import { NATIVE_THREAD, NativeThread, ThreadStacks } from "../../src/linux/native_thread.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { installKick, kickThread } from "../../src/linux/signal.ts";

/** Where the parts are: the struct, the word of bits, the byte that says that the waiter sleeps. */
export const SHARED = { FLAGS: 64, ASLEEP: 128, BYTES: 4096 } as const;

const BIT = 5;

/** A thread and its waiter. Leaving `using` ends the thread. */
export class BareThread implements Disposable {
  readonly #stack = new DisposableStack();
  readonly #stacks = this.#stack.use(new ThreadStacks(1));
  readonly #doorbell = this.#stack.use(eventDescriptor("a waiter"));
  readonly #address: bigint;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly thread: NativeThread;

  /**
   * @param descriptor of a vCPU; -1: entering fails at once with EBADF
   * @param runPage the vCPU's
   * @param address of SHARED.BYTES, if others are to see them
   */
  constructor(descriptor: number, private readonly runPage?: RunPage, address?: bigint) {
    installKick();
    this.#address = address ?? this.#stack.use(Mapping.anonymous(SHARED.BYTES, "a native thread")).address;
    const memory = viewAt(this.#address, SHARED.BYTES), addresses = new BigUint64Array(memory);
    this.#bytes = new Uint8Array(memory);
    this.#words = new Int32Array(memory);
    this.#words[NATIVE_THREAD.descriptor / 4] = descriptor;
    this.#words[NATIVE_THREAD.flagBit / 4] = 1 << BIT;
    this.#words[NATIVE_THREAD.doorbell / 4] = this.#doorbell.number;
    addresses[NATIVE_THREAD.flag / 8] = this.#address + BigInt(SHARED.FLAGS);
    addresses[NATIVE_THREAD.asleep / 8] = this.#address + BigInt(SHARED.ASLEEP);
    this.thread = new NativeThread(memory, 0, this.#address, this.#stacks.end(0), "a native thread");
  }

  get id(): number {
    return Atomics.load(this.#words, NATIVE_THREAD.tid / 4);
  }

  get word(): number {
    return Atomics.load(this.#words, NATIVE_THREAD.word / 4);
  }

  get result(): number {
    return this.#words[NATIVE_THREAD.result / 4];
  }

  get outsideTicks(): number {
    return Number(new BigUint64Array(this.#words.buffer, NATIVE_THREAD.clock + 8, 1)[0]);
  }

  get flags(): number {
    return Atomics.load(this.#words, SHARED.FLAGS / 4);
  }

  set flags(bits: number) {
    Atomics.store(this.#words, SHARED.FLAGS / 4, bits);
  }

  get armed(): boolean {
    return Atomics.load(this.#bytes, SHARED.ASLEEP) !== 0;
  }

  set armed(on: boolean) {
    Atomics.store(this.#bytes, SHARED.ASLEEP, on ? 1 : 0);
  }

  /** Whether the eventfd was written to. */
  get rung(): boolean {
    const poll = new PollSet(1);
    poll.add(this.#doorbell.number, POLLIN);
    return poll.look() === 1;
  }

  awaitDoorbell(): void {
    awaitEvent(this.#doorbell.number);
  }

  [Symbol.dispose](): void {
    this.thread.leave();
    this.runPage?.setImmediateExit(true);
    if (this.id !== 0) kickThread(this.id);
    this.thread.join();
    this.#stack.dispose();
  }
}

/** Serves a thread for so many turns as a dispatcher does. @returns how many there were, and how often it slept */
export function serve(address: bigint, turns: number): { turns: number; sleeps: number } {
  using one = new BareThread(-1, undefined, address);
  let taken = 0, sleeps = 0;
  one.thread.enter();
  for (;;) {
    if (one.flags !== 0) {
      one.flags = 0;
      if (!one.thread.isOut) continue;
      if (++taken === turns) return { turns: taken, sleeps };
      one.thread.enter();
      continue;
    }
    one.armed = true;
    if (one.flags === 0) {
      one.awaitDoorbell();
      sleeps++;
    }
    one.armed = false;
  }
}
