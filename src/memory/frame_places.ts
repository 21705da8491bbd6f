/**
 * Where frames stand that are not at home there, step by step: the second stage, the p2m, references and counts. What is
 * done with that is in PlacedFrames; but for slots, everything here is done with the p2m lock held.
 */

import { EBUSY, EINVAL, ENOMEM } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { forbid, placePrivate, placeShared, punchHole } from "../linux/remap.ts";
import type { Vm } from "../kvm/vm.ts";
import { type Gfn, type Mfn, PAGE_SIZE } from "./address.ts";
import type { BankViews } from "./bank.ts";
import { isPlaced } from "./exit_runs.ts";
import { FrameError } from "./frame_table.ts";
import { home } from "./guest_ram.ts";
import { P2M_ADDRESS_BITS, P2M_TYPE, p2mMfn, type P2mType, p2mType } from "./p2m.ts";
import { isGranted, LOST, type PhysicalMap } from "./physical_map.ts";
import { RegionFrames } from "./region_frames.ts";
import type { Region } from "./region_table.ts";
import { AREA, type Area } from "./stage_area.ts";

const GFNS = 2 ** P2M_ADDRESS_BITS / PAGE_SIZE;

/** Mappings of the host's that a frame at another's place takes: its own, and the rest of one that it divides. */
const PLACE_MAPPINGS = 2;

/** Places as one isolate changes them. */
export class FramePlaces {
  /** Set when RAM is given back: whoever wants to know clears it before. */
  gaveBack = false;
  readonly regions: RegionFrames;

  constructor(
    private readonly map: PhysicalMap,
    private readonly banks: BankViews,
    private readonly vm: Vm,
    private readonly isReserved: (gfn: number) => boolean,
  ) {
    this.regions = new RegionFrames(map.table, map.p2m, banks, vm);
  }

  /** Whether a frame can be placed at a gfn, or taken away from it. */
  problem(gfn: number): number {
    if (!(Number.isInteger(gfn) && gfn >= 0 && gfn < GFNS)) return EINVAL;
    const { table, p2m } = this.map, area = table.areaOf(gfn);
    if (area !== undefined) return area.state === AREA.RAM ? 0 : EBUSY;
    if (table.regions.hasLoan(gfn, 1)) return EBUSY;
    const entry = p2m.lookup(gfn);
    const isFree = p2mType(entry) === P2M_TYPE.INVALID || isGranted(entry) || isPlaced(table, entry);
    return isFree && !this.isReserved(gfn) ? 0 : EBUSY;
  }

  stands(gfn: number, mfn: number): boolean {
    const entry = this.map.p2m.lookup(gfn);
    return p2mType(entry) !== P2M_TYPE.INVALID && p2mMfn(entry) === mfn;
  }

  /** Whether a gfn has its own RAM, populated or not. */
  isOwn(gfn: number, entry: number): boolean {
    const area = this.map.table.areaOf(gfn), type = p2mType(entry);
    if (area?.state !== AREA.RAM || p2mMfn(entry) !== home(area, gfn)) return false;
    return type === P2M_TYPE.RAM_RW || type === P2M_TYPE.POPULATE_ON_DEMAND;
  }

