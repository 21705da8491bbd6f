/** The ABI of <linux/kvm.h> as data: request numbers, structure layouts, capabilities, exit reasons. */

const KVMIO = 0xae;
const none = (nr: number) => (KVMIO << 8) | nr;
const writes = (nr: number, sizeBytes: number) => ((1 << 30) | (sizeBytes << 16) | (KVMIO << 8) | nr) >>> 0;
const reads = (nr: number, sizeBytes: number) => ((2 << 30) | (sizeBytes << 16) | (KVMIO << 8) | nr) >>> 0;
const both = (nr: number, sizeBytes: number) => ((3 << 30) | (sizeBytes << 16) | (KVMIO << 8) | nr) >>> 0;

/** The only version of the API there is (KVM API documentation, 4.1). */
export const KVM_API_VERSION = 12;

/** Sizes in bytes of the structures that requests carry. */
export const SIZE = {
  kvm_userspace_memory_region: 32,
  kvm_cpuid2: 8,
  kvm_cpuid_entry2: 40,
  kvm_regs: 144,
  kvm_sregs: 312,
  kvm_segment: 24,
  kvm_dtable: 16,
  kvm_pit_config: 64,
  kvm_irq_level: 8,
  kvm_irq_routing: 8,
  kvm_irq_routing_entry: 48,
  kvm_msi: 32,
  kvm_mp_state: 4,
  kvm_translation: 24,
  kvm_enable_cap: 104,
  kvm_ioeventfd: 64,
  kvm_irqfd: 32,
  kvm_vcpu_events: 64,
  kvm_xen_hvm_config: 56,
  kvm_msr_filter: 392,
  kvm_msr_filter_range: 24,
  kvm_msrs: 8,
  kvm_msr_entry: 16,
  kvm_clock_data: 48,
} as const;

/** Requests, in the order of the header. */
export const KVM = {
  // on /dev/kvm
  GET_API_VERSION: none(0x00),
  CREATE_VM: none(0x01),
  CHECK_EXTENSION: none(0x03),
  GET_VCPU_MMAP_SIZE: none(0x04),
  GET_SUPPORTED_CPUID: both(0x05, SIZE.kvm_cpuid2),
  // on a VM
  CREATE_VCPU: none(0x41),
  SET_USER_MEMORY_REGION: writes(0x46, SIZE.kvm_userspace_memory_region),
  SET_TSS_ADDR: none(0x47),
  SET_IDENTITY_MAP_ADDR: writes(0x48, 8),
  CREATE_IRQCHIP: none(0x60),
  IRQ_LINE: writes(0x61, SIZE.kvm_irq_level),
  SET_GSI_ROUTING: writes(0x6a, SIZE.kvm_irq_routing),
  CREATE_PIT2: writes(0x77, SIZE.kvm_pit_config),
  IRQFD: writes(0x76, SIZE.kvm_irqfd),
  IOEVENTFD: writes(0x79, SIZE.kvm_ioeventfd),
  SIGNAL_MSI: writes(0xa5, SIZE.kvm_msi),
  GET_CLOCK: reads(0x7c, SIZE.kvm_clock_data),
  XEN_HVM_CONFIG: writes(0x7a, SIZE.kvm_xen_hvm_config),
  ENABLE_CAP: writes(0xa3, SIZE.kvm_enable_cap),
  X86_SET_MSR_FILTER: writes(0xc6, SIZE.kvm_msr_filter),
  // on a vCPU
  RUN: none(0x80),
  GET_REGS: reads(0x81, SIZE.kvm_regs),
  SET_REGS: writes(0x82, SIZE.kvm_regs),
  GET_SREGS: reads(0x83, SIZE.kvm_sregs),
  SET_SREGS: writes(0x84, SIZE.kvm_sregs),
  TRANSLATE: both(0x85, SIZE.kvm_translation),
  SET_MSRS: writes(0x89, SIZE.kvm_msrs),
  SET_CPUID2: writes(0x90, SIZE.kvm_cpuid2),
  NMI: none(0x9a),
  GET_MP_STATE: reads(0x98, SIZE.kvm_mp_state),
  SET_MP_STATE: writes(0x99, SIZE.kvm_mp_state),
  GET_VCPU_EVENTS: reads(0x9f, SIZE.kvm_vcpu_events),
  SET_VCPU_EVENTS: writes(0xa0, SIZE.kvm_vcpu_events),
  GET_TSC_KHZ: none(0xa3),
  GET_STATS_FD: none(0xce),
} as const;

