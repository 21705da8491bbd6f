/**
 * Banks: the machine's memory. A bank of ours is one sealed memory file, mapped once and whole (the directmap). A foreign
 * bank is somebody else's file: it has machine frames, but nobody here looks at them.
 */

import type { Descriptor } from "../linux/descriptor.ts";
import { Mapping, viewAt } from "../linux/mapping.ts";
import { MemoryFile, requireFixed } from "../linux/memory_file.ts";
import { type Mfn, PAGE_SIZE, roundUp, SUPERPAGE_FRAMES } from "./address.ts";
import { FrameTable } from "./frame_table.ts";
import { MemoryViews } from "./memory_views.ts";

/** Machine memory is exhausted: too many banks, or more frames than mfns can number. */
export class MachineMemoryError extends Error {
  static {
    this.prototype.name = "MachineMemoryError";
  }
}

/** An mfn has 28 bits in a p2m entry: 1 TiB of machine memory. */
export const MAX_MFN = 2 ** 28;

const MAX_BANKS = 256;
/**
 * A bank in the shared table, as doubles (addresses have 47 bits): first mfn, frames (0: free), address of the directmap
 * (0: there is none) and of the frame table, the file's descriptor.
 */
const FIRST_MFN = 0, FRAMES = 1, DIRECTMAP = 2, FRAME_TABLE = 3, DESCRIPTOR = 4, FIELDS = 8;

/** Size of the shared table of banks. */
export const BANK_TABLE_BYTES = MAX_BANKS * FIELDS * 8;

/** Contiguous machine frames with one owner. Disposing it gives the memory back, references or not. */
export class Bank implements Disposable {
  /** @param firstMfn aligned to a superpage */
  constructor(
    readonly file: Descriptor,
    private readonly mapping: Mapping | undefined,
    readonly frameTable: FrameTable,
    private readonly frameTableMemory: Mapping,
    readonly firstMfn: Mfn,
    readonly frames: number,
    /** The domain whose memory it is. */
    readonly owner: number,
    /** From 1 on; no two banks of a machine ever have the same, while mfns are used again. */
    readonly serial: number,
    private readonly release: (bank: Bank) => void,
  ) {}

  /** The memory. @throws {RangeError} a foreign bank has no directmap */
  get directmap(): Mapping {
    if (this.mapping === undefined) throw new RangeError(`${this.file.subject} has no directmap`);
    return this.mapping;
  }

  /** A second time does nothing: its mfns and its place in the table may be another bank's by then. */
  [Symbol.dispose](): void {
    this.release(this);
    this.frameTableMemory[Symbol.dispose]();
    this.mapping?.[Symbol.dispose]();
    this.file[Symbol.dispose]();
  }
}

/** Allocates banks. There is one a process, or one a VM that shares with nobody. */
export class MachineMemory implements Disposable {
  readonly #table = Mapping.anonymous(roundUp(BANK_TABLE_BYTES, PAGE_SIZE), "table of banks");
  readonly #entries = new Float64Array(this.#table.buffer);
  readonly #banks = new Set<Bank>();
  readonly #bySlot: (Bank | undefined)[] = [];
  /** For each superpage of mfns the slot of its bank plus one, or 0: no bank begins in the middle of one. */
  readonly #slots = new Uint16Array(MAX_MFN / SUPERPAGE_FRAMES);
  #serial = 0;

  /** Where other isolates find the table: see {@linkcode BankViews}. */
  get tableAddress(): bigint {
    return this.#table.address;
  }

  /** Banks in use. */
  get banks(): number {
    return this.#banks.size;
  }

