/** hvm_op (xen/hvm/hvm_op.h) and the parameters of an HVM guest (xen/hvm/params.h). */

/** Subops (HVMOP_*). */
export const HVMOP = {
  set_param: 0,
  get_param: 1,
  flush_tlbs: 5,
  pagetable_dying: 9,
  get_time: 10,
  xentrace: 11,
  set_mem_access: 12,
  get_mem_access: 13,
  get_mem_type: 15,
  set_evtchn_upcall_vector: 23,
  guest_request_vm_event: 24,
  altp2m: 25,
} as const;

/** struct xen_hvm_param, of set_param and get_param. */
export const HVM_PARAM_ARGUMENT = { domid: 0, pad: 2, index: 4, value: 8, bytes: 16 } as const;

/** Parameters (HVM_PARAM_*). */
export const HVM_PARAM = {
  CALLBACK_IRQ: 0,
  STORE_PFN: 1,
  STORE_EVTCHN: 2,
  PAE_ENABLED: 4,
  IOREQ_PFN: 5,
  BUFIOREQ_PFN: 6,
  VIRIDIAN: 9,
  TIMER_MODE: 10,
  HPET_ENABLED: 11,
  IDENT_PT: 12,
  DM_DOMAIN: 13,
  ACPI_S_STATE: 14,
  VM86_TSS: 15,
  VPT_ALIGN: 16,
  CONSOLE_PFN: 17,
  CONSOLE_EVTCHN: 18,
  ACPI_IOPORTS_LOCATION: 19,
  MEMORY_EVENT_CR0: 20,
  MEMORY_EVENT_CR3: 21,
  MEMORY_EVENT_CR4: 22,
  MEMORY_EVENT_INT3: 23,
  NESTEDHVM: 24,
  MEMORY_EVENT_SINGLE_STEP: 25,
  BUFIOREQ_EVTCHN: 26,
  PAGING_RING_PFN: 27,
  MONITOR_RING_PFN: 28,
  SHARING_RING_PFN: 29,
  MEMORY_EVENT_MSR: 30,
  TRIPLE_FAULT_REASON: 31,
  IOREQ_SERVER_PFN: 32,
  NR_IOREQ_SERVER_PAGES: 33,
  VM_GENERATION_ID_ADDR: 34,
  ALTP2M: 35,
  X87_FIP_WIDTH: 36,
  VM86_TSS_SIZED: 37,
  MCA_CAP: 38,
} as const;

/** One more than the highest parameter. */
export const HVM_NR_PARAMS = 39;

/** The bits of HVM_PARAM_CALLBACK_IRQ that hold its type. */
export const HVM_PARAM_CALLBACK_IRQ_TYPE_MASK = 0xff00_0000_0000_0000n;

/** How the vCPU hears of events: the type in HVM_PARAM_CALLBACK_IRQ (HVM_PARAM_CALLBACK_TYPE_*). */
export const CALLBACK_TYPE = { GSI: 0, PCI_INTX: 1, VECTOR: 2 } as const;

/** HVM_PARAM_TIMER_MODE (HVMPTM_*). */
export const HVMPTM = {
  delay_for_missed_ticks: 0,
  no_delay_for_missed_ticks: 1,
  no_missed_ticks_pending: 2,
  one_missed_tick_pending: 3,
} as const;

/** struct xen_hvm_pagetable_dying. */
export const HVM_PAGETABLE_DYING = { domid: 0, pad: 2, gpa: 8, bytes: 16 } as const;

/** struct xen_hvm_get_time: nanoseconds since the host's start. */
export const HVM_GET_TIME = { now: 0, bytes: 8 } as const;

/** struct xen_hvm_xentrace. */
export const HVM_XENTRACE = { event: 0, extra_bytes: 2, extra: 4, bytes: 32 } as const;

/** struct xen_hvm_get_mem_type. */
export const HVM_GET_MEM_TYPE = { domid: 0, mem_type: 2, pad: 4, pfn: 8, bytes: 16 } as const;

/** xen_hvm_get_mem_type.mem_type (HVMMEM_*, of hvmmem_type_t). */
export const HVMMEM = { ram_rw: 0, ram_ro: 1, mmio_dm: 2, unused: 3, ioreq_server: 4 } as const;

/** struct xen_hvm_evtchn_upcall_vector. */
export const HVM_EVTCHN_UPCALL_VECTOR = { vcpu: 0, vector: 4, bytes: 8 } as const;

/** xen_hvm_altp2m_op.version. */
export const HVMOP_ALTP2M_INTERFACE_VERSION = 1;

/** xen_hvm_altp2m_op.cmd (HVMOP_altp2m_*). */
export const HVMOP_ALTP2M = {
  get_domain_state: 1,
  set_domain_state: 2,
  vcpu_enable_notify: 3,
  create_p2m: 4,
  destroy_p2m: 5,
  switch_p2m: 6,
  set_mem_access: 7,
  change_gfn: 8,
  set_mem_access_multi: 9,
  set_suppress_ve: 10,
  get_suppress_ve: 11,
  get_mem_access: 12,
  vcpu_disable_notify: 13,
  get_p2m_idx: 14,
  set_suppress_ve_multi: 15,
  set_visibility: 16,
} as const;

/** struct xen_hvm_altp2m_op. */
export const HVM_ALTP2M_OP = { version: 0, cmd: 4, domain: 8, pad1: 10, pad2: 12, u: 16, bytes: 80 } as const;
