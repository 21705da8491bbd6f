/** Machine memory with a few banks, a vmap with small arenas, and the means to look at both. */

import { viewAt } from "../../src/linux/mapping.ts";
import { type Mfn, PAGE_SIZE, SUPERPAGE_FRAMES } from "../../src/memory/address.ts";
import { type Bank, MachineMemory } from "../../src/memory/bank.ts";
import { Vmap, type VmapKind } from "../../src/memory/vmap.ts";
import { mappingsIn } from "../linux/process.ts";

/** Pages of the arenas, guard pages included. */
export const ARENA_PAGES = { default: 64, payload: 16 };

/** In place of any frame: zeroes of nobody's. */
export const ZEROES = 0;

export class VmapMachine implements Disposable {
  readonly machine = new MachineMemory();
  /** The first two are neighbours. */
  readonly banks: readonly Bank[] = [SUPERPAGE_FRAMES, 5, 12].map((frames) =>
    this.machine.allocate("vmap-test", frames, 1)
  );
  readonly vmap = new Vmap(this.machine, {
    default: ARENA_PAGES.default * PAGE_SIZE,
    payload: ARENA_PAGES.payload * PAGE_SIZE,
  });

  /** Writes its mfn into each frame of the banks, through the directmap. */
  constructor() {
    for (const { firstMfn, frames } of this.banks) {
      for (let frame = 0; frame < frames; frame++) this.setFrame(firstMfn + frame as Mfn, firstMfn + frame);
    }
  }

  mfn(bank: number, frame: number): Mfn {
    return this.banks[bank].firstMfn + frame as Mfn;
  }

  /** The first word of a frame, through the directmap. */
  frame(mfn: Mfn): number {
    return this.#directmap(mfn)[0];
  }

  setFrame(mfn: Mfn, value: number): void {
    this.#directmap(mfn)[0] = value;
  }

  /** Where an arena begins: its first page is a guard page, if all of it is one area. */
  arenaAddress(kind: VmapKind): bigint {
    const whole = this.vmap.vmapContiguous(this.mfn(0, 0), ARENA_PAGES[kind] - 1, kind);
    this.vmap.vunmap(whole.address);
    return whole.address - BigInt(PAGE_SIZE);
  }

  [Symbol.dispose](): void {
    this.vmap[Symbol.dispose]();
    this.machine[Symbol.dispose]();
  }

  #directmap(mfn: Mfn): Uint32Array {
    const bank = this.machine.bankOf(mfn)!;
    return new Uint32Array(bank.directmap.buffer, (mfn - bank.firstMfn) * PAGE_SIZE, 1);
  }
}

/** The first word of each page: the mfns, if they are those of a {@linkcode VmapMachine}. */
export function firstWords({ address, pages }: { address: bigint; pages: number }): number[] {
  const words = new Uint32Array(viewAt(address, pages * PAGE_SIZE));
  return Array.from({ length: pages }, (_, page) => words[page * PAGE_SIZE / 4]);
}

/** The address of a byte of a page. */
export function pageAddress(address: bigint, page: number, offset = 0): bigint {
  return address + BigInt(page * PAGE_SIZE + offset);
}

/** Whether an arena is address space without access from one end to the other. */
export function isEmpty(arena: bigint, pages: number): boolean {
  return mappingsIn(arena, pages * PAGE_SIZE).every(({ line }) => line.includes(" ---p "));
}