  /** Puts a frame at a gfn, in place of whatever is there. The p2m lock is held. @returns EBUSY RAM in a region */
  show(gfn: number, mfn: number, type: P2mType): number {
    const { table, p2m, runs } = this.map, area = table.areaOf(gfn), entry = p2m.lookup(gfn);
    const region = area === undefined ? table.regions.of(gfn) : undefined;
    if (region !== undefined && type === P2M_TYPE.RAM_RW && !table.isSpecial(mfn)) return EBUSY;
    const isHome = area !== undefined && type === P2M_TYPE.RAM_RW && mfn === home(area, gfn);
    if (this.banks.find(mfn) < 0) return EINVAL;
    if (!isHome && !this.#hold(mfn)) return ENOMEM;
    if (region !== undefined) {
      const result = this.regions.show(region, gfn, mfn, type === P2M_TYPE.GRANT_MAP_RO);
      if (result !== 0) {
        this.#showInRegionAgain(region, gfn, entry);
        this.#letGo(mfn);
        return result;
      }
    } else if (area === undefined) {
      runs.retire(gfn, 1);
    } else {
      const result = this.#showInRam(area, gfn, mfn);
      if (result !== 0) {
        this.#showAgain(area, gfn, entry);
        if (!isHome) this.#letGo(mfn);
        return result;
      }
    }
    p2m.map(gfn as Gfn, mfn, 1, type);
    this.#forget(gfn, entry);
    table.notePlaced(gfn);
    table.countChange();
    return 0;
  }

  /** In the second stage, and for whoever waits there. */
  #showInRam(area: Area, gfn: number, mfn: number): number {
    const bank = this.banks.find(mfn), at = this.banks.offset(bank, mfn), address = area.hostOf(gfn);
    const placed = placeShared(address, PAGE_SIZE, this.banks.descriptor(bank), at);
    if (placed !== 0) return ENOMEM;
    if (!area.registered) return 0;
    if (this.map.userfault.register(address, PAGE_SIZE) !== 0) return ENOMEM;
    return this.map.present(address, PAGE_SIZE, bank, at, false) === 0 ? 0 : ENOMEM;
  }

