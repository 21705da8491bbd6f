/** Numbers and layouts of the hypercalls that a guest may make (xen/xen.h, xen/memory.h). */

/** Where a guest reaches us without a hypercall page: `out 0xe8, eax` with the arguments in Xen's registers. Ours. */
export const HYPERCALL_PORT = 0xe8;

/** Hypercalls (__HYPERVISOR_*). */
export const HYPERCALL = { memory_op: 12 } as const;

/** Subops of memory_op (XENMEM_*). */
export const XENMEM = {
  decrease_reservation: 1,
  current_reservation: 3,
  maximum_reservation: 4,
  populate_physmap: 6,
} as const;

/** The caller's own domain. */
export const DOMID_SELF = 0x7ff0;

/** struct xen_memory_reservation, by the width of the caller's code; gfns in the list are as wide as its longs. */
export const MEMORY_RESERVATION = {
  64: { extent_start: 0, nr_extents: 8, extent_order: 16, domid: 24, bytes: 32, long: 8 },
  32: { extent_start: 0, nr_extents: 4, extent_order: 8, domid: 16, bytes: 20, long: 4 },
} as const;

/** The largest extent of a domU (CONFIG_DOMU_MAX_ORDER): 2 MiB. */
export const MAX_EXTENT_ORDER = 9;

/** What the number of extents must be below: memory_op keeps its progress in the rest of the subop (MEMOP_EXTENT_SHIFT). */
export const MAX_EXTENTS = 2 ** 25;