/** Capabilities (KVM_CAP_*), for {@linkcode Kvm.extension}. */
export const CAP = {
  IRQCHIP: 0,
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  NR_VCPUS: 9,
  NR_MEMSLOTS: 10,
  MP_STATE: 14,
  IRQ_ROUTING: 25,
  PIT2: 33,
  IOEVENTFD: 36,
  SET_IDENTITY_MAP_ADDR: 37,
  XEN_HVM: 38,
  MAX_VCPUS: 66,
  TSC_DEADLINE_TIMER: 72,
  SYNC_REGS: 74,
  SIGNAL_MSI: 77,
  MAX_VCPU_ID: 128,
  X2APIC_API: 129,
  IMMEDIATE_EXIT: 136,
  X86_USER_SPACE_MSR: 188,
  X86_MSR_FILTER: 189,
  EXIT_ON_EMULATION_FAILURE: 204,
} as const;

/** Why KVM_RUN returned (KVM_EXIT_*). */
export const EXIT = {
  UNKNOWN: 0,
  EXCEPTION: 1,
  IO: 2,
  HYPERCALL: 3,
  DEBUG: 4,
  HLT: 5,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  SET_TPR: 11,
  TPR_ACCESS: 12,
  NMI: 16,
  INTERNAL_ERROR: 17,
  WATCHDOG: 21,
  SYSTEM_EVENT: 24,
  IOAPIC_EOI: 26,
  HYPERV: 27,
  X86_RDMSR: 29,
  X86_WRMSR: 30,
  DIRTY_RING_FULL: 31,
  X86_BUS_LOCK: 33,
  XEN: 34,
  NOTIFY: 37,
  MEMORY_FAULT: 39,
} as const;

/** vCPU ids end below it (x86: KVM_MAX_VCPU_IDS, at most; the host's own limit is KVM_CAP_MAX_VCPU_ID's). */
export const MAX_VCPU_IDS = 4096;

/** One more than the highest exit reason that is counted by itself. */
export const EXIT_REASONS = 64;

/** KVM_EXIT_IO_OUT of kvm_run.io.direction. */
export const IO_OUT = 1;

/** KVM_INTERNAL_ERROR_* of kvm_run.internal.suberror. */
export const SUBERROR = { EMULATION: 1, SIMUL_EX: 2, DELIVERY_EV: 3, UNEXPECTED_EXIT_REASON: 4 } as const;

/** Offsets in struct kvm_run. */
export const RUN_PAGE = {
  immediate_exit: 1,
  exit_reason: 8,
  hw_entry_failure_reason: 32,
  io_direction: 32,
  io_size: 33,
  io_port: 34,
  io_count: 36,
  io_data_offset: 40,
  mmio_phys_addr: 32,
  mmio_data: 40,
  mmio_len: 48,
  mmio_is_write: 52,
  internal_suberror: 32,
  system_event_type: 32,
  msr_error: 32,
  msr_index: 44,
  msr_data: 48,
  "xen_u.hcall.result": 56,
  kvm_valid_regs: 288,
  kvm_dirty_regs: 296,
  "s.regs.regs": 304,
  "s.regs.sregs": 448,
} as const;

/** KVM_SYNC_X86_REGS and KVM_SYNC_X86_SREGS, of kvm_run's valid and dirty registers. */
export const SYNC_REGS = 1, SYNC_SREGS = 2;

/** Offsets in struct kvm_regs; r8 to r15 follow rbp. */
export const REGS = {
  rax: 0,
  rbx: 8,
  rcx: 16,
  rdx: 24,
  rsi: 32,
  rdi: 40,
  rsp: 48,
  rbp: 56,
  r8: 64,
  r9: 72,
  r10: 80,
  rip: 128,
  rflags: 136,
} as const;

/** Offsets in struct kvm_sregs. */
export const SREGS = {
  cs: 0,
  ds: 24,
  es: 48,
  fs: 72,
  gs: 96,
  ss: 120,
  tr: 144,
  ldt: 168,
  gdt: 192,
  idt: 208,
  cr0: 224,
  cr2: 232,
  cr3: 240,
  cr4: 248,
  cr8: 256,
  efer: 264,
  apic_base: 272,
} as const;

/** Offsets in struct kvm_segment. */
export const SEGMENT = {
  base: 0,
  limit: 8,
  selector: 12,
  type: 14,
  present: 15,
  dpl: 16,
  db: 17,
  s: 18,
  l: 19,
  g: 20,
  unusable: 22,
} as const;

/** Offsets in struct kvm_dtable. */
export const DTABLE = { base: 0, limit: 8 } as const;

/** KVM_MEM_READONLY, of a memory region's flags. */
export const MEM_READONLY = 2;

/** Offsets in struct kvm_userspace_memory_region. */
export const MEMORY_REGION = { slot: 0, flags: 4, guest_phys_addr: 8, memory_size: 16, userspace_addr: 24 } as const;

