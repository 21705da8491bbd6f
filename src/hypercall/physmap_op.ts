/** memory_op: what stands at which gfn (xenmem_add_to_physmap_one in xen/arch/x86/mm/p2m.c). */

import { EACCES, EDOM, EFAULT, EILSEQ, EINVAL, ENOSYS, EOPNOTSUPP, EPERM } from "../linux/errno.ts";
import {
  ADD_TO_PHYSMAP,
  ADD_TO_PHYSMAP_BATCH,
  REMOVE_FROM_PHYSMAP,
  XENMAPIDX_grant_table_status,
  XENMAPSPACE,
} from "./abi/memory.ts";
import { DOMID_SELF } from "./abi/xen.ts";
import type { Call } from "./call.ts";
import { type Caller, ownDomain } from "./domains.ts";

/** What it needs of the domain. Results are 0 or an error number. */
export interface PhysmapDomain extends Caller {
  placeSharedInfo(gfn: number): number;
  /** A frame of the grant table, or of its status; the table grows for it. EINVAL: it cannot */
  placeGrantFrame(index: number, isStatus: boolean, gfn: number): number;
  /** What stands at one gfn stands at another from now on. */
  move(from: number, to: number): number;
  remove(gfn: number): number;
  /** Whether the last operation gave RAM back. */
  readonly gaveBack: boolean;
  /** The run has ended: long lists need not be. */
  readonly isEnding: boolean;
}

/** A number of pages is 16 bits wide. */
const MOST_PAGES = 0xffff;

/** add_to_physmap. @param start how many of a range were done before */
export function addToPhysmap(domain: PhysmapDomain, call: Call, start: number): number {
  const layout = ADD_TO_PHYSMAP[call.bits], { scratch } = call;
  if (start > MOST_PAGES && call.bits === 64) return -EDOM;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  if (start > MOST_PAGES) return -EDOM;
  const space = scratch.getUint32(layout.space, true), size = scratch.getUint16(layout.size, true);
  if (space === XENMAPSPACE.gmfn_foreign) return -ENOSYS; // which domain's? The batch says it
  const refused = ownDomain(domain, scratch.getUint16(layout.domid, true));
  if (refused !== 0) return refused;
  if (space === XENMAPSPACE.dev_mmio) return -EACCES;
  const index = call.longAt(layout.idx), gfn = call.longAt(layout.gpfn);
  if (space !== XENMAPSPACE.gmfn_range) return add(domain, call, space, index, gfn, DOMID_SELF);
  if (size < start) return -EILSEQ;
  for (let page = start; page < size && !domain.isEnding; page++) {
    const result = add(domain, call, XENMAPSPACE.gmfn, index + page, gfn + page, DOMID_SELF);
    if (result !== 0) return result;
  }
  return 0;
}

/** add_to_physmap_batch: each page has its own result, in a list. */
export function addBatchToPhysmap(domain: PhysmapDomain, call: Call, start: number): number {
  const layout = ADD_TO_PHYSMAP_BATCH[call.bits], { scratch } = call, { long } = layout;
  if (start > MOST_PAGES && call.bits === 64) return -EDOM;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  if (start > MOST_PAGES) return -EDOM;
  const space = scratch.getUint16(layout.space, true), size = scratch.getUint16(layout.size, true);
  if (space === XENMAPSPACE.gmfn_range) return -EOPNOTSUPP;
  const refused = ownDomain(domain, scratch.getUint16(layout.domid, true));
  if (refused !== 0) return refused;
  if (space === XENMAPSPACE.dev_mmio) return -EACCES;
  if (size < start) return -EILSEQ;
  const foreign = scratch.getUint16(layout["u.foreign_domid"], true);
  const low = call.longLow(layout.idxs), high = call.longHigh(layout.idxs);
  const gfnsLow = call.longLow(layout.gpfns), gfnsHigh = call.longHigh(layout.gpfns);
  const errorsLow = call.longLow(layout.errs), errorsHigh = call.longHigh(layout.errs);
  for (let page = start; page < size && !domain.isEnding; page++) {
    if (!call.fetchAt(low, high, long, page * long)) return -EFAULT;
    const index = call.longAt(0);
    if (!call.fetchAt(gfnsLow, gfnsHigh, long, page * long)) return -EFAULT;
    scratch.setInt32(0, add(domain, call, space, index, call.longAt(0), foreign), true);
    if (!call.storeAt(errorsLow, errorsHigh, 4, page * 4)) return -EFAULT;
  }
  return 0;
}

/** One page. @returns 0, or -errno */
function add(
  domain: PhysmapDomain,
  call: Call,
  space: number,
  index: number,
  gfn: number,
  foreign: number,
): number {
  let result: number;
  switch (space) {
    case XENMAPSPACE.shared_info:
      result = index === 0 ? domain.placeSharedInfo(gfn) : EINVAL;
      break;
    case XENMAPSPACE.grant_table: {
      const isStatus = index >= XENMAPIDX_grant_table_status;
      result = domain.placeGrantFrame(isStatus ? index - XENMAPIDX_grant_table_status : index, isStatus, gfn);
      break;
    }
    case XENMAPSPACE.gmfn:
      result = domain.move(index, gfn);
      break;
    case XENMAPSPACE.gmfn_foreign: // only domain 0 may, as long as there is nobody to map from
      return foreign === DOMID_SELF ? -EINVAL : -EPERM;
    default:
      return -EINVAL;
  }
  if (domain.gaveBack) call.invalidates = true;
  return -result;
}

/** remove_from_physmap. */
export function removeFromPhysmap(domain: PhysmapDomain, call: Call): number {
  const layout = REMOVE_FROM_PHYSMAP[call.bits];
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const refused = ownDomain(domain, call.scratch.getUint16(layout.domid, true));
  if (refused !== 0) return refused;
  const result = domain.remove(call.longAt(layout.gpfn));
  if (domain.gaveBack) call.invalidates = true;
  return -result;
}
