/** What a guest sees of us that Xen does not have. */

/** Where a guest reaches us without a hypercall page: `out 0xe8, eax` with the arguments in Xen's registers. */
export const HYPERCALL_PORT = 0xe8;

/** The version that a guest finds: 4.17, major in the upper half. */
export const XEN_VERSION = (4 << 16) | 17;

/** Where our own CPUID leaves begin: like other hypervisors' at a multiple of 0x100. Their signature is "XenolithXeno". */
export const OUR_CPUID = {
  FIRST_LEAF: 0x4000_0200,
  SIGNATURE_EBX: 0x6f6e_6558,
  SIGNATURE_ECX: 0x6874_696c,
  SIGNATURE_EDX: 0x6f6e_6558,
} as const;

/** Offset of the leaf that tells extended regions: subleaf 0 how many, each one after it a region. */
export const REGIONS_LEAF = 1;

/** The version of all that tells of extended regions. */
export const EXTENDED_REGIONS_VERSION = 1;

/** Our subop of memory_op (docs/extended-regions.md), the last but one that its bits can say; and what it is to do. */
export const XENMEM_extended_regions = 62;
export const REGIONS_OP = { get: 0, lend: 1, reclaim: 2 } as const;

/** struct xen_extended_regions; the same for code of both widths. */
export const EXTENDED_REGIONS = {
  version: 0,
  op: 4,
  domid: 8,
  pad: 10,
  nr_regions: 12,
  first_gfn: 16,
  nr_gfns: 24,
  granularity: 32,
  regions: 40,
  bytes: 48,
} as const;

/** struct xen_extended_region: gfns, and how many of them are in use, by what. */
export const EXTENDED_REGION = {
  first_gfn: 0,
  nr_gfns: 8,
  grants: 16,
  special: 24,
  device: 32,
  lent: 40,
  bytes: 48,
} as const;
