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

/** A slot's states. They only go forward, in this order, and from a response back to NONE. */
export const STATE = { NONE: 0, READY: 1, INPROCESS: 2, IORESP_READY: 3 } as const;

/** Types of a request. */
export const TYPE = { PIO: 0, COPY: 1, PCI_CONFIG: 2, TIMEOFFSET: 7, INVALIDATE: 8 } as const;

/** Bit 5 of the state byte: the device model gives data (1) or takes it (0). */
export const DIR_READ = 1, DIR_WRITE = 0;

/** Kinds of ranges that a server claims (XEN_DMOP_IO_RANGE_*). */
export const RANGE = { PORT: 0, MEMORY: 1, PCI: 2 } as const;
export type RangeType = (typeof RANGE)[keyof typeof RANGE];

/** Servers a domain may have (MAX_NR_IOREQ_SERVERS) and disjoint ranges of a type a server (MAX_NR_IO_RANGES). */
export const MAX_SERVERS = 8, MAX_RANGES = 256;
