/** The domain's own memory at run time: populated on demand, given back by the guest's balloon, and got again. */

import { EEXIST, EINVAL, ENOENT } from "../linux/errno.ts";
import { discard, placeShared, punchHole } from "../linux/remap.ts";
import { type Gfn, type Mfn, PAGE_SIZE } from "./address.ts";
import type { BankViews } from "./bank.ts";
import { P2M_TYPE, p2mMfn, p2mType } from "./p2m.ts";
import { isGranted, LOST, type PhysicalMap, SINK } from "./physical_map.ts";
import { AREA, type Area } from "./stage_area.ts";

/**
 * RAM as any isolate changes it. Each gfn of RAM has a frame of its bank that is its own, populated or not; so giving one
 * back is giving its memory back, and it can be had again.
 */
export class GuestRam {
  constructor(private readonly map: PhysicalMap, private readonly banks: BankViews) {}

  /** Frames of RAM that the guest has now (XENMEM_current_reservation); populated on demand counts (as Xen's does). */
  get reservation(): number {
    let frames = 0;
    for (const area of this.map.table.areas) if (area.state === AREA.RAM) frames += area.count;
    return frames - this.map.table.ballooned;
  }

  /**
   * The guest gives pages back (XENMEM_decrease_reservation): from now on they read as ones.
   * @returns how many, from the first on: the first that is no memory of its own ends it
   */
  decrease(gfn: number, count: number): number {
    const { table } = this.map;
    return table.lock.hold(() => {
      let done = 0;
      for (; done < count; done++) if (!this.#giveBack(gfn + done)) break;
      if (done > 0) table.countChange();
      return done;
    });
  }

  /** The guest has pages again (XENMEM_populate_physmap): zeroed. @returns how many, as {@linkcode decrease} */
  populate(gfn: number, count: number): number {
    const { table } = this.map;
    return table.lock.hold(() => {
      let done = 0;
      for (; done < count; done++) if (!this.#getAgain(gfn + done)) break;
      if (done > 0) table.countChange();
      return done;
    });
  }

  /**
   * Shows other frames in place of RAM, of whatever bank (Xen: XENMEM_add_to_physmap over RAM): page by page the guest
   * sees what was there, or this, and its neighbours nothing of it. They are nobody's to look at but the guest's.
   * @returns 0 or an error number: EINVAL not all of it is RAM, or of one bank; ENOMEM; pages before it are done
   */
  replace(gfn: number, count: number, mfn: number): number {
    const { table } = this.map, area = table.areaOf(gfn), bank = this.banks.find(mfn);
    const isRam = area?.state === AREA.RAM && gfn + count <= area.first + area.count;
    if (!isRam || bank < 0 || mfn + count > this.banks.firstMfn(bank) + this.banks.frames(bank)) return EINVAL;
    return table.lock.hold(() => this.map.show(area, gfn, count, bank, mfn, false));
  }

  /** The end of {@linkcode replace}: RAM's own memory is there again, as it was left. @returns as it */
  restore(gfn: number, count: number): number {
    const { table, p2m } = this.map, area = table.areaOf(gfn);
    if (area?.state !== AREA.RAM || gfn + count > area.first + area.count) return EINVAL;
    return table.lock.hold(() => {
      for (let page = gfn; page < gfn + count; page++) {
        if (!isGranted(p2m.lookup(page))) return EINVAL;
        const result = this.#showHome(area, page);
        if (result !== 0) return result;
        this.map.release(page, 1);
        p2m.map(page as Gfn, home(area, page), 1, P2M_TYPE.RAM_RW);
        table.countChange();
      }
      return 0;
    });
  }

  /** The hypervisor writes to pages that may have to be populated first; they must be RAM. */
  touch(gfn: number): void {
    this.map.table.lock.hold(() => this.#populate(this.map.table.areaOf(gfn)!, gfn));
  }

  /** A vCPU waits for a page of RAM. The p2m lock is held. @returns 0 or an error number */
  fault(area: Area, gfn: number, minor: boolean): number {
    const result = this.#resolve(area, gfn, minor);
    if (result !== ENOENT) return result;
    // The page has no registration any more: there was no memory for one, and it is there for whoever looks.
    this.map.userfault.wake(area.hostOf(gfn), PAGE_SIZE);
    return 0;
  }

  #resolve(area: Area, gfn: number, minor: boolean): number {
    const type = p2mType(this.map.p2m.lookup(gfn));
    if (type === P2M_TYPE.INVALID) return this.#showOnes(area, gfn);
    this.#populate(area, gfn);
    if (!minor) {
      const result = this.map.userfault.zero(area.hostOf(gfn), PAGE_SIZE);
      if (result === 0 || result !== -EEXIST) return -result;
    }
    return this.map.supply(area, gfn);
  }

  /** What was given back and is touched reads as ones: by its own frame, so that it costs the host no mapping. */
  #showOnes(area: Area, gfn: number): number {
    const mfn = home(area, gfn), bank = this.banks.find(mfn), at = this.banks.offset(bank, mfn);
    if (this.banks.frameTable(bank).referencesTo(mfn) !== 0) { // somebody else looks at it
      this.map.drown(area, gfn);
      this.map.p2m.map(gfn as Gfn, LOST, 1, P2M_TYPE.INVALID);
      return 0;
    }
    this.banks.bytes(bank).fill(0xff, at, at + PAGE_SIZE);
    this.map.p2m.map(gfn as Gfn, SINK, 1, P2M_TYPE.INVALID);
    return this.map.present(area.hostOf(gfn), PAGE_SIZE, bank, at, false);
  }

  #populate(area: Area, gfn: number): void {
    if (p2mType(this.map.p2m.lookup(gfn)) !== P2M_TYPE.POPULATE_ON_DEMAND) return;
    this.map.p2m.map(gfn as Gfn, home(area, gfn), 1, P2M_TYPE.RAM_RW);
    this.map.table.countPopulated(1);
  }

