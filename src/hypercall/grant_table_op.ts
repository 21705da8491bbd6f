/** grant_table_op: what a guest grants, and what it uses of that (xen/common/grant_table.c; arch/x86/hvm/hypercall.c). */

import { EBUSY, EFAULT, EINVAL, ENOSYS, EPERM, ERANGE } from "../linux/errno.ts";
import type { GrantTable, GrantVersion } from "../memory/grant_table.ts";
import { MAX_GRANT_FRAMES } from "../memory/special_frames.ts";
import {
  GNTST,
  GNTTAB_CACHE,
  GNTTAB_CACHE_FLUSH,
  GNTTAB_GET_STATUS_FRAMES,
  GNTTAB_GET_VERSION,
  GNTTAB_NR_RESERVED_ENTRIES,
  GNTTAB_QUERY_SIZE,
  GNTTAB_SET_VERSION,
  GNTTAB_SETUP_TABLE,
  GNTTAB_SWAP_GRANT_REF,
  GNTTABOP,
  GRANT_ENTRY_V1,
  GRANT_ENTRY_V2,
  GTF,
} from "./abi/grant_table.ts";
import type { Call } from "./call.ts";
import { type Caller, ownDomain } from "./domains.ts";
import { copyOne, mapOne, storeStatus, unmapOne } from "./grant_use.ts";
import type { GrantDomain } from "./grants.ts";
import { setUnsigned64, unsigned64 } from "./layout.ts";
import { PAGE_SIZE } from "../memory/address.ts";

export type { GrantDomain } from "./grants.ts";

/** @returns 0, or -errno; requests of a list have a status each */
export function grantTableOp(domain: GrantDomain, call: Call): number {
  const subop = call.low[0], count = call.low[2] | 0;
  // What of the real subops Xen does not let an HVM guest do: -ENOSYS comes before all else.
  const isKnown = subop <= GNTTABOP.cache_flush && subop !== GNTTABOP.dump_table &&
    subop !== GNTTABOP.transfer && subop !== GNTTABOP.unmap_and_replace;
  if (!isKnown) return -ENOSYS;
  if (count < 0) return -EINVAL;
  switch (subop) {
    case GNTTABOP.setup_table:
      return setupTable(domain, call, count);
    case GNTTABOP.query_size:
      return querySize(domain, call, count);
    case GNTTABOP.set_version:
      return setVersion(domain, call);
    case GNTTABOP.get_version:
      return getVersion(domain, call);
    case GNTTABOP.get_status_frames:
      return getStatusFrames(domain, call, count);
    default:
      return eachOf(domain, call, count, REQUESTS[subop]!);
  }
}

/** One request of a list. @returns 0, or -errno which ends the list */
type Request = (domain: GrantDomain, call: Call, index: number) => number;

const REQUESTS: Partial<Record<number, Request>> = {
  [GNTTABOP.map_grant_ref]: mapOne,
  [GNTTABOP.unmap_grant_ref]: unmapOne,
  [GNTTABOP.copy]: copyOne,
  [GNTTABOP.swap_grant_ref]: swapOne,
  [GNTTABOP.cache_flush]: flushOne,
};

function eachOf(domain: GrantDomain, call: Call, count: number, request: Request): number {
  const { lock } = domain.grantTable;
  for (let index = 0; index < count && !domain.isEnding; index++) {
    lock.acquire();
    try {
      const result = request(domain, call, index);
      if (result !== 0) return result;
    } finally {
      lock.release();
    }
  }
  return 0;
}

/** What a domain that is not the caller's own is answered in a status. */
function statusOfDomain(domain: Caller, domid: number): number {
  const refused = ownDomain(domain, domid);
  return refused === 0 ? GNTST.okay : refused === -EPERM ? GNTST.permission_denied : GNTST.bad_domain;
}

function setupTable(domain: GrantDomain, call: Call, count: number): number {
  const layout = GNTTAB_SETUP_TABLE[call.bits], { grantTable } = domain;
  if (count !== 1) return count === 0 && call.bits === 32 ? 0 : -EINVAL;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const frames = call.scratch.getUint32(layout.nr_frames, true);
  let status = statusOfDomain(domain, call.scratch.getUint16(layout.dom, true));
  if (status === GNTST.okay && !grantTable.lock.hold(() => grantTable.grow(frames))) status = GNTST.general_error;
  return storeFrames(domain, call, layout, status, false);
}

