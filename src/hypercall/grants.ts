/** Grants in use: an entry of the grant table, which its guest may change at any moment, becomes a frame that is held. */

import type { GrantTable } from "../memory/grant_table.ts";
import { PIN_FULL, PIN_READ, PIN_WRITE, PIN_WRITE_MASK } from "../memory/grant_table.ts";
import type { Caller } from "./domains.ts";
import { GNTST, GRANT_ENTRY_V1, GRANT_ENTRY_V2, GTF } from "./abi/grant_table.ts";
import { PAGE_SIZE } from "../memory/address.ts";

/** Frames of the domain as grants need them (src/memory/placed_frames.ts). */
export interface GrantFrames {
  /** The frame of a gfn, with a reference to it; -1: it is no memory, or may not be written to. */
  getFrame(gfn: number, writing: boolean): number;
  /** One reference more. @returns false there are too many */
  holdFrame(mfn: number): boolean;
  putFrame(mfn: number): void;
  /** Has a frame appear at a gfn. @returns 0 or an error number */
  mapGrant(gfn: number, mfn: number, readOnly: boolean): number;
  unmapGrant(gfn: number, mfn: number): number;
  copy(from: number, fromOffset: number, to: number, toOffset: number, bytes: number): void;
  /** What stands at a gfn goes. @returns 0 or an error number */
  remove(gfn: number): number;
  owns(mfn: number): boolean;
  /** Whether the last operation gave RAM back. */
  readonly gaveBack: boolean;
}

/** The domain as its guest's grants see it. */
export interface GrantDomain extends Caller {
  readonly grantTable: GrantTable;
  readonly grants: Grants;
  readonly grantFrames: GrantFrames;
  /** The run has ended: long lists need not be. */
  readonly isEnding: boolean;
}

/** How often an entry is read again that changes while we mark it: a guest must not keep us here. */
const ATTEMPTS = 5;

/** The grants of one table. The grant lock is held. */
export class Grants {
  constructor(private readonly table: GrantTable, private readonly frames: GrantFrames) {}

  /**
   * Takes a granted frame into use, for a mapping of all of it or for a copy.
   * @param domid who wants it @returns GNTST_okay, or why not; {@linkcode release} has to follow
   */
  acquire(ref: number, domid: number, readOnly: boolean, whole: boolean): number {
    const { table } = this;
    if (ref >= table.entries) return GNTST.bad_gntref;
    const pin = table.pin(ref);
    const isOthers = pin !== 0 && (table.domid(ref) !== domid || (whole && table.isSubPage(ref)));
    if (isOthers || (pin & PIN_FULL) !== 0) return GNTST.general_error;
    const isNew = pin === 0, upgrades = !readOnly && (pin & PIN_WRITE_MASK) === 0;
    if (isNew || upgrades) {
      const flags = this.#mark(ref, domid, readOnly, whole);
      if (flags < 0) return GNTST.general_error;
      const status = isNew ? this.#take(ref, domid, flags, readOnly) : this.#hold(ref);
      if (status !== GNTST.okay) {
        this.#unmark(ref, readOnly);
        return status;
      }
    } else if (!this.frames.holdFrame(table.mfn(ref))) {
      return GNTST.general_error;
    }
    table.setPin(ref, pin + (readOnly ? PIN_READ : PIN_WRITE));
    return GNTST.okay;
  }

  /** The end of {@linkcode acquire}. */
  release(ref: number, readOnly: boolean): void {
    const { table } = this;
    table.setPin(ref, table.pin(ref) - (readOnly ? PIN_READ : PIN_WRITE));
    this.#unmark(ref, readOnly);
    this.frames.putFrame(table.mfn(ref));
  }

  #hold(ref: number): number {
    return this.frames.holdFrame(this.table.mfn(ref)) ? GNTST.okay : GNTST.general_error;
  }

  /** The entry's frame, read once. */
  #take(ref: number, domid: number, flags: number, readOnly: boolean): number {
    const { table, frames } = this, words = table.shared, at = table.headerAt(ref);
    const isV1 = table.version === 1, isSubPage = !isV1 && (flags & GTF.sub_page) !== 0;
    // A transitive grant goes on to another domain's: there is none whose grants we could use.
    if (!isV1 && (flags & GTF.type_mask) === GTF.transitive) return GNTST.general_error;
    const frame = at + (isV1 ? GRANT_ENTRY_V1.frame : GRANT_ENTRY_V2["full_page.frame"]) / 4;
    const low = Atomics.load(words, frame) >>> 0, high = isV1 ? 0 : Atomics.load(words, frame + 1) >>> 0;
    const part = isSubPage ? Atomics.load(words, at + GRANT_ENTRY_V2["sub_page.page_off"] / 4) : PAGE_SIZE << 16;
    const mfn = frames.getFrame(low + high * 2 ** 32, !readOnly);
    if (mfn < 0) return GNTST.bad_page;
    table.activate(ref, domid, mfn, part & 0xffff, part >>> 16, isSubPage);
    return GNTST.okay;
  }

  /** Says in the entry, or in its status, that it is in use. @returns its flags, or -1: it does not grant that */
  #mark(ref: number, domid: number, readOnly: boolean, whole: boolean): number {
    const { table } = this, words = table.shared, at = table.headerAt(ref);
    const bits = readOnly ? GTF.reading : GTF.reading | GTF.writing;
    let header = Atomics.load(words, at);
    if (table.version === 2) {
      if (!this.#grants(ref, header, domid, readOnly, whole)) return -1;
      table.setStatusBits(ref, bits);
      header = Atomics.load(words, at); // the guest has seen the status by now, or we see what it has changed
      if (this.#grants(ref, header, domid, readOnly, whole)) return header & 0xffff;
      this.#unmark(ref, readOnly);
      return -1;
    }
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (!this.#grants(ref, header, domid, readOnly, whole)) return -1;
      const found = Atomics.compareExchange(words, at, header, header | bits);
      if (found === header) return header & 0xffff;
      header = found;
    }
    return -1;
  }

  /** Whether an entry's flags and domid grant an access; of one that is in use its rights alone count. */
  #grants(ref: number, header: number, domid: number, readOnly: boolean, whole: boolean): boolean {
    const flags = header & 0xffff;
    if (!readOnly && (flags & GTF.readonly) !== 0) return false;
    if (this.table.pin(ref) !== 0) return true;
    const type = flags & (whole ? GTF.type_mask | GTF.sub_page : GTF.type_mask);
    const isAccess = type === GTF.permit_access || (this.table.version === 2 && type === GTF.transitive);
    return isAccess && header >>> 16 === domid;
  }

  #unmark(ref: number, readOnly: boolean): void {
    const pin = this.table.pin(ref), isWritten = (pin & PIN_WRITE_MASK) !== 0;
    const bits = (pin === 0 ? GTF.reading : 0) | (!readOnly && !isWritten ? GTF.writing : 0);
    if (bits !== 0) this.table.clearStatusBits(ref, bits);
  }
}
