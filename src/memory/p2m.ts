/** The p2m: which machine frame stands behind each guest frame. One table of truth a domain, in shared memory. */

import { Mapping, viewAt } from "../linux/mapping.ts";
import { type Gfn, PAGE_SIZE, SUPERPAGE_FRAMES } from "./address.ts";

/** Types of a p2m entry, with Xen's numbers (xen/arch/x86/include/asm/p2m.h, p2m_type_t). */
export const P2M_TYPE = {
  RAM_RW: 0,
  INVALID: 1,
  RAM_RO: 3,
  /** Nothing is mapped, and a device model is asked. */
  MMIO_DM: 4,
  /** RAM that has no memory yet. */
  POPULATE_ON_DEMAND: 6,
  /** A frame of somebody else's. */
  GRANT_MAP_RW: 7,
  GRANT_MAP_RO: 8,
} as const;
export type P2mType = (typeof P2M_TYPE)[keyof typeof P2M_TYPE];

/** Bits of a guest-physical address that the p2m covers: 2 TiB. */
export const P2M_ADDRESS_BITS = 41;

const GFNS = 2 ** P2M_ADDRESS_BITS / PAGE_SIZE;
const SUPERPAGES = GFNS / SUPERPAGE_FRAMES;
/** Behind the entries: how often any of them was changed. */
const CHANGES_AT = (SUPERPAGES + GFNS) * 4, P2M_BYTES = CHANGES_AT + PAGE_SIZE;

/** Gfns whose entries are viewed together. V8 counts a view as memory of its own, and collects garbage for one of 2 GiB. */
const BLOCK_GFNS = 2 ** 18, BLOCKS = GFNS / BLOCK_GFNS;

/**
 * An entry is an mfn of 28 bits below a type of 4 bits. The type is stored with its lowest bit flipped, so that a word
 * of zero - memory that nobody has touched - reads as type invalid.
 */
const TYPE_SHIFT = 28, MFN_MASK = 2 ** TYPE_SHIFT - 1;

/** In the table of superpages: the 512 entries stand each for itself in the table of frames. */
const SPLIT = 0xffff_ffff;

/** An entry's type. */
export function p2mType(entry: number): P2mType {
  return ((entry >>> TYPE_SHIFT) ^ 1) as P2mType;
}

/** An entry's machine frame. */
export function p2mMfn(entry: number): number {
  return entry & MFN_MASK;
}

/** The entry of a gfn that is not mapped. */
export const P2M_INVALID = 0;

/** Whether an entry of several gfns stands for as many machine frames: mfn 0 is nobody's. */
function isCounting(entry: number): boolean {
  return (entry & MFN_MASK) !== 0;
}

/** A domain's p2m as any isolate of the process sees it. Changes are made under the domain's p2m lock. */
export class P2m {
  readonly #superpages: Uint32Array;
  readonly #changes: Uint32Array;
  readonly #blocks: (Uint32Array | undefined)[] = new Array(BLOCKS).fill(undefined);

  /** @param address the address of {@linkcode p2mMemory} */
  constructor(private readonly address: bigint) {
    this.#superpages = new Uint32Array(viewAt(address, SUPERPAGES * 4));
    this.#changes = new Uint32Array(viewAt(address + BigInt(CHANGES_AT), PAGE_SIZE));
  }

  /** Another number after each change: what was looked up before is not to be relied on. Entries come first, then this. */
  get changes(): number {
    return this.#changes[0];
  }

  /** The entry of any number taken as gfn: {@linkcode P2M_INVALID} for what is outside the p2m, too. */
  lookup(gfn: number): number {
    if (!(Number.isInteger(gfn) && gfn >= 0 && gfn < GFNS)) return P2M_INVALID;
    const superpage = Math.floor(gfn / SUPERPAGE_FRAMES);
    const entry = this.#superpages[superpage];
    if (entry === SPLIT) return this.#block(gfn)[gfn % BLOCK_GFNS];
    return isCounting(entry) ? entry + (gfn - superpage * SUPERPAGE_FRAMES) : entry;
  }

