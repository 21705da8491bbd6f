/** memory_op (xen/memory.h). */

/** Subops (XENMEM_*). */
export const XENMEM = {
  increase_reservation: 0,
  decrease_reservation: 1,
  maximum_ram_page: 2,
  current_reservation: 3,
  maximum_reservation: 4,
  machphys_mfn_list: 5,
  populate_physmap: 6,
  add_to_physmap: 7,
  memory_map: 9,
  machine_memory_map: 10,
  exchange: 11,
  machphys_mapping: 12,
  set_memory_map: 13,
  maximum_gpfn: 14,
  remove_from_physmap: 15,
  set_pod_target: 16,
  get_pod_target: 17,
  get_sharing_freed_pages: 18,
  get_sharing_shared_pages: 19,
  paging_op: 20,
  access_op: 21,
  sharing_op: 22,
  add_to_physmap_batch: 23,
  claim_pages: 24,
  machphys_compat_mfn_list: 25,
  get_vnumainfo: 26,
  reserved_device_memory_map: 27,
  acquire_resource: 28,
} as const;

/** Bits of xen_memory_reservation.mem_flags above its address bits and its node (XENMEMF_*). */
export const XENMEMF = { populate_on_demand: 0x1_0000, exact_node_request: 0x2_0000, vnode: 0x4_0000 } as const;

/** struct xen_memory_reservation, by the width of the caller's code; gfns in the list are as wide as its longs. */
export const MEMORY_RESERVATION = {
  64: { extent_start: 0, nr_extents: 8, extent_order: 16, mem_flags: 20, domid: 24, bytes: 32, long: 8 },
  32: { extent_start: 0, nr_extents: 4, extent_order: 8, mem_flags: 12, domid: 16, bytes: 20, long: 4 },
} as const;

/** The largest extent of a domU (CONFIG_DOMU_MAX_ORDER): 2 MiB. */
export const MAX_EXTENT_ORDER = 9;

/** Bits of the subop itself: what is above them is the extent to go on from (MEMOP_EXTENT_SHIFT, xen/hypercall.h). */
export const MEMOP_EXTENT_SHIFT = 6;

/** What the number of extents must be below: a 32-bit subop has room for no more (UINT_MAX >> MEMOP_EXTENT_SHIFT). */
export const MAX_EXTENTS = 2 ** 26;

/** struct xen_memory_exchange: in and out are {@linkcode MEMORY_RESERVATION}. */
export const MEMORY_EXCHANGE = {
  64: { in: 0, out: 32, nr_exchanged: 64, bytes: 72, long: 8 },
  32: { in: 0, out: 20, nr_exchanged: 40, bytes: 44, long: 4 },
} as const;

/** struct xen_memory_domain, of current_reservation, maximum_reservation and maximum_gpfn. */
export const MEMORY_DOMAIN = { domid: 0, bytes: 2 } as const;

/** What add_to_physmap maps (XENMAPSPACE_*). */
export const XENMAPSPACE = {
  shared_info: 0,
  grant_table: 1,
  gmfn: 2,
  gmfn_range: 3,
  gmfn_foreign: 4,
  dev_mmio: 5,
} as const;

/** In an index into XENMAPSPACE_grant_table: the status frames. */
export const XENMAPIDX_grant_table_status = 0x8000_0000;

/** struct xen_add_to_physmap. */
export const ADD_TO_PHYSMAP = {
  64: { domid: 0, size: 2, space: 4, idx: 8, gpfn: 16, bytes: 24, long: 8 },
  32: { domid: 0, size: 2, space: 4, idx: 8, gpfn: 12, bytes: 16, long: 4 },
} as const;

/** struct xen_add_to_physmap_batch; idxs and gpfns are lists of longs, errs is one of 32-bit integers. */
export const ADD_TO_PHYSMAP_BATCH = {
  64: { domid: 0, space: 2, size: 4, "u.foreign_domid": 6, idxs: 8, gpfns: 16, errs: 24, bytes: 32, long: 8 },
  32: { domid: 0, space: 2, size: 4, "u.foreign_domid": 6, idxs: 8, gpfns: 12, errs: 16, bytes: 20, long: 4 },
} as const;

