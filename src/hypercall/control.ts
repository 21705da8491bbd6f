/** The hypercalls of tool stacks and device models, as far as a domU gets: to its refusal, in Xen's order of checks. */

import { E2BIG, EACCES, EFAULT, EINVAL, EOPNOTSUPP, EPERM, ESRCH } from "../linux/errno.ts";
import {
  DOMCTL,
  PLATFORM_OP,
  SYSCTL,
  XEN_DOMCTL_INTERFACE_VERSION,
  XEN_SYSCTL_INTERFACE_VERSION,
  XENPF_INTERFACE_VERSION,
} from "./abi/control.ts";
import { DOMID_INVALID, DOMID_IO, DOMID_SELF, DOMID_XEN } from "./abi/xen.ts";
import type { Call } from "./call.ts";
import { type Caller, privilegedOver } from "./domains.ts";

/** Subops of domctl that Xen does not look up a domain for, or not always (XEN_DOMCTL_*). */
const XEN_DOMCTL = {
  createdomain: 1,
  getdomaininfo: 5,
  shadow_op: 10,
  assign_device: 37,
  test_assign_device: 45,
  deassign_device: 47,
  vm_event_op: 56,
  gdbsx_guestmemio: 1000,
} as const;

/** struct xen_dm_op_buf, and how many a dm_op may have (xen/common/dm.c). */
const DM_OP_BUF_BYTES = { 64: 16, 32: 8 } as const, MAX_DM_OP_BUFS = 2;

/** sysctl (xen/common/sysctl.c). @returns -errno */
export function sysctl(_caller: Caller, call: Call): number {
  if (!call.fetch(0, SYSCTL.bytes)) return -EFAULT;
  const version = call.scratch.getUint32(SYSCTL.interface_version, true);
  return version === XEN_SYSCTL_INTERFACE_VERSION ? -EPERM : -EACCES;
}

/** platform_op (xen/arch/x86/platform_hypercall.c). @returns -errno */
export function platformOp(_caller: Caller, call: Call): number {
  if (!call.fetch(0, PLATFORM_OP.bytes)) return -EFAULT;
  const version = call.scratch.getUint32(PLATFORM_OP.interface_version, true);
  return version === XENPF_INTERFACE_VERSION ? -EPERM : -EACCES;
}

/** domctl (xen/common/domctl.c). @returns -errno */
export function domctl(caller: Caller, call: Call): number {
  if (!call.fetch(0, DOMCTL.bytes)) return -EFAULT;
  if (call.scratch.getUint32(DOMCTL.interface_version, true) !== XEN_DOMCTL_INTERFACE_VERSION) return -EACCES;
  const domid = call.scratch.getUint16(DOMCTL.domain, true);
  switch (call.scratch.getUint32(DOMCTL.cmd, true)) {
    case XEN_DOMCTL.createdomain:
    case XEN_DOMCTL.getdomaininfo: // of one that is not there: the next one's (until Xen 4.18)
    case XEN_DOMCTL.gdbsx_guestmemio:
      return -EPERM;
    case XEN_DOMCTL.assign_device:
    case XEN_DOMCTL.deassign_device:
      return domid === DOMID_IO ? -EPERM : privilegedOver(caller, domid);
    case XEN_DOMCTL.test_assign_device:
    case XEN_DOMCTL.vm_event_op:
      return domid === DOMID_INVALID ? -EPERM : privilegedOver(caller, domid);
    default:
      return privilegedOver(caller, domid);
  }
}

/** arch_1 (paging_domctl_cont): by it Xen goes on with a domctl (xen/arch/x86/mm/paging.c). @returns -errno */
export function pagingDomctlCont(caller: Caller, call: Call): number {
  if (!call.fetch(0, DOMCTL.bytes)) return -EFAULT;
  const isShadowOp = call.scratch.getUint32(DOMCTL.interface_version, true) === XEN_DOMCTL_INTERFACE_VERSION &&
    call.scratch.getUint32(DOMCTL.cmd, true) === XEN_DOMCTL.shadow_op;
  if (!isShadowOp) return -EOPNOTSUPP;
  const refused = privilegedOver(caller, call.scratch.getUint16(DOMCTL.domain, true));
  return refused === -EPERM && !call.store(0, DOMCTL.bytes) ? -EFAULT : refused;
}

/** dm_op (xen/common/dm.c, xen/arch/x86/hvm/dm.c): nobody is his own device model. @returns -errno */
export function dmOp(caller: Caller, call: Call): number {
  const domid = call.low[0] & 0xffff, buffers = call.low[1];
  if (buffers > MAX_DM_OP_BUFS) return -E2BIG;
  if (buffers > 0 && !call.fetch(2, buffers * DM_OP_BUF_BYTES[call.bits])) return -EFAULT;
  return privilegedOver(caller, domid);
}

/** mmuext_op (xen/arch/x86/mm.c): for a PV domain's page tables; of those here none is PV. @returns -errno */
export function mmuextOp(caller: Caller, call: Call): number {
  const domid = call.low[3] & 0xffff;
  if (domid === DOMID_SELF) return -EINVAL;
  if (domid === caller.domid) return -ESRCH; // it would have to say so by DOMID_SELF
  if (domid === DOMID_IO || domid === DOMID_XEN) return -EPERM; // those count as PV
  return privilegedOver(caller, domid) === -EPERM ? -EINVAL : -ESRCH;
}
