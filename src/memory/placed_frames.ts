/**
 * Frames that stand at a gfn because the guest has placed them there: its special frames (XENMEM_add_to_physmap), its own
 * RAM at another gfn, and what was granted to it.
 *
 * In RAM the page's memory is given back, as Xen frees it, and the second stage shows the frame in its stead; when the
 * frame goes, a hole is left that reads as ones, and populate_physmap fills it as after ballooning. Where there was
 * nothing, the frame gets a slot (ExitRuns). Every place of a frame that is not its own holds a reference.
 *
 * By a carrier, which may have to wait for KVM's slots. Locks as StageTable has them; results are 0 or an error number.
 * After an error the frame is where it was; only what stood where it was to go may be gone (in Xen it always is).
 */

import { EBUSY, EINVAL, ENOENT, ENOMEM, EXDEV } from "../linux/errno.ts";
import type { Vm } from "../kvm/vm.ts";
import type { BankViews } from "./bank.ts";
import { FramePlaces } from "./frame_places.ts";
import type { GuestRam } from "./guest_ram.ts";
import { P2M_TYPE, p2mMfn, p2mType } from "./p2m.ts";
import { isGranted, type PhysicalMap } from "./physical_map.ts";
import { AREA } from "./stage_area.ts";

/** Placing and removing, as one isolate does it. */
export class PlacedFrames {
  readonly #places: FramePlaces;

  /** @param isReserved whether nothing can stand at a gfn, since it is the processor's (its local APIC) */
  constructor(
    private readonly map: PhysicalMap,
    private readonly banks: BankViews,
    private readonly ram: GuestRam,
    vm: Vm,
    isReserved: (gfn: number) => boolean = () => false,
  ) {
    this.#places = new FramePlaces(map, banks, vm, isReserved);
  }

  /** Whether the last operation gave RAM back: then device models have to forget it. */
  get gaveBack(): boolean {
    return this.#places.gaveBack;
  }

  /** The highest gfn of the domain that has, or had, a frame (Xen: domain_get_maximum_gpfn). */
  get maximumGfn(): number {
    let highest = this.map.table.highestPlaced;
    for (const area of this.map.table.areas) {
      if (area.state === AREA.RAM) highest = Math.max(highest, area.first + area.count - 1);
    }
    return highest;
  }

  /**
   * A special frame stands at `gfn` from now on, and nowhere else.
   * @returns EINVAL outside of the p2m, EBUSY there is something of a device model's or of the processor's, or the guest
   *   has lent the gfn to device models, ENOMEM
   */
  place(gfn: number, mfn: number): number {
    const { table, p2m } = this.map, places = this.#places;
    places.gaveBack = false;
    let old = -1;
    const shown = table.lock.hold(() => {
      const problem = places.problem(gfn);
      if (problem !== 0) return problem;
      old = table.gfnOfSpecial(mfn);
      if (old === gfn) return 0;
      const result = places.show(gfn, mfn, P2M_TYPE.RAM_RW);
      if (result === 0) table.setGfnOfSpecial(mfn, gfn);
      return result;
    });
    if (shown !== 0 || old === gfn) return shown;
    if (!places.hasSlot(gfn, mfn)) {
      table.lock.hold(() => {
        if (places.stands(gfn, mfn)) places.takeAway(gfn);
        if (table.gfnOfSpecial(mfn) < 0 && old >= 0 && p2mMfn(p2m.lookup(old)) === mfn) {
          table.setGfnOfSpecial(mfn, old);
        }
      });
      places.tidy(gfn);
      return ENOMEM;
    }
    if (old < 0) return 0;
    table.lock.hold(() => {
      if (places.stands(old, mfn)) places.takeAway(old);
    });
    places.tidy(old);
    return 0;
  }

  /**
   * What stands at `gfn` goes: RAM is given back (in Xen it is the domain's still, without a gfn).
   * @returns ENOENT there is nothing, EINVAL, EBUSY as {@linkcode place}, ENOMEM
   */
  remove(gfn: number): number {
    const { table, p2m } = this.map, places = this.#places;
    places.gaveBack = false;
    let isOwn = false;
    const removed = table.lock.hold(() => {
      const entry = p2m.lookup(gfn), problem = places.problem(gfn);
      if (problem === EINVAL) return ENOENT;
      if (problem !== 0) return problem;
      isOwn = places.isOwn(gfn, entry);
      if (isOwn) return 0;
      if (p2mType(entry) === P2M_TYPE.INVALID) return ENOENT;
      places.takeAway(gfn);
      return 0;
    });
    if (removed !== 0) return removed;
    if (!isOwn) places.tidy(gfn);
    else if (this.ram.decrease(gfn, 1) === 0) return ENOMEM;
    else places.gaveBack = true;
    return 0;
  }

  /** The guest gives pages back (XENMEM_decrease_reservation). @returns how many, from the first on */
  decrease(gfn: number, count: number): number {
    let done = 0;
    while (done < count) {
      done += this.ram.decrease(gfn + done, count - done);
      if (done < count && this.remove(gfn + done) !== 0) break;
      if (done < count) done++;
    }
    return done;
  }

