/** event_channel_op (xen/event_channel.h). */

/** Subops (EVTCHNOP_*). */
export const EVTCHNOP = {
  bind_interdomain: 0,
  bind_virq: 1,
  bind_pirq: 2,
  close: 3,
  send: 4,
  status: 5,
  alloc_unbound: 6,
  bind_ipi: 7,
  bind_vcpu: 8,
  unmask: 9,
  reset: 10,
  init_control: 11,
  expand_array: 12,
  set_priority: 13,
} as const;

/** struct evtchn_alloc_unbound. */
export const EVTCHN_ALLOC_UNBOUND = { dom: 0, remote_dom: 2, port: 4, bytes: 8 } as const;

/** struct evtchn_bind_interdomain. */
export const EVTCHN_BIND_INTERDOMAIN = { remote_dom: 0, remote_port: 4, local_port: 8, bytes: 12 } as const;

/** struct evtchn_bind_virq. */
export const EVTCHN_BIND_VIRQ = { virq: 0, vcpu: 4, port: 8, bytes: 12 } as const;

/** struct evtchn_bind_pirq. */
export const EVTCHN_BIND_PIRQ = { pirq: 0, flags: 4, port: 8, bytes: 12 } as const;

/** Of evtchn_bind_pirq.flags. */
export const BIND_PIRQ__WILL_SHARE = 1;

/** struct evtchn_bind_ipi. */
export const EVTCHN_BIND_IPI = { vcpu: 0, port: 4, bytes: 8 } as const;

/** struct evtchn_close. */
export const EVTCHN_CLOSE = { port: 0, bytes: 4 } as const;

/** struct evtchn_send. */
export const EVTCHN_SEND = { port: 0, bytes: 4 } as const;

/** struct evtchn_status. */
export const EVTCHN_STATUS = {
  dom: 0,
  port: 4,
  status: 8,
  vcpu: 12,
  "u.unbound.dom": 16,
  "u.interdomain.dom": 16,
  "u.interdomain.port": 20,
  "u.pirq": 16,
  "u.virq": 16,
  bytes: 24,
} as const;

/** evtchn_status.status: what a port is bound to (EVTCHNSTAT_*). */
export const EVTCHNSTAT = { closed: 0, unbound: 1, interdomain: 2, pirq: 3, virq: 4, ipi: 5 } as const;

/** struct evtchn_bind_vcpu. */
export const EVTCHN_BIND_VCPU = { port: 0, vcpu: 4, bytes: 8 } as const;

/** struct evtchn_unmask. */
export const EVTCHN_UNMASK = { port: 0, bytes: 4 } as const;

/** struct evtchn_reset. */
export const EVTCHN_RESET = { dom: 0, bytes: 2 } as const;

/** struct evtchn_init_control. */
export const EVTCHN_INIT_CONTROL = { control_gfn: 0, offset: 8, vcpu: 12, link_bits: 16, _pad: 17, bytes: 24 } as const;

/** struct evtchn_expand_array. */
export const EVTCHN_EXPAND_ARRAY = { array_gfn: 0, bytes: 8 } as const;

/** struct evtchn_set_priority. */
export const EVTCHN_SET_PRIORITY = { port: 0, priority: 4, bytes: 8 } as const;

/** struct evtchn_op, of event_channel_op_compat: a subop and its structure. */
export const EVTCHN_OP = { cmd: 0, u: 4, bytes: 28 } as const;

/** Ports of a domain with 2-level events, by the width of its code: a bit of each long of evtchn_pending. */
export const EVTCHN_2L_NR_CHANNELS = { 64: 4096, 32: 1024 } as const;

/** The FIFO ABI: priorities (0 is the highest), bits of an event word, ports that a link can name (EVTCHN_FIFO_*). */
export const EVTCHN_FIFO = {
  PRIORITY_MAX: 0,
  PRIORITY_DEFAULT: 7,
  PRIORITY_MIN: 15,
  MAX_QUEUES: 16,
  LINK_BITS: 17,
  BUSY: 28,
  LINKED: 29,
  MASKED: 30,
  PENDING: 31,
  LINK_MASK: 0x1_ffff,
  NR_CHANNELS: 0x2_0000,
} as const;

/** struct evtchn_fifo_control_block; head has EVTCHN_FIFO.MAX_QUEUES words. */
export const EVTCHN_FIFO_CONTROL_BLOCK = { ready: 0, head: 8, bytes: 72 } as const;