/** Offsets in struct kvm_cpuid_entry2. */
export const CPUID_ENTRY = { function: 0, index: 4, flags: 8, eax: 12, ebx: 16, ecx: 20, edx: 24 } as const;

/** KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the leaf has several subleaves. */
export const CPUID_SIGNIFICANT_INDEX = 1;

/** Offsets in struct kvm_irq_level, kvm_irq_routing, kvm_irq_routing_entry and kvm_msi. */
export const IRQ_LEVEL = { irq: 0, level: 4 } as const;
export const IRQ_ROUTING = { nr: 0, entries: 8 } as const;
export const IRQ_ROUTING_ENTRY = { gsi: 0, type: 4, irqchip: 16, pin: 20 } as const;
export const MSI = { address_lo: 0, address_hi: 4, data: 8, flags: 12 } as const;

/** KVM_IRQ_ROUTING_IRQCHIP, and the chips that it names. */
export const ROUTING_IRQCHIP = 1, CHIP_PIC_MASTER = 0, CHIP_PIC_SLAVE = 1, CHIP_IOAPIC = 2;

/** KVM_PIT_SPEAKER_DUMMY of kvm_pit_config.flags: KVM answers port 0x61 (gate and output of channel 2) itself. */
export const PIT_SPEAKER_DUMMY = 1;

/** Offsets in struct kvm_translation and kvm_enable_cap. */
export const TRANSLATION = { linear_address: 0, physical_address: 8, valid: 16 } as const;
export const ENABLE_CAP = { cap: 0, flags: 4, args: 8 } as const;

/** Offsets in struct kvm_vcpu_events. */
export const VCPU_EVENTS = {
  "exception.injected": 0,
  "exception.pending": 3,
  "interrupt.injected": 8,
  "interrupt.nr": 9,
  "interrupt.soft": 10,
  "interrupt.shadow": 11,
  "nmi.injected": 12,
} as const;

/** KVM_MP_STATE_*: whether a vCPU runs, waits for an INIT, or for an interrupt. */
export const MP_STATE = { RUNNABLE: 0, UNINITIALIZED: 1, HALTED: 3 } as const;

/** Offsets in struct kvm_ioeventfd, and KVM_IOEVENTFD_FLAG_* of its flags. */
export const IOEVENTFD = { datamatch: 0, addr: 8, len: 16, fd: 20, flags: 24 } as const,
  IOEVENTFD_FLAG = { DATAMATCH: 1, PIO: 2, DEASSIGN: 4 } as const;

/** Offsets in struct kvm_xen_hvm_config; KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL of its flags. */
export const XEN_HVM_CONFIG = { flags: 0, msr: 4 } as const, XEN_HVM_INTERCEPT_HCALL = 2;

/** KVM_MSR_EXIT_REASON_FILTER: of the accesses to MSRs that user space wants to have. */
export const MSR_EXIT_FILTER = 4;

/** Offsets in struct kvm_msr_filter and its ranges; a bit of the bitmap that is 0 denies. KVM_MSR_FILTER_READ and _WRITE. */
export const MSR_FILTER = { flags: 0, ranges: 8 } as const;
export const MSR_FILTER_RANGE = { flags: 0, nmsrs: 4, base: 8, bitmap: 16 } as const;
export const MSR_FILTER_READ = 1, MSR_FILTER_WRITE = 2;

/** Offsets in struct kvm_msrs and kvm_msr_entry. */
export const MSRS = { nmsrs: 0, entries: 8 } as const, MSR_ENTRY = { index: 0, data: 8 } as const;

/** Offsets in struct kvm_clock_data. */
export const CLOCK_DATA = { clock: 0 } as const;

/** Offsets in struct kvm_irqfd; KVM_IRQFD_FLAG_DEASSIGN and KVM_IRQFD_FLAG_RESAMPLE of its flags. */
export const IRQFD = { fd: 0, gsi: 4, flags: 8, resamplefd: 12 } as const, IRQFD_DEASSIGN = 1, IRQFD_RESAMPLE = 2;

/** KVM_X2APIC_API_USE_32BIT_IDS and KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK. */
export const X2APIC_API_USE_32BIT_IDS = 1, X2APIC_API_DISABLE_BROADCAST_QUIRK = 2;

/** struct kvm_stats_header, at the start of a statistics descriptor. */
export const STATS_HEADER = { name_size: 4, num_desc: 8, desc_offset: 16, data_offset: 20 } as const;

/** struct kvm_stats_desc; the name follows it. */
export const STATS_DESCRIPTOR = { size: 6, offset: 8, name: 16 } as const;
