/** The domain's pool of guest frames for ioreq servers that are got at by gfn (HVM_PARAM_IOREQ_SERVER_PFN). */

import type { Gfn } from "../memory/address.ts";

/** A bit a gfn in shared memory, so that no two takers, in whatever isolate, ever get the same one. */
export class GfnPool {
  /**
   * @param free memory whose words have a bit for each gfn that nobody has; all bits of `count` are to be set at first
   * @param base the first gfn (HVM_PARAM_IOREQ_SERVER_PFN)
   * @param count how many there are (HVM_PARAM_NR_IOREQ_SERVER_PAGES)
   */
  constructor(private readonly free: Int32Array, readonly base: Gfn, readonly count: number) {}

  /** Memory words that a pool of `count` gfns needs, all free. */
  static memory(count: number): Int32Array {
    const words = new Int32Array(new SharedArrayBuffer(Math.ceil(count / 32) * 4));
    for (let gfn = 0; gfn < count; gfn++) words[gfn >>> 5] |= 1 << (gfn & 31);
    return words;
  }

  /** Takes the lowest free gfn; those of one server need not follow each other. */
  allocate(): Gfn | undefined {
    for (let word = 0; word < this.free.length;) {
      const bits = Atomics.load(this.free, word);
      if (bits === 0) {
        word++;
        continue;
      }
      const bit = bits & -bits;
      // Clearing and looking are one step: of two that saw the same bit set, one finds it gone.
      if ((Atomics.and(this.free, word, ~bit) & bit) !== 0) {
        return (this.base + word * 32 + (31 - Math.clz32(bit))) as Gfn;
      }
    }
    return undefined;
  }

  /** Gives one back. @throws {RangeError} it is not of this pool, or nobody has it */
  release(gfn: Gfn): void {
    const index = gfn - this.base, bit = 1 << (index & 31);
    if (!(index >= 0 && index < this.count) || (Atomics.or(this.free, index >>> 5, bit) & bit) !== 0) {
      throw new RangeError(`gfn 0x${gfn.toString(16)} was not taken from the pool`);
    }
  }

  /** How many are free. */
  get available(): number {
    let count = 0;
    for (let index = 0; index < this.count; index++) {
      if ((Atomics.load(this.free, index >>> 5) & (1 << (index & 31))) !== 0) count++;
    }
    return count;
  }
}
