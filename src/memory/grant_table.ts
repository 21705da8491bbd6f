/**
 * A domain's grant table: the frames that its guest shares with us, and beside them what only we may know, in shared
 * memory: which entries are in use, and as what, and the mappings that the guest has made (Xen: struct grant_table).
 *
 * What an entry means is the hypercall's matter; here are its words.
 */

import { EINVAL } from "../linux/errno.ts";
import { Lock } from "../linux/lock.ts";
import { Mapping, viewAt } from "../linux/mapping.ts";
import { PAGE_SIZE, roundUp } from "./address.ts";
import type { BankViews } from "./bank.ts";
import type { PlacedFrames } from "./placed_frames.ts";
import { MAX_GRANT_FRAMES, SPECIAL_FRAME } from "./special_frames.ts";
import type { StageTable } from "./stage_table.ts";

/** Bytes of an entry, by the table's version, and of its status in version 2. */
const ENTRY_BYTES = { 1: 8, 2: 16 } as const, STATUS_BYTES = 2;
export type GrantVersion = keyof typeof ENTRY_BYTES;

/** As Xen and libxl have them: a new table has one frame; mappings are tracked in at most 1024 frames of 256. */
const FIRST_FRAMES = 1, MAX_ENTRIES = MAX_GRANT_FRAMES * PAGE_SIZE / ENTRY_BYTES[1], MAX_MAPPINGS = 1024 * 256;

/** A frame of status is for as many frames of entries. */
const FRAMES_PER_STATUS_FRAME = ENTRY_BYTES[2] / STATUS_BYTES;

/** Words of the header; a handle plus one, or 0. */
const LOCK = 0, VERSION = 1, FRAMES = 2, FREE_HANDLE = 3, HANDLES = 4;
const HEADER_BYTES = 64, ACTIVE_WORDS = 6, MAPPING_WORDS = 2;
const ACTIVE = HEADER_BYTES, MAPPINGS = ACTIVE + MAX_ENTRIES * ACTIVE_WORDS * 4;
const GRANT_TABLE_BYTES = roundUp(MAPPINGS + MAX_MAPPINGS * MAPPING_WORDS * 4, PAGE_SIZE);

/** Words of an active entry (Xen: struct active_grant_entry). */
const PIN = 0, DOMID = 1, MFN = 2, START = 3, LENGTH = 4, SUB_PAGE = 5;
/** Words of a mapping: its flags, 0 while it is none, and the reference; or the next free handle plus one. */
const FLAGS = 0, REF = 1;

/** What of an entry is in use: how often, by whom, and which frame (Xen: GNTPIN_*). */
export const PIN_WRITE = 1, PIN_READ = 0x100, PIN_WRITE_MASK = 0xff, PIN_FULL = 0x8080;

/** The table as one isolate sees it. Everything but {@linkcode lock} is used with the lock held. */
export class GrantTable {
  readonly #words: Int32Array;
  readonly #active: Int32Array;
  readonly #mappings: Int32Array;
  /** Below the grant lock come the slots lock and the p2m lock. */
  readonly lock: Lock;

