/** Where a guest's memory lies in this process, kept until the p2m changes: what is looked up once is not again. */

import { PAGE_SIZE, SUPERPAGE_FRAMES } from "./address.ts";
import type { BankViews } from "./bank.ts";
import type { MemoryViews } from "./memory_views.ts";
import { type P2m, P2M_TYPE, p2mMfn, p2mType } from "./p2m.ts";

/** Guest-physical [first, end) lies together in a bank. */
export class LocatedRun {
  first = 0;
  end = 0;
  /** How often the p2m had changed when this was looked up. */
  changes = -1;
  /** The bank, and where in it the run begins. */
  memory!: MemoryViews;
  offset = 0;
}

/** Runs at a time, by the superpage that they are in: 1 GiB, if memory is in one piece. A power of two. */
const RUNS = 512;
const SUPERPAGE_BYTES = SUPERPAGE_FRAMES * PAGE_SIZE;

/**
 * Runs of RAM that can be written to, each within a superpage. Without this, a disk's back end spends half of its time
 * with the p2m (tools/bench/block_backend.ts).
 */
export class LocatedRuns {
  readonly #runs: (LocatedRun | undefined)[] = new Array(RUNS).fill(undefined);
  readonly #gfns = { first: 0, end: 0 };

  constructor(private readonly p2m: P2m, private readonly banks: BankViews) {}

  /** The run that any number taken as an address lies in; undefined: it is none, or other memory than such RAM. */
  find(address: number): LocatedRun | undefined {
    const { changes } = this.p2m, index = (address / SUPERPAGE_BYTES) & (RUNS - 1);
    const run = this.#runs[index] ??= new LocatedRun();
    if (address >= run.first && address < run.end && run.changes === changes) return run;
    return this.#lookUp(address, run, changes) ? run : undefined;
  }

  /** How many of `sizeBytes` bytes from `address` on, which is in `run`, lie together. Afterwards the run may be another. */
  follow(run: LocatedRun, address: number, sizeBytes: number): number {
    const { memory } = run, shift = run.offset - run.first;
    for (let { end } = run;;) {
      if (end - address >= sizeBytes) return sizeBytes;
      const next = this.find(end);
      if (next === undefined || next.memory !== memory || next.offset - next.first !== shift) return end - address;
      end = next.end;
    }
  }

  #lookUp(address: number, run: LocatedRun, changes: number): boolean {
    const gfn = Math.floor(address / PAGE_SIZE), entry = this.p2m.lookup(gfn), mfn = p2mMfn(entry), { banks } = this;
    const bank = p2mType(entry) === P2M_TYPE.RAM_RW ? banks.find(mfn) : -1;
    if (bank < 0 || !banks.hasDirectmap(bank)) return false;
    const gfns = this.#gfns, bankGfn = gfn - (mfn - banks.firstMfn(bank));
    this.p2m.runAround(gfn, gfns);
    const first = Math.max(gfns.first, bankGfn), end = Math.min(gfns.end, bankGfn + banks.frames(bank));
    run.first = first * PAGE_SIZE;
    run.end = end * PAGE_SIZE;
    run.changes = changes;
    run.memory = banks.memory(bank);
    run.offset = banks.offset(bank, mfn - (gfn - first));
    return true;
  }
}
