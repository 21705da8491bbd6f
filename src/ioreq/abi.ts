/** Xen's ioreq ABI (xen/hvm/ioreq.h, xen/hvm/dm_op.h) as data. */

/** Bytes of an ioreq; 128 of them make a page. */
export const IOREQ_BYTES = 32;

/** Offsets in struct ioreq. */
export const IOREQ = {
  addr: 0,
  data: 8,
  count: 16,
  size: 20,
  vp_eport: 24,
  /** Bits 3:0 state, 4 data_is_ptr, 5 dir, 6 df. Only ever touched by Atomics. */
  state: 30,
  type: 31,
} as const;

/** The byte that holds the state: its other bits. */
export const STATE_MASK = 0x0f, DATA_IS_PTR = 0x10, DIR = 0x20, DF = 0x40;

/**
 * A slot's states. They only go forward, in this order, and from a response back to NONE. IORESP_RETRY is ours (the field
 * has four bits): the access is to be tried again, since the page is there now, or may be (docs/retry.md).
 */
export const STATE = { NONE: 0, READY: 1, INPROCESS: 2, IORESP_READY: 3, IORESP_RETRY: 4 } as const;

/** Types of a request. */
export const TYPE = { PIO: 0, COPY: 1, PCI_CONFIG: 2, TIMEOFFSET: 7, INVALIDATE: 8 } as const;

/** Bit 5 of the state byte: the device model gives data (1) or takes it (0). */
export const DIR_READ = 1, DIR_WRITE = 0;

/** Kinds of ranges that a server claims (XEN_DMOP_IO_RANGE_*). */
export const RANGE = { PORT: 0, MEMORY: 1, PCI: 2 } as const;
export type RangeType = (typeof RANGE)[keyof typeof RANGE];

/** What becomes of writes that need no answer (HVM_IOREQSRV_BUFIOREQ_*): sent like all others, or through the buffered ring. */
export const BUFIOREQ = { OFF: 0, LEGACY: 1, ATOMIC: 2 } as const;
export type Bufioreq = (typeof BUFIOREQ)[keyof typeof BUFIOREQ];

/** Offsets in struct buffered_iopage. Both pointers run freely; a slot's index is a pointer modulo the number of slots. */
export const BUFFERED_PAGE = { read_pointer: 0, write_pointer: 4, slots: 8 } as const;

/** Slots of 8 bytes in struct buffered_iopage. */
export const BUFFERED_SLOTS = 511, BUFFERED_SLOT_BYTES = 8;

/** Bits of the first word of struct buf_ioreq; its second word is the data. */
export const BUFFERED_SLOT = { dirShift: 9, sizeShift: 10, addrShift: 12, addrMask: 0xf_ffff } as const;

/** Device model operations (XEN_DMOP_*). */
export const DM_OP = {
  create_ioreq_server: 1,
  get_ioreq_server_info: 2,
  map_io_range_to_ioreq_server: 3,
  unmap_io_range_from_ioreq_server: 4,
  set_ioreq_server_state: 5,
  destroy_ioreq_server: 6,
  set_pci_intx_level: 8,
  set_isa_irq_level: 9,
  set_pci_link_route: 10,
  inject_msi: 14,
  remote_shutdown: 16,
  set_irq_level: 19,
  nr_vcpus: 20,
} as const;

/** Frames of a server as a resource (XENMEM_acquire_resource): the buffered page, then the ioreq pages. */
export const RESOURCE_FRAME = { bufioreq: 0, ioreq: 1 } as const;

/** Servers a domain may have (MAX_NR_IOREQ_SERVERS) and disjoint ranges of a type a server (MAX_NR_IO_RANGES). */
export const MAX_SERVERS = 8, MAX_RANGES = 256;