/** Not for HVM guests in Xen. */
function getStatusFrames(domain: GrantDomain, call: Call, count: number): number {
  const layout = GNTTAB_GET_STATUS_FRAMES[call.bits], { grantTable } = domain;
  if (count !== 1) return -EINVAL;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const frames = call.scratch.getUint32(layout.nr_frames, true);
  let status = statusOfDomain(domain, call.scratch.getUint16(layout.dom, true));
  if (status === GNTST.okay && frames > grantTable.statusFrames) status = GNTST.general_error;
  return storeFrames(domain, call, layout, status, true);
}

/** Where a structure has the guest's list of gfns, and what a long is in it. */
interface FrameList {
  readonly nr_frames: number;
  readonly status: number;
  readonly frame_list: number;
  readonly long: number;
}

/** Tells the guest where its frames are, if all was well so far, and how it went. */
function storeFrames(domain: GrantDomain, call: Call, layout: FrameList, status: number, isStatus: boolean): number {
  const frames = call.scratch.getUint32(layout.nr_frames, true), bytes = isStatus ? 8 : layout.long;
  const low = call.longLow(layout.frame_list), high = call.longHigh(layout.frame_list);
  for (let index = 0; status === GNTST.okay && index < frames; index++) {
    setGfn(call, domain.grantTable.gfnOf(index, isStatus));
    // A 32-bit caller is not told.
    if (!call.storeAt(low, high, bytes, index * bytes) && call.bits === 64) status = GNTST.bad_virt_addr;
  }
  return storeStatus(call, layout.status, 0, status);
}

/** All ones for what has no gfn. */
function setGfn(call: Call, gfn: number): void {
  if (gfn >= 0) return setUnsigned64(call.scratch, 0, gfn);
  call.scratch.setInt32(0, -1, true);
  call.scratch.setInt32(4, -1, true);
}

function querySize(domain: GrantDomain, call: Call, count: number): number {
  const layout = GNTTAB_QUERY_SIZE, { scratch } = call;
  if (count !== 1) return -EINVAL;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const status = statusOfDomain(domain, scratch.getUint16(layout.dom, true));
  scratch.setInt16(layout.status, status, true);
  if (status === GNTST.okay) {
    scratch.setUint32(layout.nr_frames, domain.grantTable.frames, true);
    scratch.setUint32(layout.max_nr_frames, MAX_GRANT_FRAMES, true);
  }
  return call.store(1, layout.bytes) ? 0 : -EFAULT;
}

function getVersion(domain: GrantDomain, call: Call): number {
  const layout = GNTTAB_GET_VERSION;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const refused = ownDomain(domain, call.scratch.getUint16(layout.dom, true));
  if (refused !== 0) return refused;
  call.scratch.setUint32(0, domain.grantTable.version, true);
  return call.store(1, 4, layout.version) ? 0 : -EFAULT;
}

function setVersion(domain: GrantDomain, call: Call): number {
  const { grantTable } = domain;
  if (!call.fetch(1, GNTTAB_SET_VERSION.bytes)) return -EFAULT;
  const version = call.scratch.getUint32(GNTTAB_SET_VERSION.version, true);
  const isVersion = version === 1 || version === 2;
  const result = isVersion ? grantTable.lock.hold(() => changeVersion(domain, call, version)) : -EINVAL;
  call.scratch.setUint32(GNTTAB_SET_VERSION.version, grantTable.version, true);
  return call.store(1, GNTTAB_SET_VERSION.bytes) ? result : -EFAULT;
}

/** The first entries, which the domain's builder has filled, are kept; no other may be in use. */
function changeVersion(domain: GrantDomain, call: Call, version: GrantVersion): number {
  const { grantTable, grantFrames } = domain;
  if (grantTable.version === version) return 0;
  for (let ref = GNTTAB_NR_RESERVED_ENTRIES; ref < grantTable.entries; ref++) {
    if (grantTable.pin(ref) !== 0) return -EBUSY;
  }
  const kept = keepReserved(grantTable);
  if (kept === undefined) return -ERANGE;
  for (let index = 0; index < grantTable.statusFrames; index++) {
    const gfn = grantTable.gfnOf(index, true);
    if (gfn >= 0) grantFrames.remove(gfn);
    if (grantFrames.gaveBack) call.invalidates = true;
  }
  grantTable.clear();
  grantTable.version = version;
  kept.forEach(({ header, frame }, ref) => {
    const at = grantTable.headerAt(ref), words = grantTable.shared, inUse = GTF.reading | GTF.writing;
    Atomics.store(words, at + frameWord(version), frame);
    Atomics.store(words, at, version === 1 ? header : header & ~inUse);
    if (version === 2) grantTable.setStatusBits(ref, header & inUse);
  });
  return 0;
}