  /**
   * The gfns around `gfn`, in its superpage, that are mapped as it is: to one frame after the other, with the same type.
   * @param gfn with an mfn @param run where they are put: the first one, and the one behind the last
   */
  runAround(gfn: number, run: { first: number; end: number }): void {
    const superpage = Math.floor(gfn / SUPERPAGE_FRAMES), start = superpage * SUPERPAGE_FRAMES;
    run.first = start;
    run.end = start + SUPERPAGE_FRAMES;
    if (this.#superpages[superpage] !== SPLIT) return;
    const block = this.#block(gfn), offset = start - start % BLOCK_GFNS, shift = block[gfn - offset] - gfn;
    let first = gfn, end = gfn + 1;
    while (first > run.first && block[first - 1 - offset] === first - 1 + shift) first--;
    while (end < run.end && block[end - offset] === end + shift) end++;
    run.first = first;
    run.end = end;
  }

  /** The first gfn from `gfn` on, and below `end`, whose entry has an mfn; `end` if none has. */
  nextFrame(gfn: number, end: number): number {
    while (gfn < end) {
      const superpage = Math.floor(gfn / SUPERPAGE_FRAMES), entry = this.#superpages[superpage];
      if (entry === SPLIT ? isCounting(this.lookup(gfn)) : isCounting(entry)) return gfn;
      gfn = entry === SPLIT ? gfn + 1 : (superpage + 1) * SUPERPAGE_FRAMES;
    }
    return end;
  }

  /**
   * Maps `count` guest frames from `gfn` to machine frames from `mfn`; mfn 0, which is nobody's, for all of them.
   * @throws {RangeError} outside the p2m, or machine frames that no entry can name
   */
  map(gfn: Gfn, mfn: number, count: number, type: P2mType): void {
    if (!(Number.isInteger(mfn) && mfn >= 0 && mfn + count - 1 <= MFN_MASK)) {
      throw new RangeError(`mfns 0x${mfn.toString(16)} + 0x${count.toString(16)} are no machine frames`);
    }
    this.#set(gfn, count, (((type ^ 1) << TYPE_SHIFT) | mfn) >>> 0);
  }

  /** Takes `count` guest frames from `gfn` out of the p2m. @throws {RangeError} outside the p2m */
  unmap(gfn: Gfn, count: number): void {
    this.#set(gfn, count, P2M_INVALID);
  }

  /** Sets entries; `first` counts up with the gfns if it has an mfn. Whole aligned superpages stay whole. */
  #set(gfn: number, count: number, first: number): void {
    if (!(Number.isInteger(gfn) && Number.isInteger(count) && gfn >= 0 && count >= 0 && gfn + count <= GFNS)) {
      throw new RangeError(`gfns 0x${gfn.toString(16)} + 0x${count.toString(16)} are outside the p2m`);
    }
    const step = isCounting(first) ? 1 : 0;
    for (let done = 0; done < count;) {
      const at = gfn + done, superpage = Math.floor(at / SUPERPAGE_FRAMES);
      const offset = at - superpage * SUPERPAGE_FRAMES;
      const size = Math.min(SUPERPAGE_FRAMES - offset, count - done);
      const entry = first + done * step;
      if (size === SUPERPAGE_FRAMES) {
        this.#superpages[superpage] = entry;
      } else {
        this.#split(superpage);
        this.#setFrames(at, size, entry, step);
      }
      done += size;
    }
    Atomics.add(this.#changes, 0, 1);
  }

  #split(superpage: number): void {
    const entry = this.#superpages[superpage];
    if (entry === SPLIT) return;
    const step = isCounting(entry) ? 1 : 0;
    this.#setFrames(superpage * SUPERPAGE_FRAMES, SUPERPAGE_FRAMES, entry, step);
    this.#superpages[superpage] = SPLIT;
  }

  /** Within one superpage. */
  #setFrames(gfn: number, count: number, first: number, step: number): void {
    const block = this.#block(gfn), at = gfn % BLOCK_GFNS;
    for (let index = 0; index < count; index++) block[at + index] = first + index * step;
  }

  /** The frames' entries that the one of `gfn` is among. */
  #block(gfn: number): Uint32Array {
    const index = Math.floor(gfn / BLOCK_GFNS), bytes = BLOCK_GFNS * 4;
    return this.#blocks[index] ??= new Uint32Array(
      viewAt(this.address + BigInt(SUPERPAGES * 4 + index * bytes), bytes),
    );
  }
}

/** Memory for a domain's p2m: address space for every gfn, pages only where something is mapped. @throws {LinuxError} */
export function p2mMemory(): Mapping {
  return Mapping.anonymous(P2M_BYTES, "p2m");
}
