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
  /** The bank, and what an address is more than the offset in it; negative too. */
  memory!: MemoryViews;
  shift = 0;
}

/** Runs at a time, by the superpage that they are in: 1 GiB, if memory is in one piece. A power of two. */
const RUNS = 512;
const NOTHING = new LocatedRun();
const SUPERPAGE_BYTES = SUPERPAGE_FRAMES * PAGE_SIZE;

/**
 * Runs of RAM that can be written to, each within a superpage. Without this, a disk's back end spends half of its time
 * with the p2m (tools/bench/block_backend.ts).
 */
export class LocatedRuns {
  readonly #runs: LocatedRun[] = new Array(RUNS).fill(NOTHING);
  readonly #gfns = { first: 0, end: 0 };

  constructor(private readonly p2m: P2m, private readonly banks: BankViews) {}

  /** The run that any number taken as an address lies in; undefined: it is none, or other memory than such RAM. */
  find(address: number): LocatedRun | undefined {
    const run = this.#runs[(address / SUPERPAGE_BYTES) & (RUNS - 1)];
    const isGood = address >= run.first && address < run.end && run.changes === this.p2m.changes;
    return isGood ? run : this.#lookUp(address);
  }

  /** How many of `sizeBytes` bytes from `address` on, which is in `run`, lie together. Afterwards the run may be another. */
  follow(run: LocatedRun, address: number, sizeBytes: number): number {
    const { memory, shift } = run;
    for (let { end } = run;;) {
      if (end - address >= sizeBytes) return sizeBytes;
      const next = this.find(end);
      if (next === undefined || next.memory !== memory || next.shift !== shift) return end - address;
      end = next.end;
    }
  }

  #lookUp(address: number): LocatedRun | undefined {
    const { p2m, banks } = this, { changes } = p2m; // first: what changes meanwhile is looked up again
    const gfn = Math.floor(address / PAGE_SIZE), entry = p2m.lookup(gfn), mfn = p2mMfn(entry);
    const bank = p2mType(entry) === P2M_TYPE.RAM_RW ? banks.find(mfn) : -1;
    if (bank < 0 || !banks.hasDirectmap(bank)) return undefined;
    const gfns = this.#gfns,
      bankGfn = gfn - (mfn - banks.firstMfn(bank)),
      index = (gfn / SUPERPAGE_FRAMES) & (RUNS - 1);
    p2m.runAround(gfn, gfns);
    const run = this.#runs[index] === NOTHING ? this.#runs[index] = new LocatedRun() : this.#runs[index];
    run.first = Math.max(gfns.first, bankGfn) * PAGE_SIZE;
    run.end = Math.min(gfns.end, bankGfn + banks.frames(bank)) * PAGE_SIZE;
    run.changes = changes;
    run.memory = banks.memory(bank);
    run.shift = bankGfn * PAGE_SIZE;
    return run;
  }
}
