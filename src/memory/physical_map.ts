/**
 * Changes of a domain's p2m while it runs: what stands behind a gfn, in the table of truth and in the second stage alike.
 * Any thread makes them, under the p2m lock; nothing here is allocated, and results are 0 or an error number.
 */

import { EAGAIN, EEXIST, EFAULT, EINVAL, ENOENT, EOPNOTSUPP, EPERM } from "../linux/errno.ts";
import { allocateBlocks, DiscardList, forbid, permit, placePrivate, placeShared } from "../linux/remap.ts";
import { Userfaultfd } from "../linux/userfaultfd.ts";
import { type Gfn, type Mfn, PAGE_SIZE } from "./address.ts";
import type { BankViews } from "./bank.ts";
import { ExitRuns } from "./exit_runs.ts";
import { FaultTable } from "./fault_table.ts";
import { FrameError } from "./frame_table.ts";
import { type P2m, P2M_INVALID, P2M_TYPE, p2mMfn, p2mType } from "./p2m.ts";
import { AREA, type Area, TRANSPORT } from "./stage_area.ts";
import type { StageTable } from "./stage_table.ts";

/** The lock is not held for more pages than this at a time. */
const PAGES_AT_ONCE = 512;

/**
 * mfns that are nobody's: what the second stage shows of a gfn that is not mapped. BLANK: its window's own, without
 * memory. LOST: whatever is left of a mapping that could not be completed, or whose memory is gone. SINK: ones.
 */
export const BLANK = 0, LOST = 1, SINK = 2;

/** The p2m with its second stage, as one isolate changes it. */
export class PhysicalMap {
  readonly faults: FaultTable;
  readonly runs: ExitRuns;
  #userfault: Userfaultfd | undefined;
  readonly #discards = new DiscardList();
  /** Whether this isolate holds the p2m lock for revocations, and of how many pages so far. */
  #locked = false;
  #collected = 0;

  constructor(readonly table: StageTable, readonly p2m: P2m, private readonly banks: BankViews) {
    this.faults = new FaultTable(table);
    this.runs = new ExitRuns(table, p2m, banks);
  }

  /** The domain's userfaultfd. There is one as soon as there is an area of the fault transport. */
  get userfault(): Userfaultfd {
    return this.#userfault ??= new Userfaultfd(this.table.userfault, this.table.protects);
  }

  /**
   * Shows the guest frames of a memory object of server `server`, in one of its windows: in effect on return, page by
   * page either what was there or this.
   * @returns ENOENT no such window or memory, EPERM another server's window, EINVAL not all of it lies in the window or
   *   the memory, EOPNOTSUPP read-only on a host that cannot; ENOMEM, and what the host says: pages before it are mapped
   */
  map(server: number, gfn: number, count: number, memory: number, frame: number, readOnly: boolean): number {
    this.flush();
    for (let done = 0; done === 0 || done < count; done += PAGES_AT_ONCE) {
      const pages = Math.min(count - done, PAGES_AT_ONCE);
      this.table.lock.acquire();
      try {
        // Looked up again for each part: between two of them anybody may have given up the window, or the memory.
        const area = this.table.areaOf(gfn), problem = this.#problem(area, server, gfn, count);
        if (problem !== 0) return problem;
        const result = this.#mapMemory(area!, gfn + done, pages, memory, frame + done, count - done, readOnly);
        if (result !== 0) return area!.lastError = result;
      } finally {
        this.table.lock.release();
      }
    }
    return 0;
  }