  /** References that anybody holds to frames of any bank. */
  get references(): number {
    let sum = 0;
    for (const bank of this.#banks) sum += bank.frameTable.references;
    return sum;
  }

  /** The bank that holds `mfn`; none for any other number. */
  bankOf(mfn: number): Bank | undefined {
    const bank = this.#bySlot[this.#slots[Math.floor(mfn / SUPERPAGE_FRAMES)] - 1];
    return bank !== undefined && mfn < bank.firstMfn + bank.frames && Number.isInteger(mfn) ? bank : undefined;
  }

  /** New zeroed memory. @param name for /proc/PID/maps. @throws {LinuxError} @throws {MachineMemoryError} */
  allocate(name: string, frames: number, owner: number): Bank {
    using stack = new DisposableStack();
    const file = stack.use(MemoryFile.create(name, frames * PAGE_SIZE));
    const directmap = stack.use(Mapping.file(file, frames * PAGE_SIZE));
    const bank = this.#create(file, directmap, frames, owner);
    stack.move();
    return bank;
  }

  /**
   * Somebody else's memory as machine frames.
   * @param file from now on the bank's, unless this throws
   * @throws {LinuxError} EINVAL it can shrink, is smaller, or of other pages than ours @throws {MachineMemoryError}
   */
  adopt(file: Descriptor, frames: number, owner: number): Bank {
    requireFixed(file, frames * PAGE_SIZE);
    return this.#create(file, undefined, frames, owner);
  }

  #create(file: Descriptor, directmap: Mapping | undefined, frames: number, owner: number): Bank {
    const slot = this.#freeSlot(), firstMfn = this.#freeRun(frames);
    const tableBytes = roundUp(FrameTable.sizeBytes(frames), PAGE_SIZE);
    const tableMemory = Mapping.anonymous(tableBytes, "frame table");
    const table = new FrameTable(tableMemory.buffer, firstMfn, frames), serial = ++this.#serial;
    const bank = new Bank(file, directmap, table, tableMemory, firstMfn, frames, owner, serial, (gone) => {
      if (!this.#banks.delete(gone)) return;
      this.#entries[slot * FIELDS + FRAMES] = 0;
      this.#enter(undefined, slot, firstMfn, frames);
    });
    this.#entries.set(
      [firstMfn, 0, Number(directmap?.address ?? 0n), Number(tableMemory.address), file.number],
      slot * FIELDS,
    );
    this.#entries[slot * FIELDS + FRAMES] = frames;
    this.#banks.add(bank);
    this.#enter(bank, slot, firstMfn, frames);
    return bank;
  }