  /**
   * The frame at `from` stands at `to` from now on (XENMAPSPACE_gmfn).
   * @returns as {@linkcode place}; EBUSY `to` is in an extended region, too; EINVAL there is no frame, EXDEV it is a grant, whose frame is at home elsewhere
   */
  move(from: number, to: number): number {
    const { table, p2m } = this.map, places = this.#places;
    places.gaveBack = false;
    if (p2mType(p2m.lookup(from)) === P2M_TYPE.POPULATE_ON_DEMAND) this.ram.touch(from);
    const entry = p2m.lookup(from), mfn = p2mMfn(entry);
    if (isGranted(entry)) return EXDEV;
    if (p2mType(entry) !== P2M_TYPE.RAM_RW || places.problem(from) !== 0) return EINVAL;
    if (table.isSpecial(mfn)) return this.place(to, mfn);
    if (from === to) return 0;
    const moved = table.lock.hold(() => {
      if (!places.stands(from, mfn)) return EINVAL;
      // Without a page of ones nothing could be shown at `from` while its own frame is elsewhere.
      if (table.areaOf(from)?.state === AREA.RAM && table.sink < 0) return ENOMEM;
      const result = places.problem(to) || places.show(to, mfn, P2M_TYPE.RAM_RW);
      if (result === 0) places.vacate(from, mfn);
      return result;
    });
    if (moved !== 0) return moved;
    places.gaveBack = true; // one gfn has less than before, whatever the other had
    if (places.hasSlot(to, mfn)) {
      places.tidy(from);
      return 0;
    }
    table.lock.hold(() => {
      if (!places.stands(to, mfn)) return;
      if (places.show(from, mfn, P2M_TYPE.RAM_RW) === 0) places.vacate(to, mfn);
      else places.takeAway(to);
    });
    places.tidy(to);
    places.hasSlot(from, mfn);
    return ENOMEM;
  }

  /**
   * A granted frame appears at `gfn`.
   * @returns as {@linkcode place}; EBUSY a grant is there already; EINVAL read-only in RAM: KVM has slots that can only be
   *   read, not pages
   */
  mapGrant(gfn: number, mfn: number, readOnly: boolean): number {
    const { table, p2m } = this.map, places = this.#places;
    places.gaveBack = false;
    const shown = table.lock.hold(() => {
      const problem = places.problem(gfn);
      if (problem !== 0) return problem;
      if (isGranted(p2m.lookup(gfn))) return EBUSY;
      if (readOnly && table.areaOf(gfn) !== undefined) return EINVAL;
      return places.show(gfn, mfn, readOnly ? P2M_TYPE.GRANT_MAP_RO : P2M_TYPE.GRANT_MAP_RW);
    });
    if (shown !== 0 || places.hasSlot(gfn, mfn)) return shown;
    table.lock.hold(() => {
      if (places.stands(gfn, mfn)) places.takeAway(gfn);
    });
    places.tidy(gfn);
    return ENOMEM;
  }

  /** The end of {@linkcode mapGrant}. @returns EINVAL that frame is not mapped there as a grant */
  unmapGrant(gfn: number, mfn: number): number {
    const { table, p2m } = this.map, places = this.#places;
    const unmapped = table.lock.hold(() => {
      const entry = p2m.lookup(gfn);
      if (!isGranted(entry) || p2mMfn(entry) !== mfn || places.problem(gfn) !== 0) return EINVAL;
      places.takeAway(gfn);
      return 0;
    });
    if (unmapped === 0) places.tidy(gfn);
    return unmapped;
  }

  /**
   * A reference to the frame that is the guest's memory at a gfn (Xen: get_page_from_gfn): its own, or one placed there.
   * @returns its mfn, or -1; {@linkcode putFrame} has to follow
   */
  getFrame(gfn: number, writing: boolean): number {
    const { table, p2m } = this.map;
    if (p2mType(p2m.lookup(gfn)) === P2M_TYPE.POPULATE_ON_DEMAND) this.ram.touch(gfn);
    return table.lock.hold(() => {
      const entry = p2m.lookup(gfn), mfn = p2mMfn(entry), bank = this.banks.find(mfn);
      if (!this.map.isMapped(gfn, writing) || bank < 0 || !this.banks.hasDirectmap(bank)) return -1;
      return this.#places.get(mfn) ? mfn : -1;
    });
  }

  /** One reference more to a frame that somebody holds. @returns false it has too many */
  holdFrame(mfn: number): boolean {
    return this.#places.get(mfn);
  }

  /** Copies between two frames, or within one; whoever calls holds references to them. */
  copy(from: number, fromOffset: number, to: number, toOffset: number, bytes: number): void {
    const source = this.banks.find(from), target = this.banks.find(to);
    const start = this.banks.offset(source, from) + fromOffset;
    const memory = this.banks.bytes(source).subarray(start, start + bytes);
    this.banks.bytes(target).set(memory, this.banks.offset(target, to) + toOffset);
  }

  /** Lets device models have windows in a part of an extended region (see RegionFrames). */
  lend(first: number, count: number): number {
    return this.#places.regions.lend(first, count);
  }

  /** The end of {@linkcode lend}. */
  reclaim(first: number, count: number, last: (end: () => void) => number): number {
    return this.#places.regions.reclaim(first, count, last);
  }

  /** Whether it is a frame of this domain. */
  owns(mfn: number): boolean {
    return this.map.table.isSpecial(mfn) || this.map.table.homeArea(mfn) !== undefined;
  }

  putFrame(mfn: number): void {
    this.#places.put(mfn);
  }
}
