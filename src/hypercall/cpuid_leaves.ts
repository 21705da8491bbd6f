/** CPUID by which a guest finds Xen (xen/arch-x86/cpuid.h; Xen: cpuid_hypervisor_leaves). */

import type { CpuidLeaf } from "../kvm/cpuid.ts";
import { CPUID_LEAF, HYPERCALL_PAGE_MSR, XEN_CPUID, XEN_HVM_CPUID } from "./abi/cpuid.ts";
import { XEN_VERSION } from "./abi/ours.ts";

/** EAX of the leaf "time": the host's time-stamp counter is good on all processors. */
const TSC_IS_SAFE = 1 << 1;

/**
 * The leaves of one vCPU.
 * @param tscKhz of its time-stamp counter
 */
export function xenLeaves(vcpu: number, domid: number, tscKhz: number): CpuidLeaf[] {
  const at = (name: keyof typeof CPUID_LEAF) => XEN_CPUID.FIRST_LEAF + CPUID_LEAF[name];
  const none = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const { fraction, shift } = nanoseconds(tscKhz);
  return [
    {
      leaf: at("signature"),
      eax: at("hvm"),
      ebx: XEN_CPUID.SIGNATURE_EBX,
      ecx: XEN_CPUID.SIGNATURE_ECX,
      edx: XEN_CPUID.SIGNATURE_EDX,
    },
    { ...none, leaf: at("version"), eax: XEN_VERSION },
    { ...none, leaf: at("hypercall_page"), eax: 1, ebx: HYPERCALL_PAGE_MSR },
    { ...none, leaf: at("time"), index: 0, eax: TSC_IS_SAFE, ecx: tscKhz },
    { ...none, leaf: at("time"), index: 1, ecx: fraction, edx: shift },
    { ...none, leaf: at("time"), index: 2, eax: tscKhz },
    {
      ...none,
      leaf: at("hvm"),
      eax: XEN_HVM_CPUID.VCPU_ID_PRESENT | XEN_HVM_CPUID.DOMID_PRESENT | XEN_HVM_CPUID.UPCALL_VECTOR,
      ebx: vcpu,
      ecx: domid,
    },
  ];
}

/** Ticks to nanoseconds as pvclock does it: ((ticks << shift) * fraction) >> 32. */
export function nanoseconds(tscKhz: number): { fraction: number; shift: number } {
  let ratio = 1e6 / tscKhz, shift = 0;
  for (; ratio >= 1; shift++) ratio /= 2;
  for (; ratio < 0.5; shift--) ratio *= 2;
  return { fraction: Math.floor(ratio * 2 ** 32) >>> 0, shift: shift | 0 };
}
