/** vcpu_op (xen/vcpu.h). */

/** Subops (VCPUOP_*). */
export const VCPUOP = {
  initialise: 0,
  up: 1,
  down: 2,
  is_up: 3,
  get_runstate_info: 4,
  register_runstate_memory_area: 5,
  set_periodic_timer: 6,
  stop_periodic_timer: 7,
  set_singleshot_timer: 8,
  stop_singleshot_timer: 9,
  register_vcpu_info: 10,
  send_nmi: 11,
  get_physid: 12,
  register_vcpu_time_memory_area: 13,
} as const;

/** struct vcpu_runstate_info; time has a 64-bit number for each state. */
export const VCPU_RUNSTATE_INFO = {
  64: { state: 0, state_entry_time: 8, time: 16, bytes: 48 },
  32: { state: 0, state_entry_time: 4, time: 12, bytes: 44 },
} as const;

/** vcpu_runstate_info.state (RUNSTATE_*). */
export const RUNSTATE = { running: 0, runnable: 1, blocked: 2, offline: 3 } as const;

/** Of vcpu_runstate_info.state_entry_time: it is being written (VMASST_TYPE_runstate_update_flag). */
export const XEN_RUNSTATE_UPDATE = 0x8000_0000_0000_0000n;

/** struct vcpu_register_runstate_memory_area: a handle (h) of the caller's width, or 64 bits of address (p). */
export const VCPU_REGISTER_RUNSTATE_MEMORY_AREA = { "addr.h": 0, "addr.p": 0, bytes: 8 } as const;

/** struct vcpu_set_periodic_timer. */
export const VCPU_SET_PERIODIC_TIMER = { period_ns: 0, bytes: 8 } as const;

/** struct vcpu_set_singleshot_timer. */
export const VCPU_SET_SINGLESHOT_TIMER = {
  64: { timeout_abs_ns: 0, flags: 8, bytes: 16 },
  32: { timeout_abs_ns: 0, flags: 8, bytes: 12 },
} as const;

/** vcpu_set_singleshot_timer.flags (VCPU_SSHOTTMR_*). */
export const VCPU_SSHOTTMR = { future: 1 } as const;

/** struct vcpu_register_vcpu_info. */
export const VCPU_REGISTER_VCPU_INFO = { mfn: 0, offset: 8, rsvd: 12, bytes: 16 } as const;

/** struct vcpu_get_physid. */
export const VCPU_GET_PHYSID = { phys_id: 0, bytes: 8 } as const;

/** struct vcpu_register_time_memory_area. */
export const VCPU_REGISTER_TIME_MEMORY_AREA = { "addr.h": 0, "addr.p": 0, bytes: 8 } as const;
