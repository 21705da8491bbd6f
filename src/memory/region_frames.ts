/**
 * Frames in extended regions. A region has address space of the host for all of it, and KVM a slot for each chunk of it
 * in which a frame has ever stood: so placing one is one mmap, without a change of slots. Where no frame stands a chunk
 * shows ones; what the guest writes there is lost, or read again at other such gfns of its own.
 *
 * Order of locks: see StageTable.
 */

import { LinuxError } from "../linux/linux_error.ts";
import { EBUSY, EINVAL, ENOMEM, ENOSPC } from "../linux/errno.ts";
import { forbid, placeNothing, placeShared, writeAt } from "../linux/remap.ts";
import type { Vm } from "../kvm/vm.ts";
import { PAGE_SIZE, SUPERPAGE_FRAMES, SUPERPAGE_SIZE } from "./address.ts";
import type { BankViews } from "./bank.ts";
import { type P2m, P2M_TYPE, p2mType } from "./p2m.ts";
import { isGranted } from "./physical_map.ts";
import { CHUNK, chunkOf, hostOf, type Region, type RegionTable } from "./region_table.ts";
import { FIRST_REGION_SLOT } from "./stage_layout.ts";
import type { StageTable } from "./stage_table.ts";

/** Bytes of ones that are written at a time. */
const ONES_BYTES = 64 << 10;

/** More is looked through too long under the p2m lock, page by page where frames once stood: 1 GiB. */
const MOST_LENT_PAGES = 2 ** 18;

/** What stands in a region, in pages. */
export interface RegionTally {
  /** Granted frames, and those of other domains. */
  readonly grants: number;
  /** Frames of the hypervisor's: shared_info, the grant table, rings. */
  readonly special: number;
  /** Pages of device models in windows that the guest has asked for. */
  readonly device: number;
  /** Lent to device models, whether anything is there or not. */
  readonly lent: number;
}

/** Regions as one isolate changes them. Results are 0 or an error number. */
export class RegionFrames {
  readonly #regions: RegionTable;

  constructor(
    private readonly table: StageTable,
    private readonly p2m: P2m,
    private readonly banks: BankViews,
    private readonly vm: Vm,
  ) {
    this.#regions = table.regions;
  }

