/** Xen's xenstore protocol (xen/io/xs_wire.h) as data. All numbers on the wire are 32-bit and little-endian. */

/** Types of a message (XS_*). 20 was RESTRICT, which is gone; everything from 22 on is unknown. */
export const MESSAGE = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
} as const;

/** Offsets in struct xsd_sockmsg, which stands before every payload. */
export const HEADER = { type: 0, req_id: 4, tx_id: 8, len: 12 } as const;

/** Bytes of struct xsd_sockmsg. */
export const HEADER_BYTES = 16;

/** Most bytes of a payload, either way. A longer one ends the connection. */
export const PAYLOAD_MAX = 4096;

/** Most bytes of a path, and of one below a domain's own. */
export const ABS_PATH_MAX = 3072, REL_PATH_MAX = 2048;

/** Names of errors that may stand on the wire, in the order of xsd_errors. */
export const ERROR_NAMES = [
  "EINVAL",
  "EACCES",
  "EEXIST",
  "EISDIR",
  "ENOENT",
  "ENOMEM",
  "ENOSPC",
  "EIO",
  "ENOTEMPTY",
  "ENOSYS",
  "EROFS",
  "EBUSY",
  "EAGAIN",
  "EISCONN",
  "E2BIG",
  "EPERM",
] as const;
/** One of {@linkcode ERROR_NAMES}. */
export type ErrorName = typeof ERROR_NAMES[number];

/** Bytes of each of the two rings; a power of two, so indices run freely modulo 2^32. */
export const RING_BYTES = 1024;

/** Offsets in struct xenstore_domain_interface. */
export const INTERFACE = {
  req: 0,
  rsp: 1024,
  req_cons: 2048,
  req_prod: 2052,
  rsp_cons: 2056,
  rsp_prod: 2060,
  server_features: 2064,
  connection: 2068,
  error: 2072,
} as const;

/** Bytes of struct xenstore_domain_interface; it begins a page. */
export const INTERFACE_BYTES = 2076;

/** Bits of server_features. */
export const FEATURE = { RECONNECTION: 1, ERROR: 2 } as const;

/** The field `connection`: only the guest sets RECONNECT, only the store takes it back. */
export const CONNECTION = { CONNECTED: 0, RECONNECT: 1 } as const;

/** The field `error`: why the store does not talk to the guest any more. */
export const RING_ERROR = { NONE: 0, COMM: 1, RINGIDX: 2, PROTO: 3 } as const;
/** One of {@linkcode RING_ERROR}. */
export type RingError = (typeof RING_ERROR)[keyof typeof RING_ERROR];
