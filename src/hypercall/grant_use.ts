/** grant_table_op: mapping, unmapping and copying, one request of a list each. The grant lock is held. */

import { EFAULT, EPERM } from "../linux/errno.ts";
import {
  GNTCOPY,
  GNTMAP,
  GNTST,
  GNTTAB_COPY,
  GNTTAB_MAP_GRANT_REF,
  GNTTAB_UNMAP_GRANT_REF,
} from "./abi/grant_table.ts";
import { DOMID_SELF } from "./abi/xen.ts";
import type { Call } from "./call.ts";
import { ownDomain, privilegedOver } from "./domains.ts";
import type { GrantDomain } from "./grants.ts";
import { setUnsigned64, unsigned64 } from "./layout.ts";
import { PAGE_SIZE } from "../memory/address.ts";

/** The end of a request: its status, and nothing else of it. @param at of the status @returns 0 or -EFAULT */
export function storeStatus(call: Call, at: number, offset: number, status: number): number {
  call.scratch.setInt16(0, status, true);
  return call.store(1, 2, offset + at) ? 0 : -EFAULT;
}

/** map_grant_ref. */
export function mapOne(domain: GrantDomain, call: Call, index: number): number {
  const layout = GNTTAB_MAP_GRANT_REF, offset = index * layout.bytes;
  if (!call.fetch(1, layout.bytes, offset)) return -EFAULT;
  const status = map(domain, call);
  if (domain.grantFrames.gaveBack) call.invalidates = true;
  call.scratch.setInt16(layout.status, status, true);
  return call.store(1, layout.bytes, offset) ? 0 : -EFAULT;
}

/** The request stands in the scratch, and gets what is not its status. @returns its status */
function map(domain: GrantDomain, { scratch }: Call): number {
  const layout = GNTTAB_MAP_GRANT_REF, { grantTable, grants, grantFrames } = domain;
  const flags = scratch.getUint32(layout.flags, true), ref = scratch.getUint32(layout.ref, true);
  if ((flags & (GNTMAP.device_map | GNTMAP.host_map)) === 0) return GNTST.bad_gntref;
  if ((flags & (GNTMAP.device_map | GNTMAP.application_map | GNTMAP.contains_pte)) !== 0) return GNTST.general_error;
  const dom = scratch.getUint16(layout.dom, true);
  if (dom !== domain.domid) return statusOfOther(domain, dom);
  const handle = grantTable.newHandle(), readOnly = (flags & GNTMAP.readonly) !== 0;
  if (handle < 0) return GNTST.no_device_space;
  const gfn = Math.floor(unsigned64(scratch, layout.host_addr) / PAGE_SIZE);
  const isPlain = (flags & ~GNTMAP.readonly) === GNTMAP.host_map;
  let status = grants.acquire(ref, domain.domid, readOnly, true);
  if (status === GNTST.okay && !(isPlain && grantFrames.mapGrant(gfn, grantTable.mfn(ref), readOnly) === 0)) {
    grants.release(ref, readOnly);
    status = GNTST.general_error;
  }
  if (status !== GNTST.okay) {
    grantTable.putHandle(handle);
    return status;
  }
  grantTable.setMapping(handle, flags & (GNTMAP.host_map | GNTMAP.readonly), ref);
  scratch.setUint32(layout.handle, handle, true);
  setUnsigned64(scratch, layout.dev_bus_addr, grantTable.mfn(ref) * PAGE_SIZE);
  return GNTST.okay;
}

/** Whoever grants nothing: domain 0 does not to us, and others there are none. A request names no domain by DOMID_SELF. */
function statusOfOther(domain: GrantDomain, domid: number): number {
  return privilegedOver(domain, domid) === -EPERM ? GNTST.general_error : GNTST.bad_domain;
}

/** unmap_grant_ref. */
export function unmapOne(domain: GrantDomain, call: Call, index: number): number {
  const layout = GNTTAB_UNMAP_GRANT_REF, offset = index * layout.bytes;
  if (!call.fetch(1, layout.bytes, offset)) return -EFAULT;
  return storeStatus(call, layout.status, offset, unmap(domain, call.scratch));
}