/** @returns undefined there is one that version 1 cannot say */
function keepReserved(grantTable: GrantTable): { header: number; frame: number }[] | undefined {
  const { version } = grantTable, words = grantTable.shared, kept = [];
  for (let ref = 0; ref < GNTTAB_NR_RESERVED_ENTRIES; ref++) {
    const at = grantTable.headerAt(ref), header = Atomics.load(words, at), type = header & GTF.type_mask;
    const frame = Atomics.load(words, at + frameWord(version));
    if (version === 1) {
      kept.push({ header, frame });
      continue;
    }
    const isWide = type === GTF.permit_access && Atomics.load(words, at + frameWord(version) + 1) !== 0;
    if (isWide || type === GTF.transitive) return undefined;
    const isAccess = type === GTF.permit_access;
    kept.push(isAccess ? { header: header | grantTable.statusBits(ref), frame } : { header: 0, frame: 0 });
  }
  return kept;
}

function frameWord(version: GrantVersion): number {
  return (version === 1 ? GRANT_ENTRY_V1.frame : GRANT_ENTRY_V2["full_page.frame"]) / 4;
}

function swapOne(domain: GrantDomain, call: Call, index: number): number {
  const layout = GNTTAB_SWAP_GRANT_REF, { scratch } = call, offset = index * layout.bytes;
  if (!call.fetch(1, layout.bytes, offset)) return -EFAULT;
  const one = scratch.getUint32(layout.ref_a, true), other = scratch.getUint32(layout.ref_b, true);
  return storeStatus(call, layout.status, offset, swap(domain.grantTable, one, other));
}

function swap(grantTable: GrantTable, one: number, other: number): number {
  if (one >= grantTable.entries || other >= grantTable.entries) return GNTST.bad_gntref;
  if (one === other) return GNTST.okay;
  if (grantTable.pin(one) !== 0 || grantTable.pin(other) !== 0) return GNTST.eagain;
  const words = grantTable.shared, atOne = grantTable.headerAt(one), atOther = grantTable.headerAt(other);
  for (let word = 0; word < grantTable.entryWords; word++) {
    const value = Atomics.load(words, atOne + word);
    Atomics.store(words, atOne + word, Atomics.load(words, atOther + word));
    Atomics.store(words, atOther + word, value);
  }
  if (grantTable.version === 1) return GNTST.okay;
  const ofOne = grantTable.statusBits(one), ofOther = grantTable.statusBits(other);
  grantTable.clearStatusBits(one, 0xffff);
  grantTable.setStatusBits(one, ofOther);
  grantTable.clearStatusBits(other, 0xffff);
  grantTable.setStatusBits(other, ofOne);
  return GNTST.okay;
}

/** Not for HVM guests in Xen. x86 keeps its caches coherent, so there is nothing to do but to look at the arguments. */
function flushOne(domain: GrantDomain, call: Call, index: number): number {
  const layout = GNTTAB_CACHE_FLUSH, { scratch } = call;
  if (!call.fetch(1, layout.bytes, index * layout.bytes)) return -EFAULT;
  const offset = scratch.getUint16(layout.offset, true), length = scratch.getUint16(layout.length, true);
  const op = scratch.getUint32(layout.op, true);
  if (offset >= PAGE_SIZE || offset + length > PAGE_SIZE) return -EINVAL;
  if ((op & ~(GNTTAB_CACHE.INVAL | GNTTAB_CACHE.CLEAN)) !== 0) return -EINVAL;
  if (length === 0 || op === 0) return 0;
  const mfn = Math.floor(unsigned64(scratch, layout["a.dev_bus_addr"]) / PAGE_SIZE);
  return domain.grantFrames.owns(mfn) ? 0 : -EINVAL;
}
