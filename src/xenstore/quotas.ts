/** What one domain may take of the store; domid 0 may take anything. */

/** The defaults of Xen's xenstored in C (tools/xenstored/domain.c, hard_quotas). What exceeds one is refused as noted. */
export const QUOTA = {
  /** Nodes that a domain owns. ENOSPC. */
  nodes: 1000,
  /** Bytes of a node: 16, 8 a permission, the value, and the children's names with a NUL each. ENOSPC. */
  nodeBytes: 2048,
  /** Entries of a node's permissions, the owner's included. ENOSPC. */
  permissions: 5,
  /** Watches of a connection. E2BIG. */
  watches: 128,
  /** Transactions that a connection has open. ENOSPC. */
  transactions: 10,
  /** Nodes that a transaction has read or changed. ENOSPC, and its end says ENOMEM. */
  transactionNodes: 1024,
  /** Requests whose watch events have not all been sent: until then no further one is taken. */
  outstanding: 20,
  /** Bytes of messages that wait for one connection. Events beyond are dropped. */
  queuedBytes: 5 << 19,
  /** How long an event waits while it keeps another domain from being served (xenstored's timeout_watch_event_msec). */
  eventMs: 20_000,
} as const;

/** Xen's struct node_hdr and struct xs_permissions, as the size of a node counts them. */
export const NODE_HEADER_BYTES = 16, PERMISSION_BYTES = 8;