  /** Makes {@linkcode bankOf} answer `bank` for its mfns. */
  #enter(bank: Bank | undefined, slot: number, firstMfn: Mfn, frames: number): void {
    const first = firstMfn / SUPERPAGE_FRAMES, end = Math.ceil((firstMfn + frames) / SUPERPAGE_FRAMES);
    this.#slots.fill(bank === undefined ? 0 : slot + 1, first, end);
    this.#bySlot[slot] = bank;
  }

  #freeSlot(): number {
    for (let slot = 0; slot < MAX_BANKS; slot++) if (this.#entries[slot * FIELDS + FRAMES] === 0) return slot;
    throw new MachineMemoryError(`more than ${MAX_BANKS} banks of machine memory`);
  }

  /** The lowest superpage-aligned run of unused mfns; mfn 0 stays unused, as a frame that is never anybody's. */
  #freeRun(frames: number): Mfn {
    let first = SUPERPAGE_FRAMES;
    for (const bank of [...this.#banks].sort((one, other) => one.firstMfn - other.firstMfn)) {
      if (first + frames <= bank.firstMfn) break;
      first = roundUp(bank.firstMfn + bank.frames, SUPERPAGE_FRAMES);
    }
    if (first + frames <= MAX_MFN) return first as Mfn;
    throw new MachineMemoryError(`${frames} frames are more than what is left of ${MAX_MFN} machine frames`);
  }

  [Symbol.dispose](): void {
    for (const bank of [...this.#banks]) bank[Symbol.dispose]();
    this.#table[Symbol.dispose]();
  }
}

/** The directmap of every bank as one isolate sees it: views are made at a bank's first use and kept. */
export class BankViews {
  readonly #table: Float64Array;
  /** Where the last one was: the next is mostly there, too. */
  #found = 0;
  readonly #views: (Uint8Array<ArrayBuffer> | undefined)[] = [];
  readonly #wordViews: (Int32Array<ArrayBuffer> | undefined)[] = [];
  readonly #memories: (MemoryViews | undefined)[] = [];
  readonly #viewed = new Float64Array(MAX_BANKS);
  readonly #frameTables: FrameTable[] = [];
  readonly #tabled = new Float64Array(MAX_BANKS);

  /** @param tableAddress {@linkcode MachineMemory.tableAddress} */
  constructor(tableAddress: bigint) {
    this.#table = new Float64Array(viewAt(tableAddress, BANK_TABLE_BYTES));
  }

  /** The index of the bank that holds `mfn`, or -1. */
  find(mfn: number): number {
    if (this.#holds(this.#found, mfn)) return this.#found;
    for (let bank = 0; bank < MAX_BANKS; bank++) if (this.#holds(bank, mfn)) return this.#found = bank;
    return -1;
  }

  #holds(bank: number, mfn: number): boolean {
    const offset = mfn - this.#table[bank * FIELDS + FIRST_MFN];
    return offset >= 0 && offset < this.#table[bank * FIELDS + FRAMES];
  }

  /** Whether the bank is ours, and may be looked at. */
  hasDirectmap(bank: number): boolean {
    return this.#table[bank * FIELDS + DIRECTMAP] !== 0;
  }

  /** Its file's descriptor. */
  descriptor(bank: number): number {
    return this.#table[bank * FIELDS + DESCRIPTOR];
  }

  firstMfn(bank: number): Mfn {
    return this.#table[bank * FIELDS + FIRST_MFN] as Mfn;
  }

  frames(bank: number): number {
    return this.#table[bank * FIELDS + FRAMES];
  }

  /** Who refers to its frames. */
  frameTable(bank: number): FrameTable {
    const address = this.#table[bank * FIELDS + FRAME_TABLE];
    if (this.#tabled[bank] !== address) {
      const frames = this.frames(bank), memory = viewAt(BigInt(address), FrameTable.sizeBytes(frames));
      this.#frameTables[bank] = new FrameTable(memory, this.firstMfn(bank), frames);
      this.#tabled[bank] = address;
    }
    return this.#frameTables[bank];
  }

  /** The whole directmap of a bank. */
  bytes(bank: number): Uint8Array<ArrayBuffer> {
    const address = this.#table[bank * FIELDS + DIRECTMAP];
    const sizeBytes = this.#table[bank * FIELDS + FRAMES] * PAGE_SIZE;
    let view = this.#views[bank];
    if (view === undefined || this.#viewed[bank] !== address || view.length !== sizeBytes) {
      view = new Uint8Array(viewAt(BigInt(address), sizeBytes));
      this.#views[bank] = view;
      this.#viewed[bank] = address;
    }
    return view;
  }

  /** Its first byte's address. */
  directmap(bank: number): number {
    return this.#table[bank * FIELDS + DIRECTMAP];
  }

  /** The same, for those who are told where in it to look. */
  memory(bank: number): MemoryViews {
    const { buffer } = this.bytes(bank);
    const views = this.#memories[bank];
    return views?.bytes.buffer === buffer
      ? views
      : this.#memories[bank] = new MemoryViews(buffer, this.directmap(bank));
  }

  /** The same in words. */
  words(bank: number): Int32Array<ArrayBuffer> {
    const { buffer } = this.bytes(bank);
    const view = this.#wordViews[bank];
    return view?.buffer === buffer ? view : this.#wordViews[bank] = new Int32Array(buffer);
  }

  /** Where a frame of `bank` begins in {@linkcode bytes}. */
  offset(bank: number, mfn: number): number {
    return (mfn - this.#table[bank * FIELDS + FIRST_MFN]) * PAGE_SIZE;
  }
}
