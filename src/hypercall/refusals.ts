/** The hypercalls that a domU is refused whatever it says (columns hvm32 and hvm64, xen/include/hypercall-defs.c). */

import { ENOSYS, EOPNOTSUPP, EPERM } from "../linux/errno.ts";
import { HYPERCALL } from "./abi/xen.ts";
import type { Call } from "./call.ts";

/** By the hypercall's number, what it is refused with. */
export const REFUSALS: Readonly<Record<number, number>> = {
  // For PV guests only.
  [HYPERCALL.set_trap_table]: -ENOSYS,
  [HYPERCALL.mmu_update]: -ENOSYS,
  [HYPERCALL.set_gdt]: -ENOSYS,
  [HYPERCALL.stack_switch]: -ENOSYS,
  [HYPERCALL.set_callbacks]: -ENOSYS,
  [HYPERCALL.fpu_taskswitch]: -ENOSYS,
  [HYPERCALL.set_debugreg]: -ENOSYS,
  [HYPERCALL.get_debugreg]: -ENOSYS,
  [HYPERCALL.update_descriptor]: -ENOSYS,
  [HYPERCALL.update_va_mapping]: -ENOSYS,
  [HYPERCALL.update_va_mapping_otherdomain]: -ENOSYS,
  [HYPERCALL.iret]: -ENOSYS,
  [HYPERCALL.set_segment_base]: -ENOSYS,
  [HYPERCALL.nmi_op]: -ENOSYS,
  [HYPERCALL.callback_op]: -ENOSYS,
  [HYPERCALL.xenoprof_op]: -ENOSYS,
  [HYPERCALL.kexec_op]: -ENOSYS,
  // The same, and superseded.
  [HYPERCALL.sched_op_compat]: -ENOSYS,
  [HYPERCALL.event_channel_op_compat]: -ENOSYS,
  [HYPERCALL.physdev_op_compat]: -ENOSYS,
  // Gone since 4.13.
  [HYPERCALL.tmem_op]: -ENOSYS,
  // Without a security module (xsm_do_xsm_op, xsm/dummy.h).
  [HYPERCALL.xsm_op]: -ENOSYS,
  // Without CONFIG_ARGO, as Xen is built where nothing is said.
  [HYPERCALL.argo_op]: -ENOSYS,
  // Not with a local APIC (do_xenpmu_op, xen/arch/x86/cpu/vpmu.c).
  [HYPERCALL.xenpmu_op]: -EOPNOTSUPP,
  // xsm_hypfs_op (do_hypfs_op, xen/common/hypfs.c).
  [HYPERCALL.hypfs_op]: -EPERM,
  // mca: for PV guests only. Nothing is behind arch_2 to arch_7; arch_1 is pagingDomctlCont.
  [HYPERCALL.arch_0]: -ENOSYS,
  [HYPERCALL.arch_2]: -ENOSYS,
  [HYPERCALL.arch_3]: -ENOSYS,
  [HYPERCALL.arch_4]: -ENOSYS,
  [HYPERCALL.arch_5]: -ENOSYS,
  [HYPERCALL.arch_6]: -ENOSYS,
  [HYPERCALL.arch_7]: -ENOSYS,
};

/** Those, and any number that Xen does not know. @returns -errno */
export function refuse(_caller: unknown, call: Call): number {
  return REFUSALS[call.number] ?? -ENOSYS;
}
