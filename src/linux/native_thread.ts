/** Threads of machine code that run a vCPU: no isolate, no thread-local storage, a stack for the kick's signal frame. */

import * as calls from "./calls.ts";
import { check } from "./linux_error.ts";
import { Mapping, pointerTo } from "./mapping.ts";

/** Bytes of struct thread (native.asm): one cache line, at a multiple of 64. */
export const NATIVE_THREAD_BYTES = 64;

/** Offsets in it. */
export const NATIVE_THREAD = {
  /** The vCPU's descriptor. */
  descriptor: 0,
  /** The thread's id: the kernel sets it, and clears it when the thread touches no memory any more. */
  tid: 4,
  /** One of {@linkcode THREAD_WORD}. */
  word: 8,
  /** What the last KVM_RUN returned: 0 or -errno. */
  result: 12,
  /** Ticks in the guest and outside it, and the time stamp of the last change (xl_run). */
  clock: 16,
  /** Address of a word, and the bit in it that is set at each exit; then of a byte, which is exchanged for 0 after that. */
  flag: 40,
  flagBit: 48,
  /** The eventfd that is written to when the byte was 1. */
  doorbell: 52,
  asleep: 56,
} as const;

/** EXITED to WAITING, RESUME to RUNNING and RUNNING to EXITED are the thread's moves, all others its owner's. */
export const THREAD_WORD = { EXITED: 0, WAITING: 1, RESUME: 2, RUNNING: 3, STOP: 4 } as const;

/**
 * Bytes of address space of a stack. The code uses two words of it; the rest is for the frame of one signal, which holds
 * all of a processor's registers (AT_MINSIGSTKSZ is 12 KB where there is AMX). Only a page or two are ever touched.
 */
const STACK_BYTES = 32 << 10;
const MADV_NOHUGEPAGE = 15;
const FUTEX_WAIT = 0, FUTEX_WAKE_PRIVATE = 129;

/** Stacks for `count` threads. Disposed only after all of them were joined. */
export class ThreadStacks implements Disposable {
  readonly #memory: Mapping;

  /** @throws {LinuxError} */
  constructor(count: number) {
    this.#memory = Mapping.anonymous(count * STACK_BYTES, `stacks of ${count} threads`);
    // Else a host that gives huge pages to everybody makes all of the stacks resident. One without them: EINVAL.
    calls.madvise(this.#memory.address, BigInt(this.#memory.sizeBytes), MADV_NOHUGEPAGE);
  }

  /** Where the stack with this index ends; it grows down from there. */
  end(index: number): bigint {
    return stackEnd(this.address, index);
  }

  /** For {@linkcode stackEnd}. */
  get address(): bigint {
    return this.#memory.address;
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

/** Where a stack of {@linkcode ThreadStacks} ends, elsewhere than where they were made. @param stacks their address */
export function stackEnd(stacks: bigint, index: number): bigint {
  return stacks + BigInt((index + 1) * STACK_BYTES);
}

/** One thread, as the thread that serves it sees it. */
export class NativeThread {
  readonly #words: Int32Array;
  readonly #word: Deno.PointerObject;

  /**
   * @param memory holds the struct from `offset` on; all but the id and the word filled in
   * @param address where the struct begins
   * @param stackEnd of a stack of its own
   * @param subject whose thread it is, for the message if there is none to be had
   */
  constructor(
    memory: ArrayBuffer,
    offset: number,
    private readonly address: bigint,
    private readonly stackEnd: bigint,
    private readonly subject: string,
  ) {
    this.#words = new Int32Array(memory, offset, NATIVE_THREAD_BYTES / 4);
    this.#word = pointerTo(address + BigInt(NATIVE_THREAD.word));
  }

  /** Whether the vCPU is out of the guest, and stays so until {@linkcode enter}; true before the first time. */
  get isOut(): boolean {
    const word = Atomics.load(this.#words, NATIVE_THREAD.word / 4);
    return word === THREAD_WORD.EXITED || word === THREAD_WORD.WAITING;
  }

  /** What KVM_RUN returned. */
  get result(): number {
    return this.#words[NATIVE_THREAD.result / 4];
  }

  /** Lets the vCPU, which is out, into the guest; the first time, starts the thread. @throws {LinuxError} there is none to be had */
  enter(): void {
    if (this.#tell(THREAD_WORD.RESUME) || Atomics.load(this.#words, NATIVE_THREAD.tid / 4) !== 0) return;
    const id = calls.startThread(pointerTo(this.address), this.stackEnd);
    if (id < 0) Atomics.store(this.#words, NATIVE_THREAD.word / 4, THREAD_WORD.EXITED);
    check(id, "clone", this.subject);
  }

  /** Tells the thread to end. If the vCPU is in the guest, it has to be kicked out of it besides. */
  leave(): void {
    this.#tell(THREAD_WORD.STOP);
  }

  /** Blocks until the thread, which was told to leave, has ended; at once if it never began. */
  join(): void {
    const word = NATIVE_THREAD.tid / 4, pointer = pointerTo(this.address + BigInt(NATIVE_THREAD.tid));
    for (let id = Atomics.load(this.#words, word); id !== 0; id = Atomics.load(this.#words, word)) {
      calls.futex(pointer, FUTEX_WAIT, id); // the kernel wakes as for another process
    }
  }

  /** @returns whether the thread had to be woken for it */
  #tell(what: number): boolean {
    // The exchange before the wake: a thread that goes to sleep after it finds the word changed, and does not.
    if (Atomics.exchange(this.#words, NATIVE_THREAD.word / 4, what) !== THREAD_WORD.WAITING) return false;
    calls.futex(this.#word, FUTEX_WAKE_PRIVATE, 1);
    return true;
  }
}
