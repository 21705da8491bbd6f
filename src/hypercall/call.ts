/** A hypercall as a vCPU makes it: its number, its arguments, and the caller's memory behind them. */

/** The memory of whoever calls, by linear addresses in two halves of 32 bits. */
export interface CallerMemory {
  /** Fills `bytes` bytes of `target` from `at` on. @returns false a page is not there */
  read(low: number, high: number, target: Uint8Array, at: number, bytes: number): boolean;
  /** Stores them. @returns false a page is not there, or may not be written to: those before it were */
  write(low: number, high: number, source: Uint8Array, at: number, bytes: number): boolean;
}

/** What the vCPU does once it has its result: goes on, sleeps until an event comes, or waits as it has asked to. */
export const AFTER = { RETURN: 0, BLOCK: 1, POLL: 2 } as const;
export type After = (typeof AFTER)[keyof typeof AFTER];

/** Arguments of a hypercall; only multicall has entries with six. */
export const ARGUMENTS = 6;

/** The largest structure that a hypercall takes or gives in one piece. */
const SCRATCH_BYTES = 4096;

/** One vCPU's hypercall; the object is used again for the next one, so that a call allocates nothing. */
export class Call {
  number = 0;
  /** The width of the caller's code: its registers, and the layout of structures. */
  bits: 32 | 64 = 64;
  /** Halves of the arguments; of a 32-bit caller the high ones are 0. */
  readonly low: Uint32Array<ArrayBuffer> = new Uint32Array(ARGUMENTS);
  readonly high: Uint32Array<ArrayBuffer> = new Uint32Array(ARGUMENTS);
  /** Where structures are put by {@linkcode fetch} and taken from by {@linkcode store}. */
  readonly scratch: DataView<ArrayBuffer> = new DataView(new ArrayBuffer(SCRATCH_BYTES));
  readonly #bytes = new Uint8Array(this.scratch.buffer);
  /** Device models are to forget what they know of the guest's memory before it goes on: it has given some back. */
  invalidates = false;
  after: After = AFTER.RETURN;

  /** @param vcpu who calls */
  constructor(readonly vcpu: number, readonly memory: CallerMemory) {}

  /** Before the arguments are filled in. */
  begin(number: number, bits: 32 | 64): void {
    this.number = number;
    this.bits = bits;
    this.invalidates = false;
    this.after = AFTER.RETURN;
  }

  /** Bytes of the caller's longs, gfns and pointers. */
  get long(): 4 | 8 {
    return this.bits === 64 ? 8 : 4;
  }

  /** An argument as an unsigned number, exact below 2^53. */
  value(argument: number): number {
    return this.low[argument] + this.high[argument] * 2 ** 32;
  }

  /** Whether an argument is a null pointer. */
  isNull(argument: number): boolean {
    return (this.low[argument] | this.high[argument]) === 0;
  }

  /** Reads `bytes` bytes at `offset` behind the pointer in an argument to the start of the scratch. @returns success */
  fetch(argument: number, bytes: number, offset = 0): boolean {
    return this.fetchAt(this.low[argument], this.high[argument], bytes, offset);
  }

  /** Writes the first `bytes` bytes of the scratch to `offset` behind the pointer in an argument. @returns success */
  store(argument: number, bytes: number, offset = 0): boolean {
    return this.storeAt(this.low[argument], this.high[argument], bytes, offset);
  }

  /** {@linkcode fetch} by a pointer that stood in a structure. @param to where in the scratch */
  fetchAt(low: number, high: number, bytes: number, offset = 0, to = 0): boolean {
    const sum = low + offset;
    return this.memory.read(sum >>> 0, this.#high(high, sum), this.#bytes, to, bytes);
  }

  /** {@linkcode store} by a pointer that stood in a structure. @param from where in the scratch */
  storeAt(low: number, high: number, bytes: number, offset = 0, from = 0): boolean {
    const sum = low + offset;
    return this.memory.write(sum >>> 0, this.#high(high, sum), this.#bytes, from, bytes);
  }

  /** The low half of a long or pointer at `at` of the scratch. */
  longLow(at: number): number {
    return this.scratch.getUint32(at, true);
  }

  /** Its high half: 0 for a 32-bit caller. */
  longHigh(at: number): number {
    return this.bits === 64 ? this.scratch.getUint32(at + 4, true) : 0;
  }

  /** A long of the caller at `at` of the scratch, unsigned, exact below 2^53. */
  longAt(at: number): number {
    return this.longLow(at) + this.longHigh(at) * 2 ** 32;
  }

  /** Puts an unsigned number below 2^53 as a long of the caller at `at` of the scratch; what exceeds it is cut off. */
  setLong(at: number, value: number): void {
    this.scratch.setUint32(at, value, true);
    if (this.bits === 64) this.scratch.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
  }

  /** A 32-bit caller's addresses wrap at 4 GiB. */
  #high(high: number, sum: number): number {
    return this.bits === 64 ? (high + Math.floor(sum / 2 ** 32)) >>> 0 : 0;
  }
}