  /** After a failure: a region shows what its entry says. */
  #showInRegionAgain(region: Region, gfn: number, entry: number): void {
    const type = p2mType(entry);
    if (type === P2M_TYPE.INVALID) return this.regions.hide(region, gfn);
    const shown = this.regions.show(region, gfn, p2mMfn(entry), type === P2M_TYPE.GRANT_MAP_RO);
    if (shown !== 0) this.regions.forbid(region, gfn);
  }

  /** After a failure: RAM shows what its entry says. */
  #showAgain(area: Area, gfn: number, entry: number): void {
    const isHollow = p2mType(entry) === P2M_TYPE.INVALID, own = home(area, gfn), mfn = isHollow ? own : p2mMfn(entry);
    if (isHollow && (p2mMfn(entry) === LOST || this.#references(own) > 0)) return this.#hollow(area, gfn);
    const bank = this.banks.find(mfn), address = area.hostOf(gfn);
    const placed = placeShared(address, PAGE_SIZE, this.banks.descriptor(bank), this.banks.offset(bank, mfn));
    if (placed !== 0) forbid(address, PAGE_SIZE); // the address is there, so only the host's memory can be at its end
    if (area.registered) this.map.userfault.register(address, PAGE_SIZE);
  }

  /** What stands at a gfn leaves it. The p2m lock is held. */
  takeAway(gfn: number): void {
    const entry = this.map.p2m.lookup(gfn);
    this.#hide(gfn);
    this.#forget(gfn, entry);
  }

  /** The same for RAM that stands somewhere else by now. */
  vacate(gfn: number, mfn: number): void {
    const isOwn = this.isOwn(gfn, this.map.p2m.lookup(gfn));
    this.#hide(gfn);
    if (!isOwn) this.#letGo(mfn);
  }

  #hide(gfn: number): void {
    const { table, p2m, runs } = this.map, area = table.areaOf(gfn);
    if (area !== undefined) {
      this.#hollow(area, gfn);
    } else {
      const region = table.regions.of(gfn);
      if (region !== undefined) this.regions.hide(region, gfn);
      else runs.retire(gfn, 1);
      p2m.unmap(gfn as Gfn, 1);
    }
    table.countChange();
  }

  /** RAM without memory: it reads as ones. */
  #hollow(area: Area, gfn: number): void {
    const { table, p2m, userfault } = this.map, mfn = home(area, gfn), address = area.hostOf(gfn);
    const bank = this.banks.find(mfn), at = this.banks.offset(bank, mfn);
    if (this.#references(mfn) > 0) {
      // Its own frame is somebody else's at the moment, perhaps the guest's at another gfn.
      if (table.sink < 0 || placePrivate(address, PAGE_SIZE, table.sink, 0) !== 0) forbid(address, PAGE_SIZE);
      if (area.registered) userfault.wake(address, PAGE_SIZE);
      return p2m.map(gfn as Gfn, LOST, 1, P2M_TYPE.INVALID);
    }
    if (placeShared(address, PAGE_SIZE, this.banks.descriptor(bank), at) !== 0) forbid(address, PAGE_SIZE);
    // With a registration the pager fills it, if it is ever touched.
    if (!area.registered || userfault.register(address, PAGE_SIZE) !== 0) {
      this.banks.bytes(bank).fill(0xff, at, at + PAGE_SIZE);
      if (area.registered) userfault.wake(address, PAGE_SIZE);
    }
    p2m.unmap(gfn as Gfn, 1);
  }

  /** What stood at a gfn is not there any more: its reference, and the count of what the guest has. */
  #forget(gfn: number, entry: number): void {
    const { table } = this.map, type = p2mType(entry), mfn = p2mMfn(entry);
    if (type === P2M_TYPE.INVALID) return;
    if (!this.isOwn(gfn, entry)) this.#letGo(mfn);
    if (isGranted(entry)) return;
    if (table.isSpecial(mfn)) {
      if (table.gfnOfSpecial(mfn) === gfn) table.setGfnOfSpecial(mfn, -1);
      return;
    }
    table.countBallooned(1);
    if (type === P2M_TYPE.RAM_RW) table.countPopulated(-1);
    this.gaveBack = true;
    if (this.#references(mfn) > 0) return;
    const bank = this.banks.find(mfn);
    punchHole(this.banks.descriptor(bank), this.banks.offset(bank, mfn), PAGE_SIZE);
  }

  /** Whether KVM shows a frame that was placed: always in RAM; elsewhere once it has a slot. */
  hasSlot(gfn: number, mfn: number): boolean {
    const { table, runs } = this.map;
    if (table.areaOf(gfn) !== undefined) return true;
    const region = table.regions.of(gfn);
    try {
      if (region !== undefined) {
        runs.sweep(this.vm); // a window of the exit transport may have been there
        this.regions.ensure(region, gfn);
        return true;
      }
      const hasSlot = runs.ensure(this.vm, gfn) || !this.stands(gfn, mfn); // another vCPU may have taken it away again
      if (hasSlot) this.tidy(gfn);
      return hasSlot;
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error;
      return false;
    }
  }

  /** After something outside of RAM has changed: its old slot goes, and its neighbours, which shared it, get one again. */
  tidy(gfn: number): void {
    const { table, runs, p2m } = this.map;
    if (table.areaOf(gfn) !== undefined || table.regions.of(gfn) !== undefined) return;
    try {
      runs.sweep(this.vm);
      for (const other of [gfn - 1, gfn + 1]) {
        if (p2mType(p2m.lookup(other)) !== P2M_TYPE.INVALID) runs.ensure(this.vm, other);
      }
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error; // the next to need a slot deletes it
    }
  }

  #references(mfn: number): number {
    return this.banks.frameTable(this.banks.find(mfn)).referencesTo(mfn as Mfn);
  }

  /** A frame comes to stand somewhere. @returns false it is held too often, or there are too many such places */
  #hold(mfn: number): boolean {
    const { table } = this.map;
    if (!table.takeMappings(PLACE_MAPPINGS)) return false;
    if (this.get(mfn)) return true;
    table.giveMappings(PLACE_MAPPINGS);
    return false;
  }

  #letGo(mfn: number): void {
    this.map.table.giveMappings(PLACE_MAPPINGS);
    this.put(mfn);
  }

  get(mfn: number): boolean {
    try {
      this.banks.frameTable(this.banks.find(mfn)).get(mfn as Mfn);
      return true;
    } catch (error) {
      if (error instanceof FrameError) return false;
      throw error;
    }
  }

  put(mfn: number): void {
    this.banks.frameTable(this.banks.find(mfn)).put(mfn as Mfn);
  }
}