function unmap({ grantTable, grants, grantFrames }: GrantDomain, request: DataView): number {
  const layout = GNTTAB_UNMAP_GRANT_REF, handle = request.getUint32(layout.handle, true);
  const flags = grantTable.mappingFlags(handle);
  if (flags === 0) return GNTST.bad_handle;
  const ref = grantTable.mappingRef(handle), mfn = grantTable.mfn(ref);
  const bus = unsigned64(request, layout.dev_bus_addr), host = unsigned64(request, layout.host_addr);
  if (bus !== 0 && bus !== mfn * PAGE_SIZE) return GNTST.general_error;
  if (host === 0) return GNTST.okay; // nothing of it is unmapped
  if (grantFrames.unmapGrant(Math.floor(host / PAGE_SIZE), mfn) !== 0) return GNTST.general_error;
  grants.release(ref, (flags & GNTMAP.readonly) !== 0);
  grantTable.putHandle(handle);
  return GNTST.okay;
}

/** copy. */
export function copyOne(domain: GrantDomain, call: Call, index: number): number {
  const layout = GNTTAB_COPY[call.bits], offset = index * layout.bytes;
  if (!call.fetch(1, layout.bytes, offset)) return -EFAULT;
  return storeStatus(call, layout.status, offset, copy(domain, call));
}

function copy(domain: GrantDomain, call: Call): number {
  const layout = GNTTAB_COPY[call.bits], { scratch } = call, flags = scratch.getUint16(layout.flags, true);
  const from = scratch.getUint16(layout["source.domid"], true), to = scratch.getUint16(layout["dest.domid"], true);
  const fromRef = (flags & GNTCOPY.source_gref) !== 0, toRef = (flags & GNTCOPY.dest_gref) !== 0;
  const refused = domainStatus(domain, from, fromRef) || domainStatus(domain, to, toRef);
  if (refused !== GNTST.okay) return refused;
  // Both are looked up before anything is stored in the scratch again.
  const source = call.longAt(layout["source.u.gmfn"]), target = call.longAt(layout["dest.u.gmfn"]);
  const sourceRef = call.longLow(layout["source.u.ref"]), targetRef = call.longLow(layout["dest.u.ref"]);
  const claimed = claim(domain, from, fromRef, fromRef ? sourceRef : source, true);
  if (claimed < 0) return claimed;
  const owned = claim(domain, to, toRef, toRef ? targetRef : target, false);
  const status = owned < 0 ? owned : copyBetween();
  if (owned >= 0) letGo(domain, toRef, targetRef, owned, false);
  letGo(domain, fromRef, sourceRef, claimed, true);
  return status;

  function copyBetween(): number {
    const bytes = scratch.getUint16(layout.len, true), { grantTable, grantFrames } = domain;
    const at = scratch.getUint16(layout["source.offset"], true), toAt = scratch.getUint16(layout["dest.offset"], true);
    if (at + bytes > PAGE_SIZE || toAt + bytes > PAGE_SIZE) return GNTST.bad_copy_arg;
    const isInside = (isRef: boolean, ref: number, offset: number) => {
      const start = isRef ? grantTable.start(ref) : 0, length = isRef ? grantTable.length(ref) : PAGE_SIZE;
      return offset >= start && offset + bytes <= start + length;
    };
    if (!isInside(fromRef, sourceRef, at) || !isInside(toRef, targetRef, toAt)) return GNTST.general_error;
    grantFrames.copy(claimed, at, owned, toAt, bytes);
    return GNTST.okay;
  }
}

/** Only DOMID_SELF may name its memory by gfns. */
function domainStatus(domain: GrantDomain, domid: number, isRef: boolean): number {
  if (domid !== DOMID_SELF && !isRef) return GNTST.permission_denied;
  return ownDomain(domain, domid) === 0 || statusOfOther(domain, domid) === GNTST.general_error
    ? GNTST.okay
    : GNTST.bad_domain;
}

/** One end of a copy. @returns its mfn, or the status, which is negative */
function claim(domain: GrantDomain, domid: number, isRef: boolean, number: number, readOnly: boolean): number {
  if (ownDomain(domain, domid) !== 0) return GNTST.general_error; // domain 0 grants nothing
  if (isRef) {
    const status = domain.grants.acquire(number, domain.domid, readOnly, false);
    return status === GNTST.okay ? domain.grantTable.mfn(number) : status;
  }
  const mfn = domain.grantFrames.getFrame(number, !readOnly);
  return mfn < 0 ? GNTST.bad_page : mfn;
}

function letGo(domain: GrantDomain, isRef: boolean, ref: number, mfn: number, readOnly: boolean): void {
  if (isRef) domain.grants.release(ref, readOnly);
  else domain.grantFrames.putFrame(mfn);
}