/** struct xen_remove_from_physmap. */
export const REMOVE_FROM_PHYSMAP = {
  64: { domid: 0, gpfn: 8, bytes: 16, long: 8 },
  32: { domid: 0, gpfn: 4, bytes: 8, long: 4 },
} as const;

/** struct xen_memory_map, of memory_map; the buffer is filled with {@linkcode MEMORY_MAP_ENTRY}. */
export const MEMORY_MAP = {
  64: { nr_entries: 0, buffer: 8, bytes: 16, long: 8 },
  32: { nr_entries: 0, buffer: 4, bytes: 8, long: 4 },
} as const;

/** struct xen_foreign_memory_map, of set_memory_map. */
export const FOREIGN_MEMORY_MAP = {
  64: { domid: 0, map: 8, bytes: 24 },
  32: { domid: 0, map: 4, bytes: 12 },
} as const;

/** An entry of the memory map, in the format of the BIOS (INT 0x15, E820): two 64-bit numbers and a 32-bit type. */
export const MEMORY_MAP_ENTRY = { address: 0, size: 8, type: 16, bytes: 20 } as const;

/** struct xen_machphys_mfn_list. */
export const MACHPHYS_MFN_LIST = {
  64: { max_extents: 0, extent_start: 8, nr_extents: 16, bytes: 24, long: 8 },
  32: { max_extents: 0, extent_start: 4, nr_extents: 8, bytes: 12, long: 4 },
} as const;

/** struct xen_machphys_mapping. */
export const MACHPHYS_MAPPING = {
  64: { v_start: 0, v_end: 8, max_mfn: 16, bytes: 24, long: 8 },
  32: { v_start: 0, v_end: 4, max_mfn: 8, bytes: 12, long: 4 },
} as const;

/** struct xen_pod_target. */
export const POD_TARGET = {
  64: { target_pages: 0, tot_pages: 8, pod_cache_pages: 16, pod_entries: 24, domid: 32, bytes: 40 },
  32: { target_pages: 0, tot_pages: 8, pod_cache_pages: 16, pod_entries: 24, domid: 32, bytes: 36 },
} as const;

/** struct xen_reserved_device_memory. */
export const RESERVED_DEVICE_MEMORY = {
  64: { start_pfn: 0, nr_pages: 8, bytes: 16, long: 8 },
  32: { start_pfn: 0, nr_pages: 4, bytes: 8, long: 4 },
} as const;

/** struct xen_reserved_device_memory_map; dev.pci is a physdev_pci_device. */
export const RESERVED_DEVICE_MEMORY_MAP = {
  64: { flags: 0, nr_entries: 4, buffer: 8, "dev.pci": 16, bytes: 24, long: 8 },
  32: { flags: 0, nr_entries: 4, buffer: 8, "dev.pci": 12, bytes: 16, long: 4 },
} as const;

/** struct xen_mem_acquire_resource. */
export const MEM_ACQUIRE_RESOURCE = {
  64: { domid: 0, type: 2, id: 4, nr_frames: 8, pad: 12, frame: 16, frame_list: 24, bytes: 32, long: 8 },
  32: { domid: 0, type: 2, id: 4, nr_frames: 8, pad: 12, frame: 16, frame_list: 24, bytes: 28, long: 4 },
} as const;

/** xen_mem_acquire_resource.type; the frames of an ioreq server are in ioreq/abi.ts (XENMEM_resource_*). */
export const XENMEM_RESOURCE = { ioreq_server: 0, grant_table: 1, vmtrace_buf: 2 } as const;

/** xen_mem_acquire_resource.id of a grant table (XENMEM_resource_grant_table_id_*). */
export const XENMEM_RESOURCE_GRANT_TABLE_ID = { shared: 0, status: 1 } as const;

/** struct xen_vnuma_topology_info; each of its handles has room for 64 bits. */
export const VNUMA_TOPOLOGY_INFO = {
  domid: 0,
  pad: 2,
  nr_vnodes: 4,
  nr_vcpus: 8,
  nr_vmemranges: 12,
  "vdistance.h": 16,
  "vcpu_to_vnode.h": 24,
  "vmemrange.h": 32,
  bytes: 40,
} as const;

/** struct xen_vmemrange. */
export const VMEMRANGE = { start: 0, end: 8, flags: 16, nid: 20, bytes: 24 } as const;
