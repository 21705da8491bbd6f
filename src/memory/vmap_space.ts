/** Which pages of an arena are taken: boundary tags, and lists of the free blocks by size. */

import { PageSet } from "./vmap_page_set.ts";

/**
 * Words that are kept for each page. At the first page of a block they are its tag: its size and, if it is free, its
 * neighbours in the list of its class. At the other pages of a taken block they are at the disposal of who took it, and
 * at its first page those from {@linkcode LABEL} on.
 */
export const PAGE_WORDS = 3;
const SIZE = 0, NEXT = 1, PREVIOUS = 2;
/** The first of the words of a taken block's tag that are not its size. */
export const LABEL = 1;

/** In place of a block: there is none. */
const NONE = -1;

/** Pages of the largest space: 1 TiB. */
export const MAX_PAGES = 2 ** 28;

const CLASSES = classOf(MAX_PAGES) + 1;

/**
 * The pages [0, pages), every one of which belongs to a block, taken or free; no two neighbours are both free. Taking
 * and giving cost the same however many blocks there are, with one exception (see {@linkcode take}); what is taken
 * depends on nothing but the calls before.
 */
export class VmapSpace {
  /** First pages of all blocks, and of the free ones: a look at a neighbour's tag would be a look into cold memory. */
  readonly #blocks: PageSet;
  readonly #freeBlocks: PageSet;
  /** First free block of each class; {@linkcode #filled} says which there are. */
  readonly #lists = new Int32Array(CLASSES).fill(NONE);
  /** A bit for each class that has a free block. */
  #filled = 0;

  /** All pages are free. @param words {@linkcode PAGE_WORDS} for each page; @param pages 1 to {@linkcode MAX_PAGES} */
  constructor(private readonly words: Int32Array, private readonly pages: number) {
    this.#blocks = new PageSet(pages);
    this.#freeBlocks = new PageSet(pages);
    this.#blocks.add(0);
    this.#link(0, pages);
  }

  /**
   * Takes `pages` pages in a row, from the end of a free block, whose beginning keeps its tag: the first block of their
   * class, or of the next larger one. Only if there is no larger one, all blocks of their class are tried.
   * @returns the first of them, or -1: no free block is as large
   */
  take(pages: number): number {
    const block = this.#find(pages);
    if (block === NONE) return NONE;
    const rest = this.sizeOf(block) - pages, first = block + rest;
    if (rest === 0) this.#unlink(block);
    else this.#resize(block, rest);
    this.words[first * PAGE_WORDS + SIZE] = pages;
    this.#blocks.add(first);
    return first;
  }

  /** Gives back what {@linkcode take} has returned, and joins it with its free neighbours. */
  give(first: number): void {
    let pages = this.sizeOf(first);
    const after = first + pages, before = this.#blocks.atOrBefore(first - 1);
    if (this.#isFree(after)) {
      pages += this.#unlink(after);
      this.#blocks.delete(after);
    }
    if (this.#isFree(before)) {
      this.#blocks.delete(first);
      this.#resize(before, this.sizeOf(before) + pages);
    } else {
      this.#link(first, pages);
    }
  }

  /** The first page of the taken block that holds `page` (any number), or -1. */
  blockOf(page: number): number {
    if (!(page >= 0 && page < this.pages)) return NONE;
    const first = this.#blocks.atOrBefore(page);
    return this.#isFree(first) ? NONE : first;
  }

  /** Whether a taken block begins at `first` (any number). */
  isTaken(first: number): boolean {
    return this.#blocks.has(first) && !this.#isFree(first);
  }

  /** Pages of the block that begins at `first`. */
  sizeOf(first: number): number {
    return this.words[first * PAGE_WORDS + SIZE];
  }

  #isFree(first: number): boolean {
    return this.#freeBlocks.has(first);
  }

  #find(pages: number): number {
    if (pages > this.pages) return NONE;
    const own = classOf(pages), larger = this.#filled & (-2 << own);
    let first = this.#lists[own];
    if (larger !== 0 && (first === NONE || this.sizeOf(first) < pages)) return this.#lists[lowestBit(larger)];
    while (first !== NONE && this.sizeOf(first) < pages) first = this.words[first * PAGE_WORDS + NEXT];
    return first;
  }

  /** Gives a free block another size; while its class is the same, it keeps its place in the list. */
  #resize(first: number, pages: number): void {
    if (classOf(pages) === classOf(this.sizeOf(first))) {
      this.words[first * PAGE_WORDS + SIZE] = pages;
    } else {
      this.#unlink(first);
      this.#link(first, pages);
    }
  }

  /** Makes a block free, first in the list of its class. */
  #link(first: number, pages: number): void {
    const list = classOf(pages), next = this.#lists[list], tag = first * PAGE_WORDS;
    this.#freeBlocks.add(first);
    this.words[tag + SIZE] = pages;
    this.words[tag + NEXT] = next;
    this.words[tag + PREVIOUS] = NONE;
    if (next === NONE) this.#filled |= 1 << list;
    else this.words[next * PAGE_WORDS + PREVIOUS] = first;
    this.#lists[list] = first;
  }

  /** Takes a free block out of its list. @returns its size */
  #unlink(first: number): number {
    const tag = first * PAGE_WORDS, pages = this.sizeOf(first);
    const next = this.words[tag + NEXT], previous = this.words[tag + PREVIOUS];
    this.#freeBlocks.delete(first);
    if (next !== NONE) this.words[next * PAGE_WORDS + PREVIOUS] = previous;
    if (previous !== NONE) {
      this.words[previous * PAGE_WORDS + NEXT] = next;
    } else {
      const list = classOf(pages);
      this.#lists[list] = next;
      if (next === NONE) this.#filled &= ~(1 << list);
    }
    return pages;
  }
}

/** Blocks of 2^n pages, and less than twice as many, are of class n. */
function classOf(pages: number): number {
  return 31 - Math.clz32(pages);
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}
