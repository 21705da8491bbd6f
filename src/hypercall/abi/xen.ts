/**
 * What all hypercalls share, and the page that a guest shares with its hypervisor (xen/xen.h, xen/arch-x86/xen.h).
 *
 * Layouts, here and in the files beside, are offsets by the width of the caller's code, or one where both widths agree:
 * `bytes` is the structure's size, `long` the size of that caller's longs, gfns and pointers.
 */

/** Hypercalls (__HYPERVISOR_*). */
export const HYPERCALL = {
  set_trap_table: 0,
  mmu_update: 1,
  set_gdt: 2,
  stack_switch: 3,
  set_callbacks: 4,
  fpu_taskswitch: 5,
  sched_op_compat: 6,
  platform_op: 7,
  set_debugreg: 8,
  get_debugreg: 9,
  update_descriptor: 10,
  memory_op: 12,
  multicall: 13,
  update_va_mapping: 14,
  set_timer_op: 15,
  event_channel_op_compat: 16,
  xen_version: 17,
  console_io: 18,
  physdev_op_compat: 19,
  grant_table_op: 20,
  vm_assist: 21,
  update_va_mapping_otherdomain: 22,
  iret: 23,
  vcpu_op: 24,
  set_segment_base: 25,
  mmuext_op: 26,
  xsm_op: 27,
  nmi_op: 28,
  sched_op: 29,
  callback_op: 30,
  xenoprof_op: 31,
  event_channel_op: 32,
  physdev_op: 33,
  hvm_op: 34,
  sysctl: 35,
  domctl: 36,
  kexec_op: 37,
  tmem_op: 38,
  argo_op: 39,
  xenpmu_op: 40,
  dm_op: 41,
  hypfs_op: 42,
  arch_0: 48,
  arch_1: 49,
  arch_2: 50,
  arch_3: 51,
  arch_4: 52,
  arch_5: 53,
  arch_6: 54,
  arch_7: 55,
} as const;

/** Domain ids from FIRST_RESERVED on name no ordinary domain; SELF is the caller's own. */
export const DOMID_FIRST_RESERVED = 0x7ff0,
  DOMID_SELF = 0x7ff0,
  DOMID_IO = 0x7ff1,
  DOMID_XEN = 0x7ff2,
  DOMID_COW = 0x7ff3,
  DOMID_INVALID = 0x7ff4,
  DOMID_IDLE = 0x7fff;

/** The bits of a domain id. */
export const DOMID_MASK = 0x7fff;

/** Virtual interrupts (VIRQ_*). TIMER, DEBUG, XENOPROF and XENPMU are a vCPU's own, the others are the domain's. */
export const VIRQ = {
  TIMER: 0,
  DEBUG: 1,
  CONSOLE: 2,
  DOM_EXC: 3,
  TBUF: 4,
  DEBUGGER: 6,
  XENOPROF: 7,
  CON_RING: 8,
  PCPU_STATE: 9,
  MEM_EVENT: 10,
  ARGO: 11,
  ENOMEM: 12,
  XENPMU: 13,
  ARCH_0: 16,
  ARCH_1: 17,
  ARCH_2: 18,
  ARCH_3: 19,
  ARCH_4: 20,
  ARCH_5: 21,
  ARCH_6: 22,
  ARCH_7: 23,
} as const;

/** One more than the highest virtual interrupt. */
export const NR_VIRQS = 24;

/** Subops of vm_assist (VMASST_CMD_*). */
export const VMASST_CMD = { enable: 0, disable: 1 } as const;

/** What vm_assist turns on or off (VMASST_TYPE_*). */
export const VMASST_TYPE = {
  "4gb_segments": 0,
  "4gb_segments_notify": 1,
  writable_pagetables: 2,
  pae_extended_cr3: 3,
  architectural_iopl: 4,
  runstate_update_flag: 5,
  m2p_strict: 32,
} as const;

/** struct multicall_entry; op and result are longs, args six of them. */
export const MULTICALL_ENTRY = {
  64: { op: 0, result: 8, args: 16, bytes: 64, long: 8 },
  32: { op: 0, result: 4, args: 8, bytes: 32, long: 4 },
} as const;

/** vCPUs that have their vcpu_info in struct shared_info; the others must register one (VCPUOP_register_vcpu_info). */
export const XEN_LEGACY_MAX_VCPUS = 32;

/** struct shared_info; vcpu_info is XEN_LEGACY_MAX_VCPUS of them. For 32-bit code wc_sec_hi ends arch. */
export const SHARED_INFO = {
  64: {
    vcpu_info: 0,
    evtchn_pending: 2048,
    evtchn_mask: 2560,
    wc_version: 3072,
    wc_sec: 3076,
    wc_nsec: 3080,
    wc_sec_hi: 3084,
    arch: 3088,
    bytes: 3136,
    long: 8,
  },
  32: {
    vcpu_info: 0,
    evtchn_pending: 2048,
    evtchn_mask: 2176,
    wc_version: 2304,
    wc_sec: 2308,
    wc_nsec: 2312,
    wc_sec_hi: 2340,
    arch: 2316,
    bytes: 2344,
    long: 4,
  },
} as const;

/** struct arch_shared_info (shared_info.arch). */
export const ARCH_SHARED_INFO = {
  64: {
    max_pfn: 0,
    pfn_to_mfn_frame_list_list: 8,
    nmi_reason: 16,
    p2m_cr3: 24,
    p2m_vaddr: 32,
    p2m_generation: 40,
    bytes: 48,
  },
  32: {
    max_pfn: 0,
    pfn_to_mfn_frame_list_list: 4,
    nmi_reason: 8,
    p2m_cr3: 12,
    p2m_vaddr: 16,
    p2m_generation: 20,
    bytes: 28,
  },
} as const;

/** struct vcpu_info; evtchn_pending_sel has a bit for each long of shared_info.evtchn_pending. */
export const VCPU_INFO = {
  64: {
    evtchn_upcall_pending: 0,
    evtchn_upcall_mask: 1,
    evtchn_pending_sel: 8,
    arch: 16,
    time: 32,
    bytes: 64,
    long: 8,
  },
  32: { evtchn_upcall_pending: 0, evtchn_upcall_mask: 1, evtchn_pending_sel: 4, arch: 8, time: 32, bytes: 64, long: 4 },
} as const;

/** struct arch_vcpu_info (vcpu_info.arch). */
export const ARCH_VCPU_INFO = {
  64: { cr2: 0, bytes: 16 },
  32: { cr2: 0, bytes: 24 },
} as const;

/** struct vcpu_time_info (vcpu_info.time): its version is odd while it is being written. */
export const VCPU_TIME_INFO = {
  version: 0,
  tsc_timestamp: 8,
  system_time: 16,
  tsc_to_system_mul: 24,
  tsc_shift: 28,
  flags: 29,
  bytes: 32,
} as const;

/** Bits of vcpu_time_info.flags (XEN_PVCLOCK_*). */
export const PVCLOCK = { TSC_STABLE_BIT: 1, GUEST_STOPPED: 2 } as const;

/** The port whose bytes Xen prints as they come. */
export const XEN_HVM_DEBUGCONS_IOPORT = 0xe9;
