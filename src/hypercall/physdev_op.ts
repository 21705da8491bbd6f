/** physdev_op: physical interrupts, of which this guest has none (xen/arch/x86/physdev.c, hvm/hypercall.c). */

import { EFAULT, EINVAL, ENOSYS, EPERM } from "../linux/errno.ts";
import { MAP_PIRQ_TYPE, PHYSDEV_MAP_PIRQ, PHYSDEV_UNMAP_PIRQ, PHYSDEVOP } from "./abi/physdev.ts";
import type { Call } from "./call.ts";
import { type Caller, ownDomain } from "./domains.ts";

/** Arguments: the subop, and a pointer. @returns -errno */
export function physdevOp(caller: Caller, call: Call): number {
  if (call.low[0] === PHYSDEVOP.map_pirq) return mapPirq(caller, call);
  if (call.low[0] !== PHYSDEVOP.unmap_pirq) return -ENOSYS;
  if (!call.fetch(1, PHYSDEV_UNMAP_PIRQ.bytes)) return -EFAULT;
  return refusal(caller, call.scratch.getUint16(PHYSDEV_UNMAP_PIRQ.domid, true));
}

/** The structure goes back in any case, a newer type as the older one that it is a form of. */
function mapPirq(caller: Caller, call: Call): number {
  const layout = PHYSDEV_MAP_PIRQ[call.bits], { scratch } = call;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const type = scratch.getInt32(layout.type, true), low = call.longLow(layout.table_base);
  if (type === MAP_PIRQ_TYPE.MULTI_MSI && (low | call.longHigh(layout.table_base)) !== 0) return -EINVAL;
  if (type === MAP_PIRQ_TYPE.MSI_SEG) scratch.setInt32(layout.type, MAP_PIRQ_TYPE.MSI, true);
  const refused = refusal(caller, scratch.getUint16(layout.domid, true));
  return call.store(1, layout.bytes) ? refused : -EFAULT;
}

/** It takes privilege, over oneself, too. */
function refusal(caller: Caller, domid: number): number {
  return ownDomain(caller, domid) || -EPERM;
}
