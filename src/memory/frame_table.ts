/** The frames of a bank: who refers to each, and as what. Xen's page_info, without the owner, which the bank has. */

import type { Mfn } from "./address.ts";

/** What a frame is used as. While its type count is not zero it is nothing else (Xen: PGT_*). */
export const FRAME_TYPE = { NONE: 0, WRITABLE: 1, READ_ONLY: 2 } as const;
export type FrameType = (typeof FRAME_TYPE)[keyof typeof FRAME_TYPE];

/** A reference that cannot be had or was not held. */
export class FrameError extends Error {
  static {
    this.prototype.name = "FrameError";
  }
}

const TYPE_SHIFT = 28, COUNT_MASK = (1 << TYPE_SHIFT) - 1;
/** Every use as a type holds a reference, so this bounds the type count, too: it cannot run over into the type. */
const MAX_REFERENCES = COUNT_MASK;

/**
 * Two words a frame in memory that costs nothing until touched: references beyond the allocation's own, and type with
 * type count. The first word of the table is the sum of all references.
 */
export class FrameTable {
  readonly #words: Int32Array;

  constructor(memory: ArrayBuffer, private readonly firstMfn: Mfn, private readonly frames: number) {
    this.#words = new Int32Array(memory);
  }

  /** Memory that a table for `frames` frames needs. */
  static sizeBytes(frames: number): number {
    return (2 + frames * 2) * 4;
  }

  /** All references to all frames of the bank. */
  get references(): number {
    return Atomics.load(this.#words, 0);
  }

  /** References to `mfn` beyond the allocation's. */
  referencesTo(mfn: Mfn): number {
    return Atomics.load(this.#words, this.#index(mfn));
  }

  /** What the frame is used as, and how often. */
  typeOf(mfn: Mfn): { type: FrameType; count: number } {
    const word = Atomics.load(this.#words, this.#index(mfn) + 1);
    return { type: (word >>> TYPE_SHIFT) as FrameType, count: word & COUNT_MASK };
  }

  /** Takes a reference (Xen: get_page). @throws {FrameError} not a frame of this bank, or too many */
  get(mfn: Mfn): void {
    const index = this.#index(mfn);
    if (Atomics.add(this.#words, index, 1) >= MAX_REFERENCES) {
      Atomics.sub(this.#words, index, 1);
      throw new FrameError(`mfn 0x${mfn.toString(16)} has ${MAX_REFERENCES} references already`);
    }
    Atomics.add(this.#words, 0, 1);
  }

  /** Gives a reference back (Xen: put_page). @throws {FrameError} there was none */
  put(mfn: Mfn): void {
    const index = this.#index(mfn);
    if (Atomics.sub(this.#words, index, 1) <= 0) {
      Atomics.add(this.#words, index, 1);
      throw new FrameError(`mfn 0x${mfn.toString(16)} has no reference to give back`);
    }
    Atomics.sub(this.#words, 0, 1);
  }

  /** Takes a reference and counts the use as `type` (Xen: get_page_and_type). @throws {FrameError} it has another type */
  getType(mfn: Mfn, type: FrameType): void {
    this.get(mfn);
    const index = this.#index(mfn) + 1;
    for (;;) {
      const word = Atomics.load(this.#words, index);
      if ((word & COUNT_MASK) !== 0 && word >>> TYPE_SHIFT !== type) {
        this.put(mfn);
        throw new FrameError(`mfn 0x${mfn.toString(16)} is in use as type ${word >>> TYPE_SHIFT}, not ${type}`);
      }
      const next = (type << TYPE_SHIFT) | ((word & COUNT_MASK) + 1);
      if (Atomics.compareExchange(this.#words, index, word, next) === word) return;
    }
  }

  /** Gives back what {@linkcode getType} took (Xen: put_page_and_type). @throws {FrameError} there was nothing */
  putType(mfn: Mfn): void {
    const index = this.#index(mfn) + 1;
    for (;;) {
      const word = Atomics.load(this.#words, index);
      if ((word & COUNT_MASK) === 0) throw new FrameError(`mfn 0x${mfn.toString(16)} has no type to give back`);
      const next = (word & COUNT_MASK) === 1 ? 0 : word - 1;
      if (Atomics.compareExchange(this.#words, index, word, next) === word) break;
    }
    this.put(mfn);
  }

  #index(mfn: Mfn): number {
    const frame = mfn - this.firstMfn;
    if (!(Number.isInteger(frame) && frame >= 0 && frame < this.frames)) {
      throw new FrameError(`mfn 0x${mfn.toString(16)} is not of this bank`);
    }
    return 2 + frame * 2;
  }
}
