/** A native payload that is loaded: its symbols, its state, and the functions that it replaces. */

import { hex } from "../boot/bytes.ts";
import { EBUSY, EINVAL, ENOENT } from "../linux/errno.ts";
import { viewAt } from "../linux/mapping.ts";
import type { ReplacedFunction } from "./native_functions.ts";
import type { NativeImage } from "./native_image.ts";
import { PayloadError } from "./payload_error.ts";

/** Xen's states: LIVEPATCH_STATE_CHECKED, LIVEPATCH_STATE_APPLIED. */
export type NativePayloadState = "CHECKED" | "APPLIED";

/** A global symbol of a payload. */
export interface PayloadSymbol {
  readonly address: bigint;
  /** 0 if the object does not say. */
  readonly sizeBytes: number;
}

/** What an object has become in memory. */
export interface NativeParts {
  readonly image: NativeImage;
  readonly functions: readonly ReplacedFunction[];
  readonly symbols: ReadonlyMap<string, PayloadSymbol>;
  /** Whose symbols it uses, or whose functions it replaces. */
  readonly uses: ReadonlySet<NativePayload>;
  /** Whether it has data that its code has changed once it was applied, and that it does not expect. */
  readonly keepsState: boolean;
}

/** What payloads share: which of them are loaded and applied, each in its order, and the means to change code. */
export interface PayloadStack {
  /** By their numbers, which are the owners of their areas in vmap. */
  readonly loaded: Map<number, NativePayload>;
  readonly applied: NativePayload[];
  /** @throws {LinuxError} nothing was written */
  write(address: bigint, code: Uint8Array<ArrayBuffer>): void;
  synchronize(): void;
}

/** Made by {@linkcode NativePayloads.load}. */
export class NativePayload implements Disposable {
  /** What was there before, for as long as it is applied; in the order of the functions. */
  #before: Uint8Array<ArrayBuffer>[] = [];
  #wasApplied = false;

  /** @param number its own in `stack.loaded` */
  constructor(
    readonly name: string,
    private readonly number: number,
    private readonly parts: NativeParts,
    private readonly stack: PayloadStack,
  ) {}

  get state(): NativePayloadState {
    return this.stack.applied.includes(this) ? "APPLIED" : "CHECKED";
  }

  /** Its global symbols by their names. */
  get symbols(): ReadonlyMap<string, PayloadSymbol> {
    return this.parts.symbols;
  }

  /** Its memory. */
  get image(): NativeImage {
    return this.parts.image;
  }

  /** Whether it uses symbols or replaces functions of `other`. */
  uses(other: NativePayload): boolean {
    return this.parts.uses.has(other);
  }

  /** The address of a global symbol. @throws {PayloadError} ENOENT it has none of that name */
  addressOf(symbol: string): bigint {
    const found = this.parts.symbols.get(symbol);
    if (found === undefined) throw new PayloadError(ENOENT, `${this.name}: has no global symbol ${symbol}`);
    return found.address;
  }

  /**
   * Puts a jump to the beginning of each function that it replaces. No thread may be in the bytes that are changed, nor
   * may one have left them by a call: the caller sees to that.
   * @throws {PayloadError} EINVAL it is not CHECKED, it keeps state and was applied before, or an expectation is not met
   * @throws {LinuxError} in every case, nothing has changed
   */
  apply(): void {
    this.#require("CHECKED");
    if (this.#wasApplied && this.parts.keepsState) {
      throw new PayloadError(EINVAL, `${this.name}: keeps state and was applied before; load it again`);
    }
    for (const { name, oldAddress, expected } of this.parts.functions) this.#requireCode(name, oldAddress, expected);
    const before: Uint8Array<ArrayBuffer>[] = [];
    try {
      for (const { oldAddress, code } of this.parts.functions) {
        const old = readCode(oldAddress, code.length);
        this.stack.write(oldAddress, code);
        before.push(old);
      }
      this.stack.synchronize();
    } catch (error) {
      this.#restore(before);
      throw error;
    }
    this.#before = before;
    this.#wasApplied = true;
    this.stack.applied.push(this);
  }

  /**
   * Puts back what was there before. No thread may be in the payload's code, nor come back to it: the caller sees to that.
   * @throws {PayloadError} EINVAL it is not APPLIED; EBUSY another one was applied after it, or has changed its jumps
   * @throws {LinuxError} it is APPLIED still, and may be reverted again
   */
  revert(): void {
    this.#require("APPLIED");
    const top = this.stack.applied.at(-1)!;
    if (top !== this) throw new PayloadError(EBUSY, `${this.name}: ${top.name} was applied after it`);
    for (const [index, { name, oldAddress, code }] of this.parts.functions.entries()) {
      // What was put back before a revert failed is as good.
      if (isCode(oldAddress, code) || isCode(oldAddress, this.#before[index])) continue;
      throw new PayloadError(EBUSY, `${this.name}: ${name}: somebody else has changed the code at ${hex(oldAddress)}`);
    }
    this.#restore(this.#before);
    this.stack.synchronize();
    this.#before = [];
    this.stack.applied.pop();
  }

  /** @param going what would be unloaded before it. @throws {PayloadError} EBUSY another one uses its symbols, or replaces its functions */
  requireUnused(going: readonly NativePayload[] = []): void {
    for (const other of this.stack.loaded.values()) {
      if (!going.includes(other) && other.uses(this)) {
        throw new PayloadError(EBUSY, `${this.name}: ${other.name} uses it`);
      }
    }
  }

  /**
   * Unloads it; a second time does nothing.
   * @throws {PayloadError} EINVAL it is applied; EBUSY another payload uses its symbols, or replaces its functions
   */
  [Symbol.dispose](): void {
    if (!this.#isLoaded()) return;
    if (this.state === "APPLIED") throw new PayloadError(EINVAL, `${this.name}: is applied; revert it first`);
    this.requireUnused();
    this.parts.image[Symbol.dispose]();
    this.stack.loaded.delete(this.number);
  }

  #isLoaded(): boolean {
    return this.stack.loaded.has(this.number);
  }

  #require(state: NativePayloadState): void {
    if (!this.#isLoaded()) throw new PayloadError(EINVAL, `${this.name}: was unloaded`);
    if (this.state !== state) throw new PayloadError(EINVAL, `${this.name}: is ${this.state}, not ${state}`);
  }

  #requireCode(name: string, address: bigint, expected: Uint8Array): void {
    if (isCode(address, expected)) return;
    const found = readCode(address, expected.length).toHex();
    throw new PayloadError(EINVAL, `${this.name}: ${name}: expected ${expected.toHex()}, found ${found}`);
  }

  /** Puts back what stood at the first so many functions. */
  #restore(before: readonly Uint8Array<ArrayBuffer>[]): void {
    for (const [index, code] of before.entries()) this.stack.write(this.parts.functions[index].oldAddress, code);
  }
}

function readCode(address: bigint, sizeBytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(viewAt(address, sizeBytes)).slice();
}

function isCode(address: bigint, code: Uint8Array): boolean {
  return readCode(address, code.length).every((byte, index) => byte === code[index]);
}