  /** Shows a frame. The p2m lock is held. @param readOnly the guest's writes fail @returns ENOMEM */
  show(region: Region, gfn: number, mfn: number, readOnly: boolean): number {
    const bank = this.banks.find(mfn), chunk = chunkOf(region, gfn, this.#regions.chunkPages);
    if (this.#regions.chunk(chunk) === CHUNK.ABSENT && this.#blank(region, chunk) !== 0) return ENOMEM;
    const at = this.banks.offset(bank, mfn), descriptor = this.banks.descriptor(bank);
    return placeShared(hostOf(region, gfn), PAGE_SIZE, descriptor, at, readOnly) === 0 ? 0 : ENOMEM;
  }

  /** Shows ones again. The p2m lock is held. */
  hide(region: Region, gfn: number): void {
    const at = (gfn - region.first) % SUPERPAGE_FRAMES * PAGE_SIZE;
    if (placeShared(hostOf(region, gfn), PAGE_SIZE, this.#regions.ones, at) !== 0) this.forbid(region, gfn);
  }

  /** For want of anything else: whatever the guest does there, it must not come to a frame that is not its own any more. */
  forbid(region: Region, gfn: number): void {
    forbid(hostOf(region, gfn), PAGE_SIZE);
  }

  /** Has KVM show what stands at a gfn; by a carrier, which may have to wait. @throws {LinuxError} it has no slot */
  ensure(region: Region, gfn: number): void {
    const { chunkPages } = this.#regions, chunk = chunkOf(region, gfn, chunkPages);
    if (this.#regions.chunk(chunk) === CHUNK.SHOWN) return;
    this.table.slotsLock.hold(() => {
      // Meanwhile the frame may be gone again, and the chunk lent.
      if (this.#regions.chunk(chunk) !== CHUNK.BLANK || this.#regions.hasLoan(gfn, 1)) return;
      this.#setSlot(region, chunk, true);
      this.#regions.setChunk(chunk, CHUNK.SHOWN);
    });
  }

  /**
   * Lets device models have windows in [first, first + count), in which nothing may stand then but what they map there.
   * @returns EINVAL no region has it, it is not made of whole chunks, or more than 1 GiB in several of them; EBUSY
   *   something stands there, or it is lent already; ENOSPC too many loans; ENOMEM KVM could not delete a slot
   */
  lend(first: number, count: number): number {
    const region = this.#regions.of(first), { chunkPages } = this.#regions;
    if (region === undefined || !(count > 0) || first + count > region.first + region.count) return EINVAL;
    const isWhole = (gfn: number) => (gfn - region.first) % chunkPages === 0 || gfn === region.first + region.count;
    if (!isWhole(first) || !isWhole(first + count) || count > Math.max(chunkPages, MOST_LENT_PAGES)) return EINVAL;
    return this.table.slotsLock.hold(() => {
      const result = this.table.lock.hold(() => {
        const isFree = this.p2m.nextFrame(first, first + count) === first + count;
        if (!isFree || this.#regions.hasLoan(first, count)) return EBUSY;
        return this.#regions.lend(first, count) ? 0 : ENOSPC;
      });
      if (result !== 0) return result;
      return this.#unshowAll(region, first, count);
    });
  }

  /** Where a window is by exit, KVM must not have a slot. Under the slots lock. */
  #unshowAll(region: Region, first: number, count: number): number {
    const { chunkPages } = this.#regions;
    try {
      for (let gfn = first; gfn < first + count; gfn += chunkPages) {
        this.#unshow(region, chunkOf(region, gfn, chunkPages));
      }
      return 0;
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error;
      this.table.lock.hold(() => this.#regions.endLoan(this.#regions.loanAround(first, count)));
      return ENOMEM;
    }
  }

  /**
   * The end of a loan.
   * @param last has it end while nobody can claim memory, if nobody has claimed any of it: else EBUSY
   * @returns EINVAL no such loan; EBUSY a window is there
   */
  reclaim(first: number, count: number, last: (end: () => void) => number): number {
    return this.table.lock.hold(() => {
      const loan = this.#regions.loanAround(first, count);
      if (loan < 0 || this.#regions.loanPages(loan) !== count) return EINVAL;
      for (let id = 0; id < this.table.areasEnd; id++) {
        const area = this.table.areas[id];
        if (!area.isFree && first < area.first + area.count && area.first < first + count) return EBUSY;
      }
      return last(() => this.#regions.endLoan(loan));
    });
  }

  /** Fills a chunk's host addresses with ones. The p2m lock is held. */
  #blank(region: Region, chunk: number): number {
    const regions = this.#regions, first = (chunk - region.firstChunk) * regions.chunkPages;
    if (!regions.onesFilled && !this.#fillOnes()) return ENOMEM;
    const pages = Math.min(regions.chunkPages, region.count - first), start = region.host + first * PAGE_SIZE;
    const superpages = pages / SUPERPAGE_FRAMES;
    if (!this.table.takeMappings(superpages)) return ENOMEM;
    for (let superpage = 0; superpage < superpages; superpage++) {
      if (placeShared(start + superpage * SUPERPAGE_SIZE, SUPERPAGE_SIZE, regions.ones, 0) === 0) continue;
      placeNothing(start, superpages * SUPERPAGE_SIZE);
      this.table.giveMappings(superpages);
      return ENOMEM;
    }
    regions.setChunk(chunk, CHUNK.BLANK);
    return 0;
  }

  #fillOnes(): boolean {
    const ones = new Uint8Array(ONES_BYTES).fill(0xff);
    for (let at = 0; at < SUPERPAGE_SIZE; at += ONES_BYTES) {
      if (writeAt(this.#regions.ones, ones, at) !== ONES_BYTES) return false;
    }
    return this.#regions.onesFilled = true;
  }

  /** Under the slots lock. */
  #unshow(region: Region, chunk: number): void {
    if (this.#regions.chunk(chunk) !== CHUNK.SHOWN) return;
    this.#setSlot(region, chunk, false);
    this.#regions.setChunk(chunk, CHUNK.BLANK);
  }

  #setSlot(region: Region, chunk: number, on: boolean): void {
    const { chunkPages } = this.#regions, first = (chunk - region.firstChunk) * chunkPages;
    const pages = on ? Math.min(chunkPages, region.count - first) : 0;
    const host = BigInt(region.host + first * PAGE_SIZE);
    this.vm.setMemoryRegion(FIRST_REGION_SLOT + chunk, (region.first + first) * PAGE_SIZE, pages * PAGE_SIZE, host);
  }
}

/** What stands in a region at the moment. */
export function tallyOf(region: Region, table: StageTable, p2m: P2m): RegionTally {
  const end = region.first + region.count;
  let grants = 0, special = 0, device = 0;
  for (let gfn = p2m.nextFrame(region.first, end); gfn < end; gfn = p2m.nextFrame(gfn + 1, end)) {
    const entry = p2m.lookup(gfn);
    if (p2mType(entry) === P2M_TYPE.RAM_RW) special++;
    else if (isGranted(entry) && table.regions.hasLoan(gfn, 1)) device++;
    else if (isGranted(entry)) grants++;
  }
  return { grants, special, device, lent: table.regions.lentPages(region) };
}