  /** @param address of {@linkcode grantTableMemory} */
  constructor(address: bigint, private readonly table: StageTable, private readonly banks: BankViews) {
    this.#words = new Int32Array(viewAt(address, HEADER_BYTES));
    this.#active = new Int32Array(viewAt(address + BigInt(ACTIVE), MAX_ENTRIES * ACTIVE_WORDS * 4));
    this.#mappings = new Int32Array(viewAt(address + BigInt(MAPPINGS), MAX_MAPPINGS * MAPPING_WORDS * 4));
    this.lock = new Lock(this.#words, LOCK, address);
  }

  /** 1 or 2. */
  get version(): GrantVersion {
    return this.#words[VERSION] === 2 ? 2 : 1;
  }

  set version(version: GrantVersion) {
    this.#words[VERSION] = version;
  }

  /** Frames that the guest may have in its physical map. */
  get frames(): number {
    return Math.max(FIRST_FRAMES, this.#words[FRAMES]);
  }

  /** Frames of the status of its entries; there are none in version 1. */
  get statusFrames(): number {
    return this.version === 1 ? 0 : statusFramesOf(this.frames);
  }

  /** Entries that there are: references are below. */
  get entries(): number {
    return this.frames * PAGE_SIZE / ENTRY_BYTES[this.version];
  }

  /** Has the table have so many frames; it never shrinks. @returns whether it can have so many */
  grow(frames: number): boolean {
    if (frames > MAX_GRANT_FRAMES) return false;
    if (frames > this.frames) this.#words[FRAMES] = frames;
    return true;
  }

  /** The machine frame of a frame of the table, or of the status, growing for it; -1: there can be none of that index. */
  frameAt(index: number, isStatus: boolean): number {
    if (isStatus) {
      if (this.version === 1) return -1;
      if (index >= this.statusFrames && !this.grow((index + 1) * FRAMES_PER_STATUS_FRAME)) return -1;
      return this.table.specialMfn + SPECIAL_FRAME.STATUS + index;
    }
    return this.grow(index + 1) ? this.table.specialMfn + SPECIAL_FRAME.GRANT + index : -1;
  }

  /** Places one of them (XENMAPSPACE_grant_table); takes the lock. @returns EINVAL there can be none, or as place() */
  place(placed: PlacedFrames, index: number, isStatus: boolean, gfn: number): number {
    return this.lock.hold(() => {
      const mfn = this.frameAt(index, isStatus);
      return mfn < 0 ? EINVAL : placed.place(gfn, mfn);
    });
  }

  /** The gfn at which a frame of the table, or of the status, stands; or -1. */
  gfnOf(index: number, isStatus: boolean): number {
    const first = isStatus ? SPECIAL_FRAME.STATUS : SPECIAL_FRAME.GRANT;
    return this.table.gfnOfSpecial(this.table.specialMfn + first + index);
  }

  // ---- What the guest sees: entries and their status. It changes them at any moment.

  /** All frames of the table, in words; each entry begins with its flags and domid in one (see {@linkcode headerAt}). */
  get shared(): Int32Array<ArrayBuffer> {
    return this.banks.words(this.banks.find(this.table.specialMfn));
  }

  /** Where in {@linkcode shared} an entry begins. */
  headerAt(ref: number): number {
    return (SPECIAL_FRAME.GRANT * PAGE_SIZE + ref * ENTRY_BYTES[this.version]) / 4;
  }

  /** Words of an entry. */
  get entryWords(): number {
    return ENTRY_BYTES[this.version] / 4;
  }

  /** The 16 bits in which we say that an entry is in use: its flags, or in version 2 its status. They are half a word. */
  statusBits(ref: number): number {
    const half = this.#statusHalf(ref);
    return (Atomics.load(this.shared, half >> 1) >>> (half % 2 * 16)) & 0xffff;
  }

  setStatusBits(ref: number, bits: number): void {
    const half = this.#statusHalf(ref);
    Atomics.or(this.shared, half >> 1, bits << (half % 2 * 16));
  }

  clearStatusBits(ref: number, bits: number): void {
    const half = this.#statusHalf(ref);
    Atomics.and(this.shared, half >> 1, ~(bits << (half % 2 * 16)));
  }

  #statusHalf(ref: number): number {
    if (this.version === 1) return this.headerAt(ref) * 2;
    return (SPECIAL_FRAME.STATUS * PAGE_SIZE + ref * STATUS_BYTES) / 2;
  }

  /** Empties all frames: nothing of an older version is left. */
  clear(): void {
    const first = SPECIAL_FRAME.GRANT * PAGE_SIZE / 4, status = SPECIAL_FRAME.STATUS * PAGE_SIZE / 4;
    this.shared.fill(0, first, first + this.frames * PAGE_SIZE / 4);
    this.shared.fill(0, status, status + statusFramesOf(this.frames) * PAGE_SIZE / 4);
  }

  // ---- What only we know: entries in use

  /** How an entry is in use, 0: it is not. */
  pin(ref: number): number {
    return this.#active[ref * ACTIVE_WORDS + PIN];
  }

  setPin(ref: number, pin: number): void {
    this.#active[ref * ACTIVE_WORDS + PIN] = pin;
  }

  /** Whose use it is, and of what. */
  activate(ref: number, domid: number, mfn: number, start: number, length: number, isSubPage: boolean): void {
    const at = ref * ACTIVE_WORDS;
    this.#active[at + DOMID] = domid;
    this.#active[at + MFN] = mfn;
    this.#active[at + START] = start;
    this.#active[at + LENGTH] = length;
    this.#active[at + SUB_PAGE] = isSubPage ? 1 : 0;
  }

  domid(ref: number): number {
    return this.#active[ref * ACTIVE_WORDS + DOMID];
  }

  mfn(ref: number): number {
    return this.#active[ref * ACTIVE_WORDS + MFN];
  }

  /** The part of the frame that is granted. */
  start(ref: number): number {
    return this.#active[ref * ACTIVE_WORDS + START];
  }

  length(ref: number): number {
    return this.#active[ref * ACTIVE_WORDS + LENGTH];
  }

  isSubPage(ref: number): boolean {
    return this.#active[ref * ACTIVE_WORDS + SUB_PAGE] !== 0;
  }

  // ---- Mappings

  /** A handle for a new mapping, or -1: there are as many as can be. */
  newHandle(): number {
    const free = this.#words[FREE_HANDLE];
    if (free !== 0) {
      this.#words[FREE_HANDLE] = this.#mappings[(free - 1) * MAPPING_WORDS + REF];
      return free - 1;
    }
    return this.#words[HANDLES] < MAX_MAPPINGS ? this.#words[HANDLES]++ : -1;
  }

  putHandle(handle: number): void {
    this.setMapping(handle, 0, this.#words[FREE_HANDLE]);
    this.#words[FREE_HANDLE] = handle + 1;
  }

  /** What a handle stands for. @param flags not 0 for a mapping */
  setMapping(handle: number, flags: number, ref: number): void {
    this.#mappings[handle * MAPPING_WORDS + FLAGS] = flags;
    this.#mappings[handle * MAPPING_WORDS + REF] = ref;
  }

  /** The flags of a mapping, 0: a handle of none. */
  mappingFlags(handle: number): number {
    return handle < this.#words[HANDLES] ? this.#mappings[handle * MAPPING_WORDS + FLAGS] : 0;
  }

  mappingRef(handle: number): number {
    return this.#mappings[handle * MAPPING_WORDS + REF];
  }
}

/** Memory for a domain's grant table; what is not touched costs nothing. @throws {LinuxError} */
export function grantTableMemory(): Mapping {
  return Mapping.anonymous(GRANT_TABLE_BYTES, "grant table");
}

/** Status frames of a table of so many frames (of version 2). */
export function statusFramesOf(frames: number): number {
  return Math.ceil(frames / FRAMES_PER_STATUS_FRAME);
}
