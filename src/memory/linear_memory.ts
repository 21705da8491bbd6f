/** A guest's memory by linear addresses: the walk through its page tables that its processor would make. */

import { PAGE_SIZE } from "./address.ts";
import type { BankViews } from "./bank.ts";
import type { GuestMemory } from "./guest_memory.ts";

/** What of a vCPU decides how linear addresses are translated: low halves of its registers, and the high one of CR3. */
export interface PagingMode {
  readonly cr0: number;
  readonly cr3: number;
  readonly cr3High: number;
  readonly cr4: number;
  readonly efer: number;
  /** For EFLAGS.AC, which suspends SMAP. */
  readonly rflags: number;
}

const CR0_WP = 1 << 16, CR0_PG = 1 << 31, CR4_PSE = 1 << 4, CR4_PAE = 1 << 5, CR4_LA57 = 1 << 12, CR4_SMAP = 1 << 21;
const EFER_LMA = 1 << 10, RFLAGS_AC = 1 << 18;
const PRESENT = 1, WRITABLE = 2, USER = 4, ACCESSED = 1 << 5, DIRTY = 1 << 6, LARGE = 1 << 7;

/** Of the high half of a 64-bit entry: bits 32 to 51 of the address. */
const ADDRESS_HIGH = 0xf_ffff;

/** Copies of so many bytes are made byte by byte: a view of them would be made anew for each. */
const SHORT = 64;

/**
 * Reads and writes at supervisor's privilege, by linear addresses in two halves of 32 bits. Accessed and dirty bits are
 * set as the processor sets them. Nothing here allocates, but copies of more than 64 bytes.
 */
export class LinearMemory {
  #mode: PagingMode = { cr0: 0, cr3: 0, cr3High: 0, cr4: 0, efer: 0, rflags: 0 };
  // The entry that was read last, and where it stands.
  #low = 0;
  #high = 0;
  #words: Int32Array | undefined;
  #index = 0;

  constructor(private readonly memory: GuestMemory, private readonly banks: BankViews) {}

  /** How addresses are translated from now on; `mode` may change under it. */
  use(mode: PagingMode): void {
    this.#mode = mode;
  }

  /** Fills `bytes` bytes of `target` from `at` on. @returns how many, up to the first page that is not there */
  read(low: number, high: number, target: Uint8Array, at: number, bytes: number): number {
    return this.#copy(low, high, target, at, bytes, false);
  }

  /** Stores them. @returns how many, up to the first page that is not there, or must not be written to */
  write(low: number, high: number, source: Uint8Array, at: number, bytes: number): number {
    return this.#copy(low, high, source, at, bytes, true);
  }

