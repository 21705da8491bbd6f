/** memory_op: the guest's balloon (xen/common/memory.c). */

import { EFAULT, ENOSYS, EPERM } from "../linux/errno.ts";
import { DOMID_SELF, MAX_EXTENT_ORDER, MAX_EXTENTS, MEMORY_RESERVATION, XENMEM } from "./abi.ts";
import type { Hypercall, HypercallDomain, HypercallResult } from "./hypercall.ts";

export function memoryOp(domain: HypercallDomain, call: Hypercall): HypercallResult {
  const subop = Number(BigInt.asUintN(32, call.arguments[0]));
  switch (subop) {
    case XENMEM.decrease_reservation:
    case XENMEM.populate_physmap:
      return changeReservation(domain, call, subop === XENMEM.decrease_reservation);
    case XENMEM.current_reservation:
    case XENMEM.maximum_reservation: {
      const refused = ownDomain(domain, call);
      const isCurrent = subop === XENMEM.current_reservation;
      return result(refused ?? (isCurrent ? domain.currentReservation : domain.maximumReservation));
    }
    default:
      return result(-ENOSYS);
  }
}

/** The argument is a domid alone. @returns undefined it is the caller's own */
function ownDomain(domain: HypercallDomain, call: Hypercall): number | undefined {
  const domid = new DataView(new ArrayBuffer(2));
  if (!call.read(call.arguments[1], new Uint8Array(domid.buffer))) return -EFAULT;
  return isSelf(domain, domid.getUint16(0, true)) ? undefined : -EPERM;
}

/** Extents in their order; the first that cannot be done ends it, and the result is how many were. */
function changeReservation(domain: HypercallDomain, call: Hypercall, decrease: boolean): HypercallResult {
  const layout = MEMORY_RESERVATION[call.bits], reservation = new DataView(new ArrayBuffer(layout.bytes));
  if (!call.read(call.arguments[1], new Uint8Array(reservation.buffer))) return result(-EFAULT);
  const extents = long(reservation, layout.nr_extents, layout.long);
  const order = reservation.getUint32(layout.extent_order, true);
  if (extents >= MAX_EXTENTS) return result(0);
  if (!isSelf(domain, reservation.getUint16(layout.domid, true))) return result(-EPERM);
  if (order > MAX_EXTENT_ORDER) return result(0);
  const entry = new DataView(new ArrayBuffer(layout.long)), bytes = new Uint8Array(entry.buffer);
  const list = BigInt(long(reservation, layout.extent_start, layout.long)), pages = 2 ** order;
  let done = 0;
  for (; done < extents; done++) {
    if (!call.read(list + BigInt(done * layout.long), bytes)) break;
    const gfn = long(entry, 0, layout.long);
    if (gfn % pages !== 0) break;
    if ((decrease ? domain.decrease(gfn, pages) : domain.populate(gfn, pages)) < pages) break;
  }
  return { value: done, invalidates: decrease && done > 0 };
}

/** An unsigned long of the caller, exact below 2^53; what is more names no memory either. */
function long(view: DataView, at: number, bytes: 4 | 8): number {
  return bytes === 4 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true));
}

function isSelf(domain: HypercallDomain, domid: number): boolean {
  return domid === DOMID_SELF || domid === domain.domid;
}

function result(value: number): HypercallResult {
  return { value, invalidates: false };
}
