/** A set of page numbers that knows the next lower member of any page. */

/** A tree of bitmaps, 32 to 1: every step of it costs the same whatever the set holds, and none of them allocates. */
export class PageSet {
  /** Lowest first: bit n of a level says whether word n of the level below has a bit at all. */
  readonly #levels: Int32Array[] = [];

  /** An empty set of numbers in [0, size). @param size at most 2^31 */
  constructor(private readonly size: number) {
    for (let bits = size; this.#levels.length === 0 || bits > 1;) {
      bits = Math.ceil(bits / 32);
      this.#levels.push(new Int32Array(bits));
    }
  }

  /** Whether `page`, which may be any number, is in the set. */
  has(page: number): boolean {
    return page >= 0 && page < this.size && Number.isInteger(page) &&
      (this.#levels[0][page >>> 5] & (1 << (page & 31))) !== 0;
  }

  /** Adds `page`; it may be in the set already. */
  add(page: number): void {
    for (const level of this.#levels) {
      const word = page >>> 5, before = level[word];
      level[word] = before | (1 << (page & 31));
      if (before !== 0) return;
      page = word;
    }
  }

  /** Takes `page` out; it must be in the set. */
  delete(page: number): void {
    for (const level of this.#levels) {
      const word = page >>> 5;
      level[word] &= ~(1 << (page & 31));
      if (level[word] !== 0) return;
      page = word;
    }
  }

  /** The greatest member that is not above `page` (which may be -1), or -1. */
  atOrBefore(page: number): number {
    for (let height = 0; height < this.#levels.length && page >= 0; height++) {
      const word = page >>> 5;
      const members = this.#levels[height][word] & ((2 << (page & 31)) - 1);
      if (members !== 0) return this.#lastBelow(height, (word << 5) | highestBit(members));
      page = word - 1;
    }
    return -1;
  }

  /** The greatest member under bit `index` of a level. */
  #lastBelow(height: number, index: number): number {
    while (--height >= 0) index = (index << 5) | highestBit(this.#levels[height][index]);
    return index;
  }
}

function highestBit(word: number): number {
  return 31 - Math.clz32(word);
}
