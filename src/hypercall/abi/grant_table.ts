/** grant_table_op (xen/grant_table.h). */

/** Subops (GNTTABOP_*). */
export const GNTTABOP = {
  map_grant_ref: 0,
  unmap_grant_ref: 1,
  setup_table: 2,
  dump_table: 3,
  transfer: 4,
  copy: 5,
  query_size: 6,
  unmap_and_replace: 7,
  set_version: 8,
  get_status_frames: 9,
  get_version: 10,
  swap_grant_ref: 11,
  cache_flush: 12,
} as const;

/** What becomes of one request of a list: its status (GNTST_*). */
export const GNTST = {
  okay: 0,
  general_error: -1,
  bad_domain: -2,
  bad_gntref: -3,
  bad_handle: -4,
  bad_virt_addr: -5,
  bad_dev_addr: -6,
  no_device_space: -7,
  permission_denied: -8,
  bad_page: -9,
  bad_copy_arg: -10,
  address_too_big: -11,
  eagain: -12,
  no_space: -13,
} as const;

/** struct grant_entry_v1. */
export const GRANT_ENTRY_V1 = { flags: 0, domid: 2, frame: 4, bytes: 8 } as const;

/** union grant_entry_v2. */
export const GRANT_ENTRY_V2 = {
  "hdr.flags": 0,
  "hdr.domid": 2,
  "full_page.frame": 8,
  "sub_page.page_off": 4,
  "sub_page.length": 6,
  "sub_page.frame": 8,
  "transitive.trans_domid": 4,
  "transitive.gref": 8,
  bytes: 16,
} as const;

/** Flags of a grant entry; what bits 2 and 3 say depends on its type (GTF_*). */
export const GTF = {
  invalid: 0x0,
  permit_access: 0x1,
  accept_transfer: 0x2,
  transitive: 0x3,
  type_mask: 0x3,
  readonly: 0x4,
  transfer_committed: 0x4,
  reading: 0x8,
  transfer_completed: 0x8,
  writing: 0x10,
  PWT: 0x20,
  PCD: 0x40,
  PAT: 0x80,
  sub_page: 0x100,
} as const;

/** The references that the domain's builder fills (GNTTAB_RESERVED_*). */
export const GNTTAB_RESERVED = { CONSOLE: 0, XENSTORE: 1 } as const;

/** Entries that outlive a change of the table's version. */
export const GNTTAB_NR_RESERVED_ENTRIES = 8;

/** struct gnttab_map_grant_ref. */
export const GNTTAB_MAP_GRANT_REF = {
  host_addr: 0,
  flags: 8,
  ref: 12,
  dom: 16,
  status: 18,
  handle: 20,
  dev_bus_addr: 24,
  bytes: 32,
} as const;

/** gnttab_map_grant_ref.flags (GNTMAP_*). */
export const GNTMAP = {
  device_map: 0x1,
  host_map: 0x2,
  readonly: 0x4,
  application_map: 0x8,
  contains_pte: 0x10,
  guest_avail_mask: 0xffff_0000,
} as const;

/** struct gnttab_unmap_grant_ref. */
export const GNTTAB_UNMAP_GRANT_REF = { host_addr: 0, dev_bus_addr: 8, handle: 16, status: 20, bytes: 24 } as const;

/** struct gnttab_setup_table; frame_list is a list of longs. */
export const GNTTAB_SETUP_TABLE = {
  64: { dom: 0, nr_frames: 4, status: 8, frame_list: 16, bytes: 24, long: 8 },
  32: { dom: 0, nr_frames: 4, status: 8, frame_list: 12, bytes: 16, long: 4 },
} as const;

/** struct gnttab_dump_table. */
export const GNTTAB_DUMP_TABLE = { dom: 0, status: 2, bytes: 4 } as const;

/** struct gnttab_transfer. */
export const GNTTAB_TRANSFER = {
  64: { mfn: 0, domid: 8, ref: 12, status: 16, bytes: 24, long: 8 },
  32: { mfn: 0, domid: 4, ref: 8, status: 12, bytes: 16, long: 4 },
} as const;

/** struct gnttab_copy. */
export const GNTTAB_COPY = {
  64: {
    "source.u.ref": 0,
    "source.u.gmfn": 0,
    "source.domid": 8,
    "source.offset": 10,
    "dest.u.ref": 16,
    "dest.u.gmfn": 16,
    "dest.domid": 24,
    "dest.offset": 26,
    len: 32,
    flags: 34,
    status: 36,
    bytes: 40,
    long: 8,
  },
  32: {
    "source.u.ref": 0,
    "source.u.gmfn": 0,
    "source.domid": 4,
    "source.offset": 6,
    "dest.u.ref": 8,
    "dest.u.gmfn": 8,
    "dest.domid": 12,
    "dest.offset": 14,
    len: 16,
    flags: 18,
    status: 20,
    bytes: 24,
    long: 4,
  },
} as const;

/** gnttab_copy.flags: a reference, not a gfn (GNTCOPY_*). */
export const GNTCOPY = { source_gref: 1, dest_gref: 2 } as const;

/** struct gnttab_query_size. */
export const GNTTAB_QUERY_SIZE = { dom: 0, nr_frames: 4, max_nr_frames: 8, status: 12, bytes: 16 } as const;

/** struct gnttab_unmap_and_replace. */
export const GNTTAB_UNMAP_AND_REPLACE = { host_addr: 0, new_addr: 8, handle: 16, status: 20, bytes: 24 } as const;

/** struct gnttab_set_version. */
export const GNTTAB_SET_VERSION = { version: 0, bytes: 4 } as const;

/** struct gnttab_get_status_frames; frame_list is a list of 64-bit numbers for either width. */
export const GNTTAB_GET_STATUS_FRAMES = {
  64: { nr_frames: 0, dom: 4, status: 6, frame_list: 8, bytes: 16, long: 8 },
  32: { nr_frames: 0, dom: 4, status: 6, frame_list: 8, bytes: 12, long: 4 },
} as const;

/** struct gnttab_get_version. */
export const GNTTAB_GET_VERSION = { dom: 0, pad: 2, version: 4, bytes: 8 } as const;

/** struct gnttab_swap_grant_ref. */
export const GNTTAB_SWAP_GRANT_REF = { ref_a: 0, ref_b: 4, status: 8, bytes: 12 } as const;

/** struct gnttab_cache_flush. */
export const GNTTAB_CACHE_FLUSH = {
  "a.dev_bus_addr": 0,
  "a.ref": 0,
  offset: 8,
  length: 10,
  op: 12,
  bytes: 16,
} as const;

/** gnttab_cache_flush.op (GNTTAB_CACHE_*). */
export const GNTTAB_CACHE = { CLEAN: 0x1, INVAL: 0x2, SOURCE_GREF: 0x8000_0000 } as const;
