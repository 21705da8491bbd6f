// Xen, as an HVM or PVH guest finds it: numbers, structures and calls (docs/xen-abi.md), for code of either width.
//
// A guest that wants it calls xen_init() first; only the calls by the port work without.
#pragma once

#include "guest.h"

// ---- Error numbers: a call that fails gives one of them, negated

enum {
  EPERM = 1,
  ENOENT = 2,
  ESRCH = 3,
  ENXIO = 6,
  E2BIG = 7,
  ENOMEM = 12,
  EACCES = 13,
  EFAULT = 14,
  EBUSY = 16,
  EEXIST = 17,
  ENODEV = 19,
  EINVAL = 22,
  ENOSPC = 28,
  ERANGE = 34,
  ENOSYS = 38,
  ETIME = 62,
  EILSEQ = 84,
  EOPNOTSUPP = 95,
  ENOBUFS = 105,
};

// ---- Finding Xen (xen.c)

enum {
  XEN_CPUID_FIRST = 0x40000000,
  XEN_CPUID_VERSION = 1,
  XEN_CPUID_PAGE = 2,
  XEN_CPUID_TIME = 3,
  XEN_CPUID_HVM = 4,
  HYPERCALL_STUB_BYTES = 32,
};

struct cpuid {
  uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t index) {
  struct cpuid found;
  asm volatile("cpuid" : "=a"(found.eax), "=b"(found.ebx), "=c"(found.ecx), "=d"(found.edx) : "a"(leaf), "c"(index));
  return found;
}

// The first of Xen's leaves, or 0 if there is no Xen.
uint32_t xen_find(void);

// Finds Xen, and has it fill the hypercall page, which is part of this image. Ends the run with status 1 without it.
void xen_init(void);

// Which vCPU of the domain the calling one is, and which domain this is, by CPUID; after xen_find() or xen_init().
unsigned xen_vcpu_id(void);
unsigned xen_domid(void);

// ---- Hypercalls, by the page

enum {
  HYPERCALL_PLATFORM_OP = 7,
  HYPERCALL_MEMORY_OP = 12,
  HYPERCALL_MULTICALL = 13,
  HYPERCALL_SET_TIMER_OP = 15,
  HYPERCALL_XEN_VERSION = 17,
  HYPERCALL_CONSOLE_IO = 18,
  HYPERCALL_GRANT_TABLE_OP = 20,
  HYPERCALL_VM_ASSIST = 21,
  HYPERCALL_VCPU_OP = 24,
  HYPERCALL_MMUEXT_OP = 26,
  HYPERCALL_XSM_OP = 27,
  HYPERCALL_SCHED_OP = 29,
  HYPERCALL_EVENT_CHANNEL_OP = 32,
  HYPERCALL_PHYSDEV_OP = 33,
  HYPERCALL_HVM_OP = 34,
  HYPERCALL_SYSCTL = 35,
  HYPERCALL_DOMCTL = 36,
  HYPERCALL_XENPMU_OP = 40,
  HYPERCALL_DM_OP = 41,
  HYPERCALL_HYPFS_OP = 42,
  HYPERCALL_ARCH_1 = 49,
};

extern uint8_t xen_hypercall_page[4096];

// What a register of the caller's width holds: numbers and pointers alike.
typedef unsigned long word;

#ifdef __x86_64__
#define HYPERCALL_REGISTER_1 "rdi"
#define HYPERCALL_REGISTER_2 "rsi"
#define HYPERCALL_REGISTER_3 "rdx"
#define HYPERCALL_REGISTER_4 "r10"
#define HYPERCALL_REGISTER_5 "r8"
#else
#define HYPERCALL_REGISTER_1 "ebx"
#define HYPERCALL_REGISTER_2 "ecx"
#define HYPERCALL_REGISTER_3 "edx"
#define HYPERCALL_REGISTER_4 "esi"
#define HYPERCALL_REGISTER_5 "edi"
#endif

