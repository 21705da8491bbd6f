/** Lists of machine frames cut into runs, and a record of the runs that each area of an arena shows. */

import type { Mfn } from "./address.ts";
import type { Bank, MachineMemory } from "./bank.ts";
import { PAGE_WORDS } from "./vmap_space.ts";

/** Frames in a row that one mmap(2) call shows; without a bank, zeroes that nobody else sees. */
export interface Run {
  readonly bank: Bank | null;
  readonly mfn: number;
  readonly pages: number;
}

/** The fewest runs that show `mfns` in their order. @throws {RangeError} no mfns, or one that is in no bank */
export function runsOf(machine: MachineMemory, mfns: readonly Mfn[]): Run[] {
  if (mfns.length === 0) throw new RangeError("a list of no machine frames cannot be mapped");
  const runs: Run[] = [];
  for (let index = 0; index < mfns.length;) {
    const mfn = mfns[index], bank = bankOf(machine, mfn);
    const most = Math.min(mfns.length - index, bank.firstMfn + bank.frames - mfn);
    let pages = 1;
    while (pages < most && mfns[index + pages] === mfn + pages) pages++;
    runs.push({ bank, mfn, pages });
    index += pages;
  }
  return runs;
}

/** The same for the `count` frames from `first` on: more than one run where banks are neighbours. */
export function contiguousRuns(machine: MachineMemory, first: Mfn, count: number): Run[] {
  if (!(Number.isInteger(count) && count > 0)) throw new RangeError(`${count} machine frames cannot be mapped`);
  const runs: Run[] = [];
  for (let done = 0; done < count;) {
    const mfn = first + done, bank = bankOf(machine, mfn);
    const pages = Math.min(count - done, bank.firstMfn + bank.frames - mfn);
    runs.push({ bank, mfn, pages });
    done += pages;
  }
  return runs;
}

function bankOf(machine: MachineMemory, mfn: number): Bank {
  const bank = machine.bankOf(mfn);
  if (bank === undefined) throw new RangeError(`mfn 0x${mfn.toString(16)} is in no bank`);
  return bank;
}

/** The words of a run's first page: its first mfn, its pages, the serial number of its bank (0: none). */
const MFN = 0, PAGES = 1, BANK = 2;

/** What is shown at each page of an arena. It keeps no bank alive, and an area costs the garbage collector nothing. */
export class RunRecord {
  /** @param words {@linkcode PAGE_WORDS} a page */
  constructor(private readonly machine: MachineMemory, private readonly words: Int32Array) {}

  /** Notes what is shown from page `first` on. */
  write(first: number, { bank, mfn, pages }: Run): void {
    const word = first * PAGE_WORDS;
    this.words[word + MFN] = mfn;
    this.words[word + PAGES] = pages;
    this.words[word + BANK] = bank === null ? 0 : bank.serial;
  }

  /** How many runs were noted for the pages [first, end). */
  count(first: number, end: number): number {
    let runs = 0;
    for (; first < end; first += this.words[first * PAGE_WORDS + PAGES]) runs++;
    return runs;
  }

  /** What was noted for the pages [first, end); a bank that is gone by now has become none. */
  read(first: number, end: number): Run[] {
    const runs: Run[] = [];
    while (first < end) {
      const mfn = this.words[first * PAGE_WORDS + MFN], pages = this.words[first * PAGE_WORDS + PAGES];
      const bank = this.machine.bankOf(mfn);
      runs.push({ bank: bank?.serial === this.words[first * PAGE_WORDS + BANK] ? bank : null, mfn, pages });
      first += pages;
    }
    return runs;
  }
}
