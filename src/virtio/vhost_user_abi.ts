/** Numbers of the vhost-user protocol (QEMU's docs/interop/vhost-user.rst). Data and nothing else. */

/** Every message begins with it: three words, and `size` bytes follow. */
export const HEADER = { request: 0, flags: 4, size: 8, bytes: 12 } as const;
export const VERSION_MASK = 3, VERSION = 1;
export const FLAG = { REPLY: 4, NEED_REPLY: 8 } as const;

/** What the frontend asks for. */
export const REQUEST = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  SET_MEM_TABLE: 5,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SET_BACKEND_REQ_FD: 21,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
} as const;

/** What the backend asks for, on a socket of its own. */
export const BACKEND_REQUEST = { CONFIG_CHANGE_MSG: 2 } as const;

/** Among the virtio features: the protocol has features, too. */
export const PROTOCOL_FEATURES = 30;

/** The protocol's features, by the number of their bit. */
export const PROTOCOL_FEATURE = { MQ: 0, REPLY_ACK: 3, BACKEND_REQ: 5, CONFIG: 9, INFLIGHT_SHMFD: 12 } as const;

/** Payloads. A vring's state, and its addresses, which are those of the memory table's `user`. */
export const VRING_STATE = { index: 0, num: 4, bytes: 8 } as const;
export const VRING_ADDRESS = {
  index: 0,
  flags: 4,
  descriptors: 8,
  used: 16,
  available: 24,
  log: 32,
  bytes: 40,
} as const;

/** The memory table: a word that counts, four bytes of nothing, and regions. */
export const MEMORY_TABLE = { count: 0, regions: 8 } as const;
export const REGION = { guest: 0, size: 8, user: 16, offset: 24, bytes: 32 } as const;
export const MOST_REGIONS = 8;

/** A part of the configuration: `size` bytes follow. */
export const CONFIGURATION = { offset: 0, size: 4, flags: 8, data: 12 } as const;

/** Memory in which a backend keeps what is under way, for its successor. */
export const INFLIGHT = { size: 0, offset: 8, queues: 16, queueSize: 18, bytes: 20 } as const;
