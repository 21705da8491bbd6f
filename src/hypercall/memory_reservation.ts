/** memory_op: more memory, less, or other. */

import { EFAULT, EINVAL, EPERM } from "../linux/errno.ts";
import { MAX_EXTENT_ORDER, MAX_EXTENTS, MEMORY_EXCHANGE, MEMORY_RESERVATION, XENMEMF } from "./abi/memory.ts";
import type { Call } from "./call.ts";
import { type Caller, ownDomain } from "./domains.ts";

/** What it needs of the domain. */
export interface ReservationDomain extends Caller {
  /** The guest gives pages back, from the first on. @returns how many it had */
  decrease(gfn: number, count: number): number;
  /** The guest gets pages. @returns how many, from the first on */
  populate(gfn: number, count: number): number;
  /** The run has ended: long lists need not be. */
  readonly isEnding: boolean;
}

const PAGE_SHIFT = 12;

/** xen_memory_reservation as it stands in the scratch. */
interface Reservation {
  readonly low: number;
  readonly high: number;
  readonly extents: number;
  readonly pages: number;
}

/**
 * decrease_reservation and populate_physmap: extents in their order from `start` on. What cannot be done, of the
 * arguments or of an extent, is no error: the result is how many were done, those before `start` included.
 */
export function reserve(domain: ReservationDomain, call: Call, start: number, decrease: boolean): number {
  const { long } = MEMORY_RESERVATION[call.bits], reservation = fetchReservation(domain, call, start, !decrease);
  if (reservation === undefined) return start;
  const { low, high, extents, pages } = reservation;
  let done = start;
  for (; done < extents && !domain.isEnding; done++) {
    if (!call.fetchAt(low, high, long, done * long)) break;
    const gfn = call.longAt(0);
    const count = decrease ? domain.decrease(gfn, pages) : domain.populate(gfn, pages);
    if (decrease && count > 0) call.invalidates = true;
    if (count < pages) break;
  }
  return done;
}

/**
 * In Xen the guest gets frames that it has no gfn for, as long as it has less than it may have; so it has less than it
 * could use. Here it gets none.
 */
export function increaseReservation(domain: ReservationDomain, call: Call, start: number): number {
  fetchReservation(domain, call, start, false);
  return start;
}

function fetchReservation(
  domain: ReservationDomain,
  call: Call,
  start: number,
  populates: boolean,
): Reservation | undefined {
  const layout = MEMORY_RESERVATION[call.bits], { scratch } = call;
  if (!call.fetch(1, layout.bytes)) return undefined;
  const extents = call.longAt(layout.nr_extents), flags = scratch.getUint32(layout.mem_flags, true);
  const order = scratch.getUint32(layout.extent_order, true);
  if (extents >= MAX_EXTENTS || start >= extents) return undefined;
  if (ownDomain(domain, scratch.getUint16(layout.domid, true)) !== 0 || !areFlags(flags)) return undefined;
  // A guest cannot have its own memory populated on demand.
  if (order > MAX_EXTENT_ORDER || (populates && (flags & XENMEMF.populate_on_demand) !== 0)) return undefined;
  const low = call.longLow(layout.extent_start), high = call.longHigh(layout.extent_start);
  return { low, high, extents, pages: 2 ** order };
}

/** Bits of the machine's addresses, if any, leave room for a page; whoever wants a NUMA node may not insist on it. */
function areFlags(flags: number): boolean {
  const addressBits = flags & 0xff, node = (flags >>> 8) & 0xff;
  if (addressBits !== 0 && addressBits <= PAGE_SHIFT) return false;
  const isPhysical = (flags & XENMEMF.vnode) === 0;
  return !(isPhysical && node !== 0 && (flags & XENMEMF.exact_node_request) !== 0);
}

/** exchange: the frames of a guest whose second stage is kept for it cannot be taken from it: so only of nothing. */
export function exchange(domain: ReservationDomain, call: Call): number {
  const layout = MEMORY_EXCHANGE[call.bits];
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const result = checkExchange(domain, call, call.longAt(layout.nr_exchanged)), at = layout.nr_exchanged;
  // How many were exchanged has not changed, and is said again.
  return call.storeAt(call.low[1], call.high[1], layout.long, at, at) ? result : -EFAULT;
}

function checkExchange(domain: ReservationDomain, call: Call, exchanged: number): number {
  const layout = MEMORY_EXCHANGE[call.bits], list = MEMORY_RESERVATION[call.bits], { scratch } = call;
  const order = (at: number) => scratch.getUint32(at + list.extent_order, true);
  const extents = (at: number) => call.longAt(at + list.nr_extents);
  const domid = (at: number) => scratch.getUint16(at + list.domid, true);
  const most = 2 ** (8 * call.long), given = extents(layout.in) * 2 ** order(layout.in);
  if (Math.max(order(layout.in), order(layout.out)) > MAX_EXTENT_ORDER) return -EPERM;
  if (exchanged > extents(layout.in) || domid(layout.in) !== domid(layout.out)) return -EINVAL;
  if (given >= most || given !== extents(layout.out) * 2 ** order(layout.out)) return -EINVAL;
  const refused = ownDomain(domain, domid(layout.in));
  if (refused !== 0 || exchanged === extents(layout.in)) return refused;
  const low = call.longLow(layout.in + list.extent_start), high = call.longHigh(layout.in + list.extent_start);
  return call.fetchAt(low, high, list.long, exchanged * list.long, layout.bytes) ? -EINVAL : -EFAULT;
}