  /** A frame that somebody else holds loses its place in the guest, and keeps its memory. */
  #giveBack(gfn: number): boolean {
    const { table, p2m } = this.map, area = table.areaOf(gfn);
    if (area?.state !== AREA.RAM || !this.#register(area)) return false;
    const entry = p2m.lookup(gfn), type = p2mType(entry), mfn = home(area, gfn);
    const isOwn = type === P2M_TYPE.RAM_RW && p2mMfn(entry) === mfn;
    if (!isOwn && type !== P2M_TYPE.POPULATE_ON_DEMAND) return false;
    p2m.unmap(gfn as Gfn, 1);
    discard(area.hostOf(gfn), PAGE_SIZE);
    const bank = this.banks.find(mfn);
    if (this.banks.frameTable(bank).referencesTo(mfn) === 0) {
      punchHole(this.banks.descriptor(bank), this.banks.offset(bank, mfn), PAGE_SIZE);
    }
    if (isOwn) table.countPopulated(-1);
    table.countBallooned(1);
    return true;
  }

  /** Without a registration the page is the guest's all the same; only it cannot be given back once more. */
  #showHome(area: Area, gfn: number): number {
    const mfn = home(area, gfn), bank = this.banks.find(mfn), address = area.hostOf(gfn);
    const placed = placeShared(address, PAGE_SIZE, this.banks.descriptor(bank), this.banks.offset(bank, mfn));
    if (placed === 0 && area.registered) this.map.userfault.register(address, PAGE_SIZE);
    return -placed;
  }

  /** RAM is registered when the first page of it is given back, since huge pages go with that. */
  #register(area: Area): boolean {
    if (area.registered) return true;
    if (this.map.table.userfault < 0) return false;
    area.registered = this.map.userfault.register(area.host, area.count * PAGE_SIZE) === 0;
    return area.registered;
  }

  #getAgain(gfn: number): boolean {
    const { table, p2m } = this.map, area = table.areaOf(gfn);
    if (area?.state !== AREA.RAM) return false;
    const entry = p2m.lookup(gfn);
    if (p2mType(entry) !== P2M_TYPE.INVALID) return false;
    const mfn = home(area, gfn), bank = this.banks.find(mfn), offset = this.banks.offset(bank, mfn);
    if (this.banks.frameTable(bank).referencesTo(mfn) !== 0) return false;
    // Whoever had it mapped may have written to it since; and it may show ones.
    if (punchHole(this.banks.descriptor(bank), offset, PAGE_SIZE) !== 0) return false;
    if (p2mMfn(entry) === LOST && this.#showHome(area, gfn) !== 0) return false;
    p2m.map(gfn as Gfn, mfn, 1, P2M_TYPE.RAM_RW);
    table.countPopulated(1);
    table.countBallooned(-1);
    return true;
  }
}

/** The frame of RAM that is this gfn's, wherever it stands. */
export function home(area: Area, gfn: number): Mfn {
  return area.mfn + (gfn - area.first) as Mfn;
}
