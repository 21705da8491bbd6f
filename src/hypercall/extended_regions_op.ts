/** Our subop of memory_op: where a guest's extended regions are, and what device models may have of them. */

import { EFAULT, EINVAL, ENOBUFS, EOPNOTSUPP } from "../linux/errno.ts";
import type { RegionTally } from "../memory/region_frames.ts";
import { EXTENDED_REGION, EXTENDED_REGIONS, EXTENDED_REGIONS_VERSION, REGIONS_OP } from "./abi/ours.ts";
import type { Call } from "./call.ts";
import { type Caller, ownDomain } from "./domains.ts";
import { setUnsigned64, unsigned64 } from "./layout.ts";

/** A region, in gfns, and what is in it. */
export interface RegionReport extends RegionTally {
  readonly first: number;
  readonly count: number;
}

/** What it needs of the domain. Results are 0 or an error number. */
export interface RegionDomain extends Caller {
  /** How many regions there are. */
  readonly regions: number;
  /** Made anew: it is not asked for often. */
  region(index: number): RegionReport;
  /** Loans begin and end at multiples of so many gfns of a region, or at its end. */
  readonly regionGranularity: number;
  /** Device models may have windows there. EINVAL no region, or not at multiples; EBUSY something is there; ENOSPC */
  lend(first: number, count: number): number;
  /** EINVAL that was not lent; EBUSY a window is there */
  reclaim(first: number, count: number): number;
}

/** @returns 0 or -errno */
export function extendedRegionsOp(domain: RegionDomain, call: Call): number {
  const layout = EXTENDED_REGIONS, { scratch } = call;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  if (scratch.getUint32(layout.version, true) !== EXTENDED_REGIONS_VERSION) {
    scratch.setUint32(0, EXTENDED_REGIONS_VERSION, true);
    return call.store(1, 4, layout.version) ? -EOPNOTSUPP : -EFAULT;
  }
  if (scratch.getUint16(layout.pad, true) !== 0) return -EINVAL;
  const refused = ownDomain(domain, scratch.getUint16(layout.domid, true));
  if (refused !== 0) return refused;
  const first = unsigned64(scratch, layout.first_gfn), count = unsigned64(scratch, layout.nr_gfns);
  switch (scratch.getUint32(layout.op, true)) {
    case REGIONS_OP.get:
      return get(domain, call);
    case REGIONS_OP.lend:
      return -domain.lend(first, count);
    case REGIONS_OP.reclaim:
      return -domain.reclaim(first, count);
    default:
      return -EINVAL;
  }
}

/** As many regions as there is room for; how many there are. Without a list that is all. */
function get(domain: RegionDomain, call: Call): number {
  const layout = EXTENDED_REGIONS, { scratch } = call, room = scratch.getUint32(layout.nr_regions, true);
  const low = scratch.getUint32(layout.regions, true), high = scratch.getUint32(layout.regions + 4, true);
  const isAsked = (low | high) === 0, told = isAsked ? 0 : Math.min(room, domain.regions);
  for (let index = 0; index < told; index++) {
    const { first, count, grants, special, device, lent } = domain.region(index);
    setUnsigned64(scratch, EXTENDED_REGION.first_gfn, first);
    setUnsigned64(scratch, EXTENDED_REGION.nr_gfns, count);
    setUnsigned64(scratch, EXTENDED_REGION.grants, grants);
    setUnsigned64(scratch, EXTENDED_REGION.special, special);
    setUnsigned64(scratch, EXTENDED_REGION.device, device);
    setUnsigned64(scratch, EXTENDED_REGION.lent, lent);
    if (!call.storeAt(low, high, EXTENDED_REGION.bytes, index * EXTENDED_REGION.bytes)) return -EFAULT;
  }
  scratch.setUint32(0, domain.regions, true);
  if (!call.store(1, 4, layout.nr_regions)) return -EFAULT;
  setUnsigned64(scratch, 0, domain.regionGranularity);
  if (!call.store(1, 8, layout.granularity)) return -EFAULT;
  return isAsked || told === domain.regions ? 0 : -ENOBUFS;
}
