/** One vCPU's part of the control block: its thread, its state, its counters. */

import { Descriptor } from "../linux/descriptor.ts";
import { viewAt } from "../linux/mapping.ts";
import { NATIVE_THREAD, NATIVE_THREAD_BYTES, NativeThread } from "../linux/native_thread.ts";
import { EXIT_REASONS } from "../kvm/abi.ts";
import { roundUp } from "../memory/address.ts";
import { MAX_SERVERS } from "../ioreq/abi.ts";

/** struct thread, whoever carries the vCPU; words; doubles; all by their byte. */
const STATE = NATIVE_THREAD_BYTES, EXIT_LEFT = STATE + 4, RUN_PAGE = STATE + 8, RUN_BYTES = STATE + 16, SERVED = 128;
const EXITS = SERVED + MAX_SERVERS * 8;

/** Bytes of a record: whole cache lines. */
export const VCPU_RECORD_BYTES = roundUp(EXITS + EXIT_REASONS * 8, 64);

/** What a vCPU is doing. RUNNING includes halted: KVM waits for interrupts by itself. */
export type VcpuState = "offline" | "running" | "waiting" | "paused" | "stopped";

/** The states by their number in the vCPU's record. */
export const VCPU_STATES: readonly VcpuState[] = ["offline", "running", "waiting", "paused", "stopped"];
export const VCPU_STATE = { OFFLINE: 0, RUNNING: 1, WAITING: 2, PAUSED: 3, STOPPED: 4 } as const;

/** One vCPU's part of the control block. */
export class VcpuRecord {
  readonly #memory: ArrayBuffer;
  readonly #offset: number;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  /** Exits by reason. */
  readonly exits: Float64Array;
  /** Requests that each server answered. */
  readonly served: Float64Array;
  /** Where the record begins: struct thread. */
  readonly #address: bigint;

  constructor(readonly id: number, memory: ArrayBuffer, offset: number, address: bigint) {
    this.#memory = memory;
    this.#offset = offset;
    this.#words = new Int32Array(memory, offset, SERVED / 4);
    this.#doubles = new Float64Array(memory, offset, SERVED / 8);
    this.exits = new Float64Array(memory, offset + EXITS, EXIT_REASONS);
    this.served = new Float64Array(memory, offset + SERVED, MAX_SERVERS);
    this.#address = address + BigInt(offset);
  }

  /** Before any carrier starts. @param descriptor the vCPU's */
  create(descriptor: number, runPage: bigint, runBytes: number): void {
    this.#words[NATIVE_THREAD.descriptor / 4] = descriptor;
    this.#doubles[RUN_PAGE / 8] = Number(runPage);
    this.#doubles[RUN_BYTES / 8] = runBytes;
  }

  /** How a thread of machine code wakes the waiter: addresses of its word of bits and of its byte, the bit, the eventfd. */
  setWaker(flag: bigint, bit: number, asleep: bigint, doorbell: number): void {
    const addresses = new BigUint64Array(this.#memory, this.#offset, NATIVE_THREAD_BYTES / 8);
    addresses[NATIVE_THREAD.flag / 8] = flag;
    addresses[NATIVE_THREAD.asleep / 8] = asleep;
    this.#words[NATIVE_THREAD.flagBit / 4] = 1 << bit;
    this.#words[NATIVE_THREAD.doorbell / 4] = doorbell;
  }

  get descriptor(): number {
    return this.#words[NATIVE_THREAD.descriptor / 4];
  }

  /** The vCPU for another thread than its owner's: not to be disposed. */
  get vcpu(): Descriptor {
    return new Descriptor(this.descriptor, `vCPU ${this.id}`);
  }

  /** A view of the run page. */
  runPage(): ArrayBuffer {
    return viewAt(BigInt(this.#doubles[RUN_PAGE / 8]), this.#doubles[RUN_BYTES / 8]);
  }

  /** One of VCPU_STATE. */
  get state(): number {
    return Atomics.load(this.#words, STATE / 4);
  }

  set state(state: number) {
    Atomics.store(this.#words, STATE / 4, state);
  }

  /** The carrier leaves the vCPU with what KVM_RUN returned: its successor's first business. */
  leaveExit(result: number): void {
    this.#words[NATIVE_THREAD.result / 4] = result;
    Atomics.store(this.#words, EXIT_LEFT / 4, 1);
  }

  /** Whether it was left so; a second time it was not. */
  takeExit(): boolean {
    return Atomics.exchange(this.#words, EXIT_LEFT / 4, 0) !== 0;
  }

  /** What KVM_RUN has returned when it was left so. */
  get exitResult(): number {
    return this.#words[NATIVE_THREAD.result / 4];
  }

  /** The thread that carries the vCPU; 0 while none does. */
  get thread(): number {
    return Atomics.load(this.#words, NATIVE_THREAD.tid / 4);
  }

  set thread(tid: number) {
    Atomics.store(this.#words, NATIVE_THREAD.tid / 4, tid);
  }

  /** The thread of machine code that may carry it. @param stackEnd of a stack of its own */
  nativeThread(stackEnd: bigint): NativeThread {
    return new NativeThread(this.#memory, this.#offset, this.#address, stackEnd, `thread of vCPU ${this.id}`);
  }

  /** Address of the ticks in the guest and outside it, which xl_run counts. */
  get clockAddress(): bigint {
    return this.#address + BigInt(NATIVE_THREAD.clock);
  }

  /** Time-stamp ticks in KVM_RUN and outside it. */
  get ticks(): { guest: number; outside: number } {
    const [guest, outside] = new BigUint64Array(this.#memory, this.#offset + NATIVE_THREAD.clock, 2);
    return { guest: Number(guest), outside: Number(outside) };
  }
}