// Xen may change the registers of arguments, so they are outputs, too.
static inline long hypercall5(unsigned call, word one, word two, word three, word four, word five) {
  word result = (word)xen_hypercall_page + call * HYPERCALL_STUB_BYTES;
  register word a asm(HYPERCALL_REGISTER_1) = one;
  register word b asm(HYPERCALL_REGISTER_2) = two;
  register word c asm(HYPERCALL_REGISTER_3) = three;
  register word d asm(HYPERCALL_REGISTER_4) = four;
  register word e asm(HYPERCALL_REGISTER_5) = five;
  asm volatile("call *%0" : "+a"(result), "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e) : : "memory");
  return (long)result;
}

static inline long hypercall3(unsigned call, word one, word two, word three) {
  word result = (word)xen_hypercall_page + call * HYPERCALL_STUB_BYTES;
  register word a asm(HYPERCALL_REGISTER_1) = one;
  register word b asm(HYPERCALL_REGISTER_2) = two;
  register word c asm(HYPERCALL_REGISTER_3) = three;
  asm volatile("call *%0" : "+a"(result), "+r"(a), "+r"(b), "+r"(c) : : "memory");
  return (long)result;
}

static inline long hypercall2(unsigned call, word one, word two) {
  word result = (word)xen_hypercall_page + call * HYPERCALL_STUB_BYTES;
  register word a asm(HYPERCALL_REGISTER_1) = one;
  register word b asm(HYPERCALL_REGISTER_2) = two;
  asm volatile("call *%0" : "+a"(result), "+r"(a), "+r"(b) : : "memory");
  return (long)result;
}

static inline long hypercall1(unsigned call, word one) {
  word result = (word)xen_hypercall_page + call * HYPERCALL_STUB_BYTES;
  register word a asm(HYPERCALL_REGISTER_1) = one;
  asm volatile("call *%0" : "+a"(result), "+r"(a) : : "memory");
  return (long)result;
}

// ---- Hypercalls by the port: they need no page, and nobody has to have found Xen

enum { HYPERCALL_PORT = 0xe8 };

// The result is Xen's, or the call's number if nobody is at the port.
static inline long port_hypercall3(unsigned call, word one, word two, word three) {
  word result = call;
  register word a asm(HYPERCALL_REGISTER_1) = one;
  register word b asm(HYPERCALL_REGISTER_2) = two;
  register word c asm(HYPERCALL_REGISTER_3) = three;
  asm volatile("outl %%eax, %4"
               : "+a"(result), "+r"(a), "+r"(b), "+r"(c)
               : "N"(HYPERCALL_PORT)
               : "memory");
  return (long)result;
}

static inline long port_hypercall5(unsigned call, word one, word two, word three, word four, word five) {
  word result = call;
  register word a asm(HYPERCALL_REGISTER_1) = one;
  register word b asm(HYPERCALL_REGISTER_2) = two;
  register word c asm(HYPERCALL_REGISTER_3) = three;
  register word d asm(HYPERCALL_REGISTER_4) = four;
  register word e asm(HYPERCALL_REGISTER_5) = five;
  asm volatile("outl %%eax, %6"
               : "+a"(result), "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e)
               : "N"(HYPERCALL_PORT)
               : "memory");
  return (long)result;
}

static inline long port_hypercall2(unsigned call, word one, word two) { return port_hypercall3(call, one, two, 0); }

// ---- Domains

enum { DOMID_SELF = 0x7ff0, DOMID_IO = 0x7ff1, DOMID_XEN = 0x7ff2, DOMID_COW = 0x7ff3, DOMID_INVALID = 0x7ff4 };

// ---- xen_version

enum {
  XENVER_VERSION = 0,
  XENVER_EXTRAVERSION = 1,
  XENVER_COMPILE_INFO = 2,
  XENVER_CAPABILITIES = 3,
  XENVER_CHANGESET = 4,
  XENVER_PLATFORM_PARAMETERS = 5,
  XENVER_GET_FEATURES = 6,
  XENVER_PAGESIZE = 7,
  XENVER_GUEST_HANDLE = 8,
  XENVER_COMMANDLINE = 9,
  XENVER_BUILD_ID = 10,
};

struct xen_feature_info {
  uint32_t submap_index, submap;
};

static inline long xen_version(unsigned subop, void *argument) {
  return hypercall2(HYPERCALL_XEN_VERSION, subop, (word)argument);
}

// ---- memory_op

enum {
  XENMEM_INCREASE_RESERVATION = 0,
  XENMEM_DECREASE_RESERVATION = 1,
  XENMEM_MAXIMUM_RAM_PAGE = 2,
  XENMEM_CURRENT_RESERVATION = 3,
  XENMEM_MAXIMUM_RESERVATION = 4,
  XENMEM_MACHPHYS_MFN_LIST = 5,
  XENMEM_POPULATE_PHYSMAP = 6,
  XENMEM_ADD_TO_PHYSMAP = 7,
  XENMEM_MEMORY_MAP = 9,
  XENMEM_MACHINE_MEMORY_MAP = 10,
  XENMEM_EXCHANGE = 11,
  XENMEM_MACHPHYS_MAPPING = 12,
  XENMEM_SET_MEMORY_MAP = 13,
  XENMEM_MAXIMUM_GPFN = 14,
  XENMEM_REMOVE_FROM_PHYSMAP = 15,
  XENMEM_SET_POD_TARGET = 16,
  XENMEM_GET_POD_TARGET = 17,
  XENMEM_GET_SHARING_FREED_PAGES = 18,
  XENMEM_GET_SHARING_SHARED_PAGES = 19,
  XENMEM_PAGING_OP = 20,
  XENMEM_ACCESS_OP = 21,
  XENMEM_SHARING_OP = 22,
  XENMEM_ADD_TO_PHYSMAP_BATCH = 23,
  XENMEM_CLAIM_PAGES = 24,
  XENMEM_MACHPHYS_COMPAT_MFN_LIST = 25,
  XENMEM_GET_VNUMAINFO = 26,
  XENMEM_RESERVED_DEVICE_MEMORY_MAP = 27,
  XENMEM_ACQUIRE_RESOURCE = 28,
};

enum {
  XENMAPSPACE_SHARED_INFO = 0,
  XENMAPSPACE_GRANT_TABLE = 1,
  XENMAPSPACE_GMFN = 2,
  XENMAPSPACE_GMFN_RANGE = 3,
  XENMAPSPACE_GMFN_FOREIGN = 4,
  XENMAPSPACE_DEV_MMIO = 5,
};

enum { XENMAPIDX_GRANT_TABLE_STATUS = 1u << 31 };

struct xen_memory_reservation {
  word extent_start;  // address of the gfns, a word each
  word extent_count;
  uint32_t extent_order, flags;
  uint16_t domain;
};

struct xen_add_to_physmap {
  uint16_t domain, size;
  uint32_t space;
  word index, gfn;
};

struct xen_add_to_physmap_batch {
  uint16_t domain, space, size, foreign_domain;
  word indices, gfns, errors;  // addresses of a word, a word and an int each
};

struct xen_remove_from_physmap {
  uint16_t domain;
  word gfn;
};

struct xen_memory_map {
  uint32_t count;
  word buffer;  // address of struct xen_memory_map_entry
};

struct xen_memory_map_entry {
  uint64_t address, size;
  uint32_t type;
} __attribute__((packed));

static inline long memory_op(word subop, const void *argument) {
  return hypercall2(HYPERCALL_MEMORY_OP, subop, (word)argument);
}

// Has what `space` and `index` say stand at `gfn`.
static inline long add_to_physmap(uint32_t space, word index, word gfn) {
  struct xen_add_to_physmap argument = {.domain = DOMID_SELF, .space = space, .index = index, .gfn = gfn};
  return memory_op(XENMEM_ADD_TO_PHYSMAP, &argument);
}

static inline long remove_from_physmap(word gfn) {
  struct xen_remove_from_physmap argument = {DOMID_SELF, gfn};
  return memory_op(XENMEM_REMOVE_FROM_PHYSMAP, &argument);
}

// The following go by the port, so that guests which want only them need not find Xen.

// Takes extents of 2^order frames out of this guest's memory, or puts them back. Returns how many it did, or an error.
static inline long reservation_op(word subop, const word *gfns, word count, uint32_t order, uint16_t domain) {
  struct xen_memory_reservation reservation = {(word)gfns, count, order, 0, domain};
  return port_hypercall2(HYPERCALL_MEMORY_OP, subop, (word)&reservation);
}

// The pages that this guest has; negative if there is no such call.
static inline long reservation(word subop) {
  uint16_t self = DOMID_SELF;
  return port_hypercall2(HYPERCALL_MEMORY_OP, subop, (word)&self);
}

// Whether the port answers.
static inline bool has_memory_op(void) {
  long pages = reservation(XENMEM_CURRENT_RESERVATION);
  return pages > HYPERCALL_MEMORY_OP && (unsigned long)pages <= UINT32_MAX;
}

// ---- Extended regions: ours, not Xen's (docs/extended-regions.md)

enum {
  XENOLITH_CPUID_FIRST = 0x40000200,
  XENOLITH_CPUID_REGIONS = 1,
  EXTENDED_REGIONS_VERSION = 1,
  XENMEM_EXTENDED_REGIONS = 62,
  EXTENDED_REGIONS_GET = 0,
  EXTENDED_REGIONS_LEND = 1,
  EXTENDED_REGIONS_RECLAIM = 2,
  MAX_EXTENDED_REGIONS = 16,
};

struct xen_extended_regions {
  uint32_t version, op;
  uint16_t domain, pad;
  uint32_t count;
  uint64_t first_gfn, gfns;  // of a loan
  uint64_t granularity;
  uint64_t regions;  // address of struct xen_extended_region
};

struct xen_extended_region {
  uint64_t first_gfn, gfns, grants, special, device, lent;
};

static inline long extended_regions_op(struct xen_extended_regions *argument, uint32_t op) {
  argument->version = EXTENDED_REGIONS_VERSION;
  argument->op = op;
  argument->domain = DOMID_SELF;
  return memory_op(XENMEM_EXTENDED_REGIONS, argument);
}

// ---- Multicall

struct multicall_entry {
  word call;
  long result;
  word arguments[6];
};

// ---- console_io

enum { CONSOLEIO_WRITE = 0, CONSOLEIO_READ = 1 };

static inline long console_io(unsigned subop, unsigned count, const void *text) {
  return hypercall3(HYPERCALL_CONSOLE_IO, subop, count, (word)text);
}

static inline long xen_print(const char *text) { return console_io(CONSOLEIO_WRITE, (unsigned)length(text), text); }

// ---- hvm_op

enum {
  HVMOP_SET_PARAM = 0,
  HVMOP_GET_PARAM = 1,
  HVMOP_SET_PCI_INTX_LEVEL = 2,
  HVMOP_FLUSH_TLBS = 5,
  HVMOP_PAGETABLE_DYING = 9,
  HVMOP_GET_TIME = 10,
  HVMOP_XENTRACE = 11,
  HVMOP_GET_MEM_TYPE = 15,
  HVMOP_SET_EVTCHN_UPCALL_VECTOR = 23,
  HVMOP_GUEST_REQUEST_VM_EVENT = 24,
  HVMOP_ALTP2M = 25,
};

enum {
  HVM_PARAM_CALLBACK_IRQ = 0,
  HVM_PARAM_STORE_PFN = 1,
  HVM_PARAM_STORE_EVTCHN = 2,
  HVM_PARAM_CONSOLE_PFN = 17,
  HVM_PARAM_CONSOLE_EVTCHN = 18,
  HVM_PARAM_COUNT = 39,
};

struct xen_hvm_param {
  uint16_t domain, pad;
  uint32_t index;
  uint64_t value;
};

struct xen_hvm_upcall_vector {
  uint32_t vcpu;
  uint8_t vector;
};

static inline long hvm_op(unsigned subop, void *argument) {
  return hypercall2(HYPERCALL_HVM_OP, subop, (word)argument);
}

// An HVM parameter of this domain. Ends the run with status 1 if it cannot be read.
uint64_t hvm_param(uint32_t index);

long set_hvm_param(uint32_t index, uint64_t value);

// From now on that vCPU hears of events by that vector of its local APIC.
static inline long set_upcall_vector(uint32_t vcpu, uint8_t vector) {
  struct xen_hvm_upcall_vector argument = {vcpu, vector};
  return hvm_op(HVMOP_SET_EVTCHN_UPCALL_VECTOR, &argument);
}

// ---- Event channels

enum {
  EVTCHNOP_BIND_INTERDOMAIN = 0,
  EVTCHNOP_BIND_VIRQ = 1,
  EVTCHNOP_BIND_PIRQ = 2,
  EVTCHNOP_CLOSE = 3,
  EVTCHNOP_SEND = 4,
  EVTCHNOP_STATUS = 5,
  EVTCHNOP_ALLOC_UNBOUND = 6,
  EVTCHNOP_BIND_IPI = 7,
  EVTCHNOP_BIND_VCPU = 8,
  EVTCHNOP_UNMASK = 9,
  EVTCHNOP_RESET = 10,
  EVTCHNOP_INIT_CONTROL = 11,
  EVTCHNOP_EXPAND_ARRAY = 12,
  EVTCHNOP_SET_PRIORITY = 13,
};

enum { VIRQ_TIMER = 0, VIRQ_DEBUG = 1, VIRQ_CONSOLE = 2 };

enum {
  EVTCHNSTAT_CLOSED = 0,
  EVTCHNSTAT_UNBOUND = 1,
  EVTCHNSTAT_INTERDOMAIN = 2,
  EVTCHNSTAT_PIRQ = 3,
  EVTCHNSTAT_VIRQ = 4,
  EVTCHNSTAT_IPI = 5,
};

struct evtchn_alloc_unbound {
  uint16_t domain, remote_domain;
  uint32_t port;
};

struct evtchn_bind_interdomain {
  uint16_t remote_domain;
  uint32_t remote_port, local_port;
};

struct evtchn_bind_virq {
  uint32_t virq, vcpu, port;
};

struct evtchn_bind_ipi {
  uint32_t vcpu, port;
};

struct evtchn_bind_vcpu {
  uint32_t port, vcpu;
};

struct evtchn_status {
  uint16_t domain;
  uint32_t port;
  uint32_t status, vcpu;
  union {
    uint16_t unbound_domain;
    struct {
      uint16_t domain;
      uint32_t port;
    } interdomain;
    uint32_t pirq, virq;
  };
};

static inline long event_channel_op(unsigned subop, void *argument) {
  return hypercall2(HYPERCALL_EVENT_CHANNEL_OP, subop, (word)argument);
}

static inline long event_send(uint32_t port) { return event_channel_op(EVTCHNOP_SEND, &port); }
static inline long event_unmask(uint32_t port) { return event_channel_op(EVTCHNOP_UNMASK, &port); }
static inline long event_close(uint32_t port) { return event_channel_op(EVTCHNOP_CLOSE, &port); }

// The port, or an error.
static inline long event_bind_virq(uint32_t virq, uint32_t vcpu) {
  struct evtchn_bind_virq argument = {.virq = virq, .vcpu = vcpu};
  long result = event_channel_op(EVTCHNOP_BIND_VIRQ, &argument);
  return result == 0 ? (long)argument.port : result;
}

static inline long event_bind_ipi(uint32_t vcpu) {
  struct evtchn_bind_ipi argument = {.vcpu = vcpu};
  long result = event_channel_op(EVTCHNOP_BIND_IPI, &argument);
  return result == 0 ? (long)argument.port : result;
}

static inline long event_alloc_unbound(uint16_t remote_domain) {
  struct evtchn_alloc_unbound argument = {.domain = DOMID_SELF, .remote_domain = remote_domain};
  long result = event_channel_op(EVTCHNOP_ALLOC_UNBOUND, &argument);
  return result == 0 ? (long)argument.port : result;
}

// ---- What the guest shares with Xen

// How vCPUs tell the time: odd versions are being written. ns = system_time + ((tsc - timestamp) << shift) * mul >> 32.
struct vcpu_time_info {
  volatile uint32_t version, pad;
  volatile uint64_t tsc_timestamp, system_time;
  volatile uint32_t tsc_to_system_mul;
  volatile int8_t tsc_shift;
  volatile uint8_t flags, pad1[2];
};

enum { PVCLOCK_TSC_STABLE = 1 };

struct vcpu_info {
  volatile uint8_t upcall_pending, upcall_mask;
  volatile word pending_selector;
  union {
    word cr2;
    uint8_t arch[sizeof(word) == 8 ? 16 : 24];
  };
  struct vcpu_time_info time;
};

enum { XEN_LEGACY_VCPUS = 32, WORD_BITS = sizeof(word) * 8, EVENT_PORTS = WORD_BITS * WORD_BITS };

struct shared_info {
  struct vcpu_info vcpus[XEN_LEGACY_VCPUS];
  volatile word pending[WORD_BITS], mask[WORD_BITS];
  volatile uint32_t clock_version, clock_seconds, clock_nanoseconds;
#ifdef __x86_64__
  volatile uint32_t clock_seconds_high;
  uint8_t arch[48];
#else
  uint8_t arch[24];
  volatile uint32_t clock_seconds_high;
#endif
};

_Static_assert(sizeof(struct vcpu_time_info) == 32, "as in Xen");
_Static_assert(sizeof(struct vcpu_info) == 64, "as in Xen");
_Static_assert(sizeof(struct shared_info) == (sizeof(word) == 8 ? 3136 : 2344), "as in Xen");

// Has shared_info stand in a page of this image, and returns it. Ends the run with status 1 if it cannot. All ports are
// masked until event_unmask().
struct shared_info *xen_map_shared_info(void);

// The lowest port with an event that is pending and not masked, which is then no longer pending; -1: there is none.
// For the vCPU that hears of it, after its upcall_pending and once for each event until -1 comes. Where several vCPUs
// have ports, `own` has a bit for each of this one's, as `pending` has; null: all are.
long event_next_of(struct shared_info *shared, struct vcpu_info *info, const volatile word *own);

static inline long event_next(struct shared_info *shared, unsigned vcpu) {
  return event_next_of(shared, &shared->vcpus[vcpu], NULL);
}

// Nanoseconds by a vCPU's clock, which that vCPU itself reads.
uint64_t xen_clock_ns(const struct vcpu_time_info *time);

static inline uint64_t read_tsc(void) {
  uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}

// ---- sched_op

enum {
  SCHEDOP_YIELD = 0,
  SCHEDOP_BLOCK = 1,
  SCHEDOP_SHUTDOWN = 2,
  SCHEDOP_POLL = 3,
  SCHEDOP_REMOTE_SHUTDOWN = 4,
  SCHEDOP_SHUTDOWN_CODE = 5,
  SCHEDOP_WATCHDOG = 6,
  SCHEDOP_PIN_OVERRIDE = 7,
};

enum { SHUTDOWN_POWEROFF = 0, SHUTDOWN_REBOOT = 1, SHUTDOWN_SUSPEND = 2, SHUTDOWN_CRASH = 3, SHUTDOWN_WATCHDOG = 4 };

struct sched_poll {
  word ports;  // address of a uint32_t each
  uint32_t count;
  uint64_t timeout;
};

struct sched_watchdog {
  uint32_t id, seconds;
};

static inline long sched_op(unsigned subop, const void *argument) {
  return hypercall2(HYPERCALL_SCHED_OP, subop, (word)argument);
}

// Ends the domain for that reason.
static inline long xen_shutdown(uint32_t reason) { return sched_op(SCHEDOP_SHUTDOWN, &reason); }

// Sleeps until one of the ports is pending or the clock says `timeout` (0: whatever it says).
static inline long xen_poll(const uint32_t *ports, uint32_t count, uint64_t timeout) {
  struct sched_poll argument = {.ports = (word)ports, .count = count, .timeout = timeout};
  return sched_op(SCHEDOP_POLL, &argument);
}

// ---- vcpu_op

enum {
  VCPUOP_INITIALISE = 0,
  VCPUOP_UP = 1,
  VCPUOP_DOWN = 2,
  VCPUOP_IS_UP = 3,
  VCPUOP_GET_RUNSTATE_INFO = 4,
  VCPUOP_REGISTER_RUNSTATE_AREA = 5,
  VCPUOP_SET_PERIODIC_TIMER = 6,
  VCPUOP_STOP_PERIODIC_TIMER = 7,
  VCPUOP_SET_SINGLESHOT_TIMER = 8,
  VCPUOP_STOP_SINGLESHOT_TIMER = 9,
  VCPUOP_REGISTER_VCPU_INFO = 10,
  VCPUOP_SEND_NMI = 11,
  VCPUOP_GET_PHYSID = 12,
  VCPUOP_REGISTER_TIME_AREA = 13,
};

enum { RUNSTATE_RUNNING = 0, RUNSTATE_RUNNABLE = 1, RUNSTATE_BLOCKED = 2, RUNSTATE_OFFLINE = 3, RUNSTATES = 4 };

enum { SINGLESHOT_FUTURE = 1 };

struct vcpu_runstate_info {
  volatile uint32_t state;
  volatile uint64_t entry_time, time[RUNSTATES];
};

struct vcpu_set_singleshot_timer {
  uint64_t timeout;
  uint32_t flags;
};

struct vcpu_register_vcpu_info {
  uint64_t gfn;
  uint32_t offset, reserved;
};

// An area that Xen keeps up to date at a linear address.
struct vcpu_register_area {
  union {
    word address;
    uint64_t wide;
  };
};

enum { VCPU_HVM_MODE_32 = 0, VCPU_HVM_MODE_64 = 1 };

// The state in which VCPUOP_initialise has a vCPU begin, in 64-bit code; flat segments, whose selectors are 0.
struct vcpu_hvm_context_64 {
  uint32_t mode, pad;
  uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, rflags, cr0, cr3, cr4, efer, unused;
};

_Static_assert(sizeof(struct vcpu_hvm_context_64) == 128, "as in Xen");

static inline long vcpu_op(unsigned subop, unsigned vcpu, const void *argument) {
  return hypercall3(HYPERCALL_VCPU_OP, subop, vcpu, (word)argument);
}

// ---- Grant tables

enum {
  GNTTABOP_MAP_GRANT_REF = 0,
  GNTTABOP_UNMAP_GRANT_REF = 1,
  GNTTABOP_SETUP_TABLE = 2,
  GNTTABOP_DUMP_TABLE = 3,
  GNTTABOP_TRANSFER = 4,
  GNTTABOP_COPY = 5,
  GNTTABOP_QUERY_SIZE = 6,
  GNTTABOP_UNMAP_AND_REPLACE = 7,
  GNTTABOP_SET_VERSION = 8,
  GNTTABOP_GET_STATUS_FRAMES = 9,
  GNTTABOP_GET_VERSION = 10,
  GNTTABOP_SWAP_GRANT_REF = 11,
  GNTTABOP_CACHE_FLUSH = 12,
};

enum {
  GNTST_OKAY = 0,
  GNTST_GENERAL_ERROR = -1,
  GNTST_BAD_DOMAIN = -2,
  GNTST_BAD_GNTREF = -3,
  GNTST_BAD_HANDLE = -4,
  GNTST_BAD_VIRT_ADDR = -5,
  GNTST_BAD_DEV_ADDR = -6,
  GNTST_NO_DEVICE_SPACE = -7,
  GNTST_PERMISSION_DENIED = -8,
  GNTST_BAD_PAGE = -9,
  GNTST_BAD_COPY_ARG = -10,
  GNTST_ADDRESS_TOO_BIG = -11,
  GNTST_EAGAIN = -12,
  GNTST_NO_SPACE = -13,
};

enum {
  GTF_INVALID = 0,
  GTF_PERMIT_ACCESS = 1,
  GTF_READONLY = 4,
  GTF_READING = 8,
  GTF_WRITING = 16,
  GNTMAP_DEVICE_MAP = 1,
  GNTMAP_HOST_MAP = 2,
  GNTMAP_READONLY = 4,
  GNTCOPY_SOURCE_GREF = 1,
  GNTCOPY_DEST_GREF = 2,
  GNTTAB_RESERVED_ENTRIES = 8,
};

struct grant_entry_v1 {
  volatile uint16_t flags, domain;
  volatile uint32_t frame;
};

struct gnttab_map_grant_ref {
  uint64_t host_address;
  uint32_t flags, ref;
  uint16_t domain;
  int16_t status;
  uint32_t handle;
  uint64_t bus_address;
};

struct gnttab_unmap_grant_ref {
  uint64_t host_address, bus_address;
  uint32_t handle;
  int16_t status;
};

struct gnttab_setup_table {
  uint16_t domain;
  uint32_t frames;
  int16_t status;
  word list;  // address of a word each
};

struct gnttab_copy_end {
  word place;  // reference, or gfn
  uint16_t domain, offset;
};

struct gnttab_copy {
  struct gnttab_copy_end source, dest;
  uint16_t size, flags;
  int16_t status;
};

struct gnttab_query_size {
  uint16_t domain;
  uint32_t frames, most;
  int16_t status;
};

struct gnttab_get_status_frames {
  uint32_t frames;
  uint16_t domain;
  int16_t status;
  word list;  // address of a uint64_t each
};

struct gnttab_get_version {
  uint16_t domain, pad;
  uint32_t version;
};

struct gnttab_swap_grant_ref {
  uint32_t one, other;
  int16_t status;
};

struct gnttab_cache_flush {
  uint64_t address;
  uint16_t offset, length;
  uint32_t op;
};

static inline long grant_table_op(unsigned subop, void *list, unsigned count) {
  return hypercall3(HYPERCALL_GRANT_TABLE_OP, subop, (word)list, count);
}
