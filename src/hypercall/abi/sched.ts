/** sched_op (xen/sched.h). */

/** Subops (SCHEDOP_*). */
export const SCHEDOP = {
  yield: 0,
  block: 1,
  shutdown: 2,
  poll: 3,
  remote_shutdown: 4,
  shutdown_code: 5,
  watchdog: 6,
  pin_override: 7,
} as const;

/** struct sched_shutdown. */
export const SCHED_SHUTDOWN = { reason: 0, bytes: 4 } as const;

/** Why a domain stops (SHUTDOWN_*). */
export const SHUTDOWN = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, soft_reset: 5 } as const;

/** The highest valid reason. */
export const SHUTDOWN_MAX = 5;

/** struct sched_poll; ports are 32 bits wide. */
export const SCHED_POLL = {
  64: { ports: 0, nr_ports: 8, timeout: 16, bytes: 24, long: 8 },
  32: { ports: 0, nr_ports: 4, timeout: 8, bytes: 16, long: 4 },
} as const;

/** struct sched_remote_shutdown. */
export const SCHED_REMOTE_SHUTDOWN = { domain_id: 0, reason: 4, bytes: 8 } as const;

/** struct sched_watchdog. */
export const SCHED_WATCHDOG = { id: 0, timeout: 4, bytes: 8 } as const;

/** struct sched_pin_override. */
export const SCHED_PIN_OVERRIDE = { pcpu: 0, bytes: 4 } as const;