  /** The guest-physical address of a linear one, or -1: not canonical, not mapped, or not for a supervisor's access. */
  translate(low: number, high: number, write: boolean): number {
    const { cr0, cr3, cr3High, cr4, efer } = this.#mode;
    if ((cr0 & CR0_PG) === 0) return high === 0 ? low : -1;
    if ((efer & EFER_LMA) !== 0) {
      const levels = (cr4 & CR4_LA57) !== 0 ? 5 : 4, sign = (high | 0) >> (levels === 5 ? 24 : 15);
      return sign === 0 || sign === -1 ? this.#walk(low, high, levels, cr3, cr3High & ADDRESS_HIGH, write) : -1;
    }
    if (high !== 0) return -1;
    if ((cr4 & CR4_PAE) === 0) return this.#walkOfTwo(low, cr3, write);
    if (!this.#fetch((cr3 & ~31) >>> 0, 0, low >>> 30, 8) || (this.#low & PRESENT) === 0) return -1;
    return this.#walk(low, 0, 2, this.#low, this.#high & ADDRESS_HIGH, write);
  }

  /** Tables of 64-bit entries, from one at `level` on. */
  #walk(low: number, high: number, level: number, table: number, tableHigh: number, write: boolean): number {
    let rights = WRITABLE | USER;
    for (let at = table, atHigh = tableHigh;; level--) {
      if (!this.#fetch((at & ~0xfff) >>> 0, atHigh, indexOf(low, high, level), 8)) return -1;
      if ((this.#low & PRESENT) === 0) return -1;
      rights &= this.#low;
      const isLeaf = level === 1 || (level <= 3 && (this.#low & LARGE) !== 0);
      if (isLeaf && !this.#permits(rights, write)) return -1;
      this.#touch(isLeaf && write);
      at = this.#low;
      atHigh = this.#high & ADDRESS_HIGH;
      if (!isLeaf) continue;
      const inside = level === 1 ? 0xfff : level === 2 ? 0x1f_ffff : 0x3fff_ffff;
      return atHigh * 2 ** 32 + ((at & ~inside) >>> 0) + (low & inside);
    }
  }

  /** Tables of 32-bit entries. */
  #walkOfTwo(low: number, cr3: number, write: boolean): number {
    if (!this.#fetch((cr3 & ~0xfff) >>> 0, 0, low >>> 22, 4) || (this.#low & PRESENT) === 0) return -1;
    const rights = this.#low;
    if ((rights & LARGE) !== 0 && (this.#mode.cr4 & CR4_PSE) !== 0) {
      if (!this.#permits(rights, write)) return -1;
      this.#touch(write);
      return ((rights >>> 13) & 0xff) * 2 ** 32 + ((rights & 0xffc0_0000) >>> 0) + (low & 0x3f_ffff); // PSE-36
    }
    this.#touch(false);
    if (!this.#fetch((rights & ~0xfff) >>> 0, 0, (low >>> 12) & 1023, 4) || (this.#low & PRESENT) === 0) return -1;
    if (!this.#permits(rights & this.#low, write)) return -1;
    this.#touch(write);
    return ((this.#low & ~0xfff) >>> 0) + (low & 0xfff);
  }

  #permits(rights: number, write: boolean): boolean {
    const { cr0, cr4, rflags } = this.#mode;
    if (write && (rights & WRITABLE) === 0 && (cr0 & CR0_WP) !== 0) return false;
    return (rights & USER) === 0 || (cr4 & CR4_SMAP) === 0 || (rflags & RFLAGS_AC) !== 0;
  }

  /** Reads an entry of a table. @returns whether there is memory */
  #fetch(table: number, tableHigh: number, index: number, bytes: 4 | 8): boolean {
    const address = tableHigh * 2 ** 32 + table + index * bytes, gfn = Math.floor(address / PAGE_SIZE);
    const mfn = this.memory.frame(gfn, false);
    if (mfn < 0) return false;
    const bank = this.banks.find(mfn);
    this.#words = this.banks.words(bank);
    this.#index = (this.banks.offset(bank, mfn) + (address - gfn * PAGE_SIZE)) / 4;
    this.#low = Atomics.load(this.#words, this.#index);
    this.#high = bytes === 8 ? Atomics.load(this.#words, this.#index + 1) : 0;
    return true;
  }

  /** Marks the entry that was read last as used. */
  #touch(written: boolean): void {
    const bits = written ? ACCESSED | DIRTY : ACCESSED;
    if ((this.#low & bits) !== bits) Atomics.or(this.#words!, this.#index, bits);
  }

  #copy(low: number, high: number, bytes: Uint8Array, at: number, count: number, write: boolean): number {
    for (let done = 0; done < count;) {
      const sum = low + done, inPage = sum % PAGE_SIZE, size = Math.min(count - done, PAGE_SIZE - inPage);
      const address = this.translate(sum >>> 0, (high + Math.floor(sum / 2 ** 32)) >>> 0, write);
      const mfn = address < 0 ? -1 : this.memory.frame(Math.floor(address / PAGE_SIZE), write);
      if (mfn < 0) return done;
      const bank = this.banks.find(mfn), memory = this.banks.bytes(bank), from = this.banks.offset(bank, mfn) + inPage;
      if (size > SHORT) {
        if (write) memory.set(bytes.subarray(at + done, at + done + size), from);
        else bytes.set(memory.subarray(from, from + size), at + done);
      } else if (write) {
        for (let byte = 0; byte < size; byte++) memory[from + byte] = bytes[at + done + byte];
      } else {
        for (let byte = 0; byte < size; byte++) bytes[at + done + byte] = memory[from + byte];
      }
      done += size;
    }
    return count;
  }
}

/** The index of an address in its table at `level`, 1 being the lowest. */
function indexOf(low: number, high: number, level: number): number {
  switch (level) {
    case 1:
      return (low >>> 12) & 511;
    case 2:
      return (low >>> 21) & 511;
    case 3:
      return ((low >>> 30) | (high << 2)) & 511;
    case 4:
      return (high >>> 7) & 511;
    default:
      return (high >>> 16) & 511;
  }
}
