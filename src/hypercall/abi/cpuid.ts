/** CPUID as a guest of Xen sees it (xen/arch-x86/cpuid.h), and the hypercall page that it leads to. */

/** The first leaf, the signature "XenVMMXenVMM", and what else the header names (XEN_CPUID_*). */
export const XEN_CPUID = {
  FIRST_LEAF: 0x4000_0000,
  MAX_NUM_LEAVES: 5,
  SIGNATURE_EBX: 0x566e_6558,
  SIGNATURE_ECX: 0x6558_4d4d,
  SIGNATURE_EDX: 0x4d4d_566e,
  FEAT1_MMU_PT_UPDATE_PRESERVE_AD: 0x1,
  MACHINE_ADDRESS_WIDTH_MASK: 0xff,
} as const;

/** Leaves, counted from XEN_CPUID.FIRST_LEAF (from a multiple of 0x100 above it if another interface is there). */
export const CPUID_LEAF = { signature: 0, version: 1, hypercall_page: 2, time: 3, hvm: 4, pv: 5 } as const;

/** EAX of the leaf "hvm" (XEN_HVM_CPUID_*). */
export const XEN_HVM_CPUID = {
  APIC_ACCESS_VIRT: 0x1,
  X2APIC_VIRT: 0x2,
  IOMMU_MAPPINGS: 0x4,
  VCPU_ID_PRESENT: 0x8,
  DOMID_PRESENT: 0x10,
  EXT_DEST_ID: 0x20,
  UPCALL_VECTOR: 0x40,
} as const;

/** The MSR that the leaf "hypercall_page" names: it takes the address at which the guest wants the page. */
export const HYPERCALL_PAGE_MSR = 0x4000_0000;

/** Bytes of a hypercall's entry in the page (arch-x86/xen-x86_64.h and xen-x86_32.h). */
export const HYPERCALL_STUB_BYTES = 32;
