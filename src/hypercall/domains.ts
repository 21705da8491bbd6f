/**
 * Which domains a guest's hypercalls may be about. There are two in its world: itself, and domain 0, an HVM domain that
 * may do what it wants with this one and at which this one may do nothing (Xen's default policy, xsm/dummy.h).
 */

import { EPERM, ESRCH } from "../linux/errno.ts";
import { DOMID_SELF } from "./abi/xen.ts";
import { HOST_DOMID } from "../memory/domid.ts";

/** Who makes a hypercall. */
export interface Caller {
  /** The domain's id. */
  readonly domid: number;
}

/** The domain of a call that a guest makes about itself, by DOMID_SELF or by its id. @returns 0, -EPERM, or -ESRCH */
export function ownDomain(caller: Caller, domid: number): number {
  return domid === DOMID_SELF || domid === caller.domid ? 0 : privilegedOver(caller, domid);
}

/** The domain of a call that takes privilege over it, even if it is one's own; DOMID_SELF is none. @returns -errno */
export function privilegedOver(caller: Caller, domid: number): number {
  return domid === HOST_DOMID || domid === caller.domid ? -EPERM : -ESRCH;
}