  /** @param left frames that have to be there from `frame` on */
  #mapMemory(
    area: Area,
    gfn: number,
    count: number,
    memory: number,
    frame: number,
    left: number,
    readOnly: boolean,
  ): number {
    const bank = this.table.memory(area.server, memory);
    if (bank < 0) return ENOENT;
    if (frame + left > this.banks.frames(bank)) return EINVAL;
    if (readOnly && area.transport === TRANSPORT.FAULT && !this.table.protects) return EOPNOTSUPP;
    return this.show(area, gfn, count, bank, this.banks.firstMfn(bank) + frame, readOnly);
  }

  /**
   * Takes pages of its window back from the guest: the next access to one is a violation. Pages that are not mapped are
   * left as they are. What is to be discarded is collected, with the lock held, until {@linkcode flush}.
   * @returns ENOENT, EPERM, EINVAL as {@linkcode map}: the guest has no part in it
   */
  revoke(server: number, gfn: number, count: number): number {
    for (let done = 0; done === 0 || done < count; done += PAGES_AT_ONCE) {
      const pages = Math.min(count - done, PAGES_AT_ONCE);
      if (!this.#locked) this.table.lock.acquire();
      this.#locked = true;
      const area = this.table.areaOf(gfn), problem = this.#problem(area, server, gfn, count);
      if (problem !== 0) return problem;
      this.#revokePages(area!, gfn + done, pages);
      this.#collected += pages;
      if (this.#collected >= PAGES_AT_ONCE) this.flush();
    }
    return 0;
  }

  /** The end of a batch of revocations; has to follow them, whatever happens. */
  flush(): void {
    if (!this.#locked) return;
    this.#discards.discard(this.table.pidfd);
    this.#collected = 0;
    this.#locked = false;
    this.table.lock.release();
  }

  #problem(area: Area | undefined, server: number, gfn: number, count: number): number {
    if (area === undefined || area.state !== AREA.WINDOW) return ENOENT;
    if (area.server !== server) return EPERM;
    return count > 0 && gfn + count <= area.first + area.count ? 0 : EINVAL;
  }

  /** The pages of a bank stand in an area from now on, whatever stood there. The p2m lock is held. @returns as {@linkcode map} */
  show(area: Area, gfn: number, count: number, bank: number, mfn: number, readOnly: boolean): number {
    const references = this.#takeReferences(bank, mfn, count);
    if (references !== 0) return references;
    if (area.host === 0) {
      this.runs.retire(gfn, count);
      this.#enter(area, gfn, mfn, count, readOnly);
      return 0;
    }
    for (let done = 0; done < count;) {
      const kept = this.#shows(gfn + done, mfn + done), mapped = kept && this.#isMapped(gfn + done);
      let pages = 1;
      while (
        done + pages < count && this.#shows(gfn + done + pages, mfn + done + pages) === kept &&
        (kept && this.#isMapped(gfn + done + pages)) === mapped
      ) pages++;
      const result = this.#showPages(area, gfn + done, mfn + done, pages, bank, readOnly, kept, mapped);
      if (result !== 0) {
        for (let left = done; left < count; left++) this.banks.frameTable(bank).put(mfn + left as Mfn);
        return result;
      }
      this.#enter(area, gfn + done, mfn + done, pages, readOnly);
      done += pages;
    }
    return 0;
  }

  #showPages(
    area: Area,
    gfn: number,
    mfn: number,
    count: number,
    bank: number,
    readOnly: boolean,
    kept: boolean,
    mapped: boolean,
  ): number {
    const address = area.hostOf(gfn), sizeBytes = count * PAGE_SIZE;
    if (mapped) return area.registered ? -this.userfault.protect(address, sizeBytes, readOnly) : 0;
    if (!kept) {
      const result = this.#place(area, gfn, mfn, count, bank, readOnly);
      if (result !== 0 || !area.registered) return result;
      // What the page tables could have shown until now is gone, whatever becomes of the rest.
      this.#forget(area, gfn, count, mfn);
    }
    const done = this.present(address, sizeBytes, bank, (mfn - this.banks.firstMfn(bank)) * PAGE_SIZE, readOnly);
    if (kept || !readOnly || done !== 0) return done;
    return -permit(address, sizeBytes); // it is write-protected by now
  }

  /**
   * Has the second stage show pages of a bank. A new mapping has no registration, and without one nobody could revoke it,
   * or write-protect it: until then pages to be read-only are so by their mapping, and a write that comes between fails.
   */
  #place(area: Area, gfn: number, mfn: number, count: number, bank: number, readOnly: boolean): number {
    const address = area.hostOf(gfn), sizeBytes = count * PAGE_SIZE;
    const offset = (mfn - this.banks.firstMfn(bank)) * PAGE_SIZE;
    const placed = placeShared(address, sizeBytes, this.banks.descriptor(bank), offset, readOnly && area.registered);
    if (placed !== 0 || !area.registered) return -placed;
    const registered = this.userfault.register(address, sizeBytes);
    if (registered === 0) return 0;
    forbid(address, sizeBytes);
    for (let page = 0; page < count; page++) this.#forget(area, gfn + page, 1, LOST);
    return -registered;
  }

  /** Nothing is mapped there any more, though the second stage shows something. */
  #forget(area: Area, gfn: number, count: number, mfn: number): void {
    this.release(gfn, count);
    this.p2m.map(gfn as Gfn, mfn, count, area.state === AREA.RAM ? P2M_TYPE.INVALID : P2M_TYPE.MMIO_DM);
  }

  /** Has the pages that a registered range shows be in the page tables, whatever is there of them; and wakes. The p2m lock is held. */
  present(address: number, sizeBytes: number, bank: number, offset: number, readOnly: boolean): number {
    const { userfault } = this;
    let wake = false;
    for (let done = 0; done < sizeBytes;) {
      const result = userfault.continue(address + done, sizeBytes - done, readOnly);
      if (result === 0) break;
      if (result === -EAGAIN) {
        done += userfault.done;
      } else if (result === -EEXIST) {
        wake = true; // a fault may be older than the page
        if (readOnly) userfault.protect(address + done, PAGE_SIZE, true);
        done += PAGE_SIZE;
      } else if (result === -EFAULT) {
        // The file has no memory there yet.
        const given = allocateBlocks(this.banks.descriptor(bank), offset + done, PAGE_SIZE);
        if (given !== 0) return -given;
      } else {
        return -result;
      }
    }
    if (wake) userfault.wake(address, sizeBytes);
    return 0;
  }

  /** The table, after the second stage; references were taken. */
  #enter(area: Area, gfn: number, mfn: number, count: number, readOnly: boolean): void {
    this.release(gfn, count);
    this.p2m.map(gfn as Gfn, mfn, count, readOnly ? P2M_TYPE.GRANT_MAP_RO : P2M_TYPE.GRANT_MAP_RW);
    area.countMaps(count);
    this.table.countChange();
    if (this.table.openFaults > 0) this.faults.resolve(gfn, count, readOnly);
  }

  #revokePages(area: Area, gfn: number, count: number): void {
    if (area.state !== AREA.WINDOW) return;
    const isFault = area.transport === TRANSPORT.FAULT;
    if (!isFault) this.runs.retire(gfn, count);
    let revoked = 0;
    const end = gfn + count;
    for (let page = this.p2m.nextFrame(gfn, end); page < end; page = this.p2m.nextFrame(page + 1, end)) {
      const entry = this.p2m.lookup(page);
      if (!isGranted(entry)) continue;
      this.release(page, 1);
      this.p2m.map(page as Gfn, isFault ? p2mMfn(entry) : BLANK, 1, P2M_TYPE.MMIO_DM);
      if (isFault) this.#discards.add(area.hostOf(page), PAGE_SIZE, this.table.pidfd);
      revoked++;
    }
    if (revoked === 0) return;
    area.countRevokes(revoked);
    this.table.countChange();
  }

  /** Takes away all that a window shows, and the window out of the p2m; what its second stage shows stays to be put away. */
  close(area: Area): void {
    const { first, count, server } = area;
    this.revoke(server, first, count);
    this.flush();
    this.table.lock.hold(() => {
      this.#revokePages(area, first, count); // what was mapped meanwhile
      this.#discards.discard(this.table.pidfd);
      area.state = AREA.DEAD;
      this.p2m.unmap(first, count);
      this.table.countChange();
      this.faults.forEach(area, (entry) => {
        this.drown(area, this.faults.gfn(entry));
        this.faults.orphan(entry);
      });
    });
  }

  /**
   * Puts a page of ones where somebody waits in a window and nobody will answer: whoever waits goes on. The p2m lock is
   * held. When the host has no mapping left, the whole window shows what it happens to show: no vCPU may wait for ever.
   */
  drown(area: Area, gfn: number): void {
    const address = area.hostOf(gfn);
    if (placePrivate(address, PAGE_SIZE, this.table.sink, 0) !== 0) {
      this.userfault.unregister(area.host, area.count * PAGE_SIZE);
    } else if (area.state !== AREA.DEAD) {
      this.#forget(area, gfn, 1, SINK);
    }
    this.userfault.wake(address, PAGE_SIZE);
    this.faults.resolve(gfn, 1);
  }

  /** Takes the ones away that were put where nobody answered. */
  surface(area: Area): void {
    if (area.host === 0) return;
    this.table.lock.hold(() => {
      const end = area.first + area.count;
      for (let gfn = this.p2m.nextFrame(area.first, end); gfn < end; gfn = this.p2m.nextFrame(gfn + 1, end)) {
        if (p2mMfn(this.p2m.lookup(gfn)) !== SINK) continue;
        const placed = placeShared(area.hostOf(gfn), PAGE_SIZE, this.table.blank, gfn * PAGE_SIZE);
        if (placed !== 0 || this.userfault.register(area.hostOf(gfn), PAGE_SIZE) !== 0) continue;
        this.#forget(area, gfn, 1, BLANK);
      }
    });
  }

  /** Has a page be there that is mapped, and whoever waits for it go on. */
  supply(area: Area, gfn: number): number {
    const entry = this.p2m.lookup(gfn), mfn = p2mMfn(entry), bank = this.banks.find(mfn);
    const address = area.hostOf(gfn), readOnly = p2mType(entry) === P2M_TYPE.GRANT_MAP_RO;
    const result = this.present(address, PAGE_SIZE, bank, this.banks.offset(bank, mfn), readOnly);
    if (result === 0 && this.table.openFaults > 0) this.faults.resolve(gfn, 1, readOnly);
    return result;
  }

  /** Whether a gfn has a frame, for a write a writable one. */
  isMapped(gfn: number, write: boolean): boolean {
    const type = p2mType(this.p2m.lookup(gfn));
    return type === P2M_TYPE.RAM_RW || type === P2M_TYPE.GRANT_MAP_RW ||
      (!write && (type === P2M_TYPE.GRANT_MAP_RO || type === P2M_TYPE.RAM_RO));
  }

  /** The bank goes: what windows still show of it, though it is not mapped, is not to be taken for another's. */
  forgetBank(server: number, firstMfn: number, frames: number): void {
    this.table.lock.hold(() => {
      for (let id = 0; id < this.table.areasEnd; id++) {
        const area = this.table.areas[id], end = area.first + area.count;
        if (area.state !== AREA.WINDOW || area.server !== server) continue;
        for (let gfn = this.p2m.nextFrame(area.first, end); gfn < end; gfn = this.p2m.nextFrame(gfn + 1, end)) {
          const mfn = p2mMfn(this.p2m.lookup(gfn));
          if (mfn < firstMfn || mfn >= firstMfn + frames) continue;
          this.#revokePages(area, gfn, 1);
          this.p2m.map(gfn as Gfn, LOST, 1, P2M_TYPE.MMIO_DM);
        }
      }
      this.#discards.discard(this.table.pidfd);
    });
  }

  #isMapped(gfn: number): boolean {
    return isGranted(this.p2m.lookup(gfn));
  }

  /** Whether the second stage shows that frame there, mapped or not. */
  #shows(gfn: number, mfn: number): boolean {
    const entry = this.p2m.lookup(gfn);
    return entry !== P2M_INVALID && p2mMfn(entry) === mfn;
  }

  #takeReferences(bank: number, mfn: number, count: number): number {
    const frames = this.banks.frameTable(bank);
    let taken = 0;
    try {
      for (; taken < count; taken++) frames.get(mfn + taken as Mfn);
      return 0;
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      while (taken-- > 0) frames.put(mfn + taken as Mfn);
      return EINVAL;
    }
  }

  /** Gives back the references of what is mapped there. The p2m lock is held. */
  release(gfn: number, count: number): void {
    for (let page = gfn; page < gfn + count; page++) {
      const entry = this.p2m.lookup(page);
      if (!isGranted(entry)) continue;
      const mfn = p2mMfn(entry) as Mfn;
      this.banks.frameTable(this.banks.find(mfn)).put(mfn);
    }
  }
}

/** Whether an entry shows somebody else's frame. */
export function isGranted(entry: number): boolean {
  const type = p2mType(entry);
  return type === P2M_TYPE.GRANT_MAP_RW || type === P2M_TYPE.GRANT_MAP_RO;
}
