/** Hypercalls without a vCPU: a caller's memory, calls with arguments, domains that write down what they are asked. */

import { assert } from "@std/assert";
import fc from "fast-check";
import { ARGUMENTS, Call, type CallerMemory } from "../../src/hypercall/call.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";

export const WIDTHS = [64, 32] as const;
export type Width = (typeof WIDTHS)[number];

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 500);

const DATA = 0x1_0000, DATA_PAGES = 2, READ_ONLY = 0x2_0000, MISSING = 0x3_0000;

/** A 64-bit caller's memory lies where a kernel has it: every address has a high half. */
const HIGH = { 64: 0xffff_8880, 32: 0 } as const;

/** Two pages of data, one page that cannot be written to, and nothing else. */
class TestMemory implements CallerMemory {
  readonly data = new Uint8Array(DATA_PAGES * PAGE_SIZE);
  readonly readOnly = new Uint8Array(PAGE_SIZE);

  constructor(readonly bits: Width) {}

  read(low: number, high: number, target: Uint8Array, at: number, bytes: number): boolean {
    for (let index = 0; index < bytes; index++) {
      const [page, offset] = this.#find(low + index, high);
      if (page === undefined) return false;
      target[at + index] = page[offset];
    }
    return true;
  }

  write(low: number, high: number, source: Uint8Array, at: number, bytes: number): boolean {
    for (let index = 0; index < bytes; index++) {
      const [page, offset] = this.#find(low + index, high);
      if (page !== this.data) return false;
      page[offset] = source[at + index];
    }
    return true;
  }

  #find(low: number, high: number): [Uint8Array | undefined, number] {
    if (high === HIGH[this.bits] && low >= DATA && low < DATA + this.data.length) return [this.data, low - DATA];
    if (high === HIGH[this.bits] && low >= READ_ONLY && low < READ_ONLY + PAGE_SIZE) {
      return [this.readOnly, low - READ_ONLY];
    }
    return [undefined, 0];
  }
}

/** A caller of one width: what it writes before a call and reads after it, and the calls. */
export class TestCaller {
  readonly call: Call;
  readonly #memory: TestMemory;
  /** The data that pointers point to. */
  readonly data: DataView;

  constructor(readonly bits: Width, vcpu = 0) {
    this.#memory = new TestMemory(bits);
    this.call = new Call(vcpu, this.#memory);
    this.data = new DataView(this.#memory.data.buffer);
  }

  /** To the data: a structure there can be read and written, and crosses a page if the offset says so. */
  pointer(offset = 0): bigint {
    return this.#address(DATA + offset);
  }

  /** To where no page is; `before` bytes of data come before. */
  missing(before = 0): bigint {
    return before === 0 ? this.#address(MISSING) : this.#address(DATA + this.#memory.data.length - before);
  }

  /** To a copy of the data that cannot be written to. */
  readOnly(): bigint {
    this.#memory.readOnly.set(this.#memory.data.subarray(0, PAGE_SIZE));
    return this.#address(READ_ONLY);
  }

  /** A hypercall's arguments, at the width of the caller; those that are not given are 0. */
  with(...values: (number | bigint)[]): Call {
    this.call.begin(0, this.bits);
    for (let argument = 0; argument < ARGUMENTS; argument++) {
      const value = BigInt.asUintN(this.bits, BigInt(values[argument] ?? 0));
      this.call.low[argument] = Number(value & 0xffff_ffffn);
      this.call.high[argument] = Number(value >> 32n);
    }
    return this.call;
  }

  /** Fills the data with 0, and then with 32-bit numbers. */
  put(...words: number[]): void {
    this.#memory.data.fill(0);
    words.forEach((word, index) => this.data.setUint32(index * 4, word, true));
  }

  /** ASCII in the data, up to its end or a 0. */
  text(offset: number, bytes: number): string {
    return new TextDecoder().decode(this.#memory.data.subarray(offset, offset + bytes)).replace(/\0.*$/s, "");
  }

  #address(low: number): bigint {
    return BigInt(HIGH[this.bits]) << 32n | BigInt(low);
  }
}

/** A fake with a log: `name(arguments)` of each method called; what is not given does nothing and returns undefined. */
export function recording<T extends object>(given: Partial<T>): { readonly domain: T; readonly log: string[] } {
  const log: string[] = [];
  const domain = new Proxy(given as T, {
    get(target, name, receiver) {
      const value: unknown = Reflect.get(target, name, receiver);
      if (value !== undefined && typeof value !== "function") return value;
      return (...values: unknown[]) => {
        log.push(`${String(name)}(${values.map(shown).join(", ")})`);
        return typeof value === "function" ? value.apply(target, values) : undefined;
      };
    },
  });
  return { domain, log };
}

function shown(value: unknown): string {
  if (ArrayBuffer.isView(value)) return "...";
  return typeof value === "object" ? Deno.inspect(value, { compact: true, breakLength: Infinity }) : String(value);
}

/** Memory in which anything may be, and of which now and then a page is not there. */
class NoisyMemory implements CallerMemory {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return this.#state >>> 16;
  }

  read(_low: number, _high: number, target: Uint8Array, at: number, bytes: number): boolean {
    const kind = this.next() % 8;
    for (let index = 0; index < bytes; index++) {
      const isLowByte = index % 4 === 0;
      target[at + index] = kind < 2 ? this.next() : kind < 6 ? (isLowByte ? this.next() % 16 : 0) : 0;
    }
    return kind < 7;
  }

  write(): boolean {
    return this.next() % 8 < 7;
  }
}

/** Random arguments, random memory: a result is a whole number, not below -4095, and nothing is thrown. */
export function assertAnswersAnything(
  subops: readonly number[],
  hypercall: (call: Call, random: () => number) => number,
): void {
  const word = fc.oneof(fc.nat(16), fc.nat(0xffff_ffff), fc.constantFrom(0, 0x7ff0, 0x8000_0000, 0xffff_ffff));
  const subop = fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...subops) }, { weight: 1, arbitrary: word });
  const words = fc.array(word, { minLength: ARGUMENTS * 2, maxLength: ARGUMENTS * 2 });
  fc.assert(
    fc.property(fc.constantFrom(...WIDTHS), subop, words, fc.nat(0xffff_ffff), (bits, subop, words, seed) => {
      const memory = new NoisyMemory(seed), call = new Call(0, memory);
      call.begin(0, bits);
      call.low.set(words.slice(0, ARGUMENTS));
      if (bits === 64) call.high.set(words.slice(ARGUMENTS));
      call.low[0] = subop;
      if (seed % 8 !== 0) call.high[0] = 0;
      const result = hypercall(call, () => memory.next());
      assert(Number.isInteger(result) && result >= -4095 && result < 2 ** 31, `${result}`);
    }),
    { numRuns: RUNS },
  );
}
