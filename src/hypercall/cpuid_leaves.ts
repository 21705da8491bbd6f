/** CPUID by which a guest finds Xen (xen/arch-x86/cpuid.h; Xen: cpuid_hypervisor_leaves). */

import type { CpuidLeaf } from "../kvm/cpuid.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import type { ExtendedRegion } from "../memory/extended_regions.ts";
import { CPUID_LEAF, HYPERCALL_PAGE_MSR, XEN_CPUID, XEN_HVM_CPUID } from "./abi/cpuid.ts";
import { EXTENDED_REGIONS_VERSION, OUR_CPUID, REGIONS_LEAF, XEN_VERSION } from "./abi/ours.ts";

/** EAX of the leaf "time": the host's time-stamp counter is good on all processors. */
const TSC_IS_SAFE = 1 << 1;

/**
 * The leaves of one vCPU: Xen's, and our own.
 * @param tscKhz of its time-stamp counter
 * @param regions the domain's extended regions
 */
export function xenLeaves(
  vcpu: number,
  domid: number,
  tscKhz: number,
  regions: readonly ExtendedRegion[] = [],
): CpuidLeaf[] {
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
    ...regionLeaves(regions),
  ];
}

/** Our own leaves: where the guest's extended regions are (docs/extended-regions.md). */
function regionLeaves(regions: readonly ExtendedRegion[]): CpuidLeaf[] {
  const first = OUR_CPUID.FIRST_LEAF, leaf = first + REGIONS_LEAF;
  const halves = (value: number) => [value % 2 ** 32, Math.floor(value / 2 ** 32)];
  return [
    {
      leaf: first,
      eax: leaf,
      ebx: OUR_CPUID.SIGNATURE_EBX,
      ecx: OUR_CPUID.SIGNATURE_ECX,
      edx: OUR_CPUID.SIGNATURE_EDX,
    },
    { leaf, index: 0, eax: EXTENDED_REGIONS_VERSION, ebx: regions.length, ecx: 0, edx: 0 },
    ...regions.map(({ address, sizeBytes }, region) => {
      const [eax, ebx] = halves(address / PAGE_SIZE), [ecx, edx] = halves(sizeBytes / PAGE_SIZE);
      return { leaf, index: region + 1, eax, ebx, ecx, edx };
    }),
  ];
}

/** Ticks to nanoseconds as pvclock does it: ((ticks << shift) * fraction) >> 32. */
export function nanoseconds(tscKhz: number): { fraction: number; shift: number } {
  let ratio = 1e6 / tscKhz, shift = 0;
  for (; ratio >= 1; shift++) ratio /= 2;
  for (; ratio < 0.5; shift--) ratio *= 2;
  return { fraction: Math.floor(ratio * 2 ** 32) >>> 0, shift: shift | 0 };
}
