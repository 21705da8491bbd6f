// The table: every hypercall and subop of docs/xen-abi.md with arguments that are right and wrong, and what Xen gives.
//
// Calls whose order matters, or whose answer is more than a number, are in calls.h.
#pragma once

#include "xen.h"

enum { PAGE = 4096, PLAIN_PORT = 1, NO_VCPU = 5000, NO_DOMAIN = 77, CONTROL_DOMAIN = 0, OWN_DOMAIN = 1 };

// Where linear addresses are not as everywhere else. The window's first page is not there, nor is there such memory.
// The guest says where it has the WINDOW, and makes it:
//   0 and 3: no page; 1 and 2: pages that are no neighbours; 4: the second page of `plain`, to be read only;
//   6: a page where no memory is; 7 and 8: two more, of which 8 is for CPL3.
#define WINDOW_PAGE(n) (WINDOW + (word)(n) * PAGE)
#define NOWHERE WINDOW_PAGE(0)

// A structure in memory, as an argument.
#define AT(...) ((word) & (__VA_ARGS__))

struct row {
  const char *name;
  unsigned call;
  word arguments[5];
  long expected;
};

struct control_op {
  uint32_t subop, version;
  uint16_t domain;
  uint8_t rest[134];
};

struct machphys_list {
  uint32_t most;
  word list;
  uint32_t count;
};

struct foreign_memory_map {
  uint16_t domain;
  struct xen_memory_map map;
};

struct memory_exchange {
  struct xen_memory_reservation in, out;
  word exchanged;
};

struct vnuma_info {
  uint16_t domain, pad;
  uint32_t nodes, vcpus, ranges;
  uint64_t handles[3];
};

struct reserved_device_memory {
  uint32_t flags, count;
  word buffer;
  uint32_t device;
};

struct access_op {
  uint8_t subop, access;
  uint16_t domain;
  uint32_t count;
  uint64_t rest[3];
};

struct acquire_resource {
  uint16_t domain, type;
  uint32_t id, frames, pad;
  uint64_t frame;
  word list;
};

struct pod_target {
  uint64_t pages[4];
  uint16_t domain;
};

struct map_pirq {
  uint16_t domain;
  int32_t type, index, pirq, bus, device, entry;
  uint64_t table;
};

struct unmap_pirq {
  uint16_t domain;
  int32_t pirq;
};

struct get_mem_type {
  uint16_t domain, type, pad[2];
  uint64_t gfn;
};

struct xentrace {
  uint16_t event, extra_bytes;
  uint8_t extra[28];
};

struct init_control {
  uint64_t gfn;
  uint32_t offset, vcpu;
  uint8_t link_bits, pad[7];
};

struct set_priority {
  uint32_t port, priority;
};

// Where results go that nobody looks at.
static uint8_t sink[PAGE] __attribute__((aligned(PAGE)));
static word no_words[4];

#define SELF_16 AT((uint16_t[]){DOMID_SELF})
#define CONTROL_16 AT((uint16_t[]){CONTROL_DOMAIN})
#define OTHER_16 AT((uint16_t[]){NO_DOMAIN})
#define RESERVATION(...) AT((struct xen_memory_reservation){__VA_ARGS__})
#define PARAM(...) AT((struct xen_hvm_param){__VA_ARGS__})
#define WORDS(n) AT((uint32_t[]){n})

static const struct row rows[] = {
    // xen_version
    {"XENVER_version", 17, {0, 0}, 4 << 16 | 17},
    {"XENVER_version with any pointer", 17, {0, NOWHERE}, 4 << 16 | 17},
    {"XENVER_extraversion", 17, {1, (word)sink}, 0},
    {"XENVER_extraversion to nowhere", 17, {1, NOWHERE}, -EFAULT},
    {"XENVER_compile_info", 17, {2, (word)sink}, 0},
    {"XENVER_compile_info to nowhere", 17, {2, NOWHERE}, -EFAULT},
    {"XENVER_capabilities", 17, {3, (word)sink}, 0},
    {"XENVER_capabilities to nowhere", 17, {3, NOWHERE}, -EFAULT},
    {"XENVER_changeset", 17, {4, (word)sink}, 0},
    {"XENVER_changeset to nowhere", 17, {4, NOWHERE}, -EFAULT},
    {"XENVER_platform_parameters", 17, {5, (word)sink}, 0},
    {"XENVER_platform_parameters to nowhere", 17, {5, NOWHERE}, -EFAULT},
    {"XENVER_get_features of submap 0", 17, {6, AT((struct xen_feature_info){0})}, 0},
    {"XENVER_get_features of submap 1", 17, {6, AT((struct xen_feature_info){1, 0})}, -EINVAL},
    {"XENVER_get_features from nowhere", 17, {6, NOWHERE}, -EFAULT},
    {"XENVER_pagesize", 17, {7, 0}, PAGE},
    {"XENVER_pagesize with a pointer", 17, {7, (word)sink}, -EINVAL},
    {"XENVER_guest_handle", 17, {8, (word)sink}, 0},
    {"XENVER_guest_handle to nowhere", 17, {8, NOWHERE}, -EFAULT},
    {"XENVER_commandline", 17, {9, (word)sink}, 0},
    {"XENVER_commandline to nowhere", 17, {9, NOWHERE}, -EFAULT},
    {"XENVER_build_id", 17, {10, (word)sink}, -EPERM},
    {"xen_version, subop 11", 17, {11, (word)sink}, -ENOSYS},
    {"xen_version, subop 2^32 - 1", 17, {UINT32_MAX, (word)sink}, -ENOSYS},

    // sched_op; what waits is in calls.h, or in guests/clock
    {"SCHEDOP_yield", 29, {0, 0}, 0},
    {"SCHEDOP_shutdown from nowhere", 29, {2, NOWHERE}, -EFAULT},
    {"SCHEDOP_poll from nowhere", 29, {3, NOWHERE}, -EFAULT},
    {"SCHEDOP_poll of no port, with a time long past", 29, {3, AT((struct sched_poll){0, 0, 1})}, 0},
    {"SCHEDOP_poll of 129 ports", 29, {3, AT((struct sched_poll){(word)sink, 129, 1})}, -EINVAL},
    {"SCHEDOP_poll of a list that is nowhere", 29, {3, AT((struct sched_poll){NOWHERE, 1, 1})}, -EFAULT},
    {"SCHEDOP_poll of a port too high", 29, {3, AT((struct sched_poll){WORDS(EVENT_PORTS), 1, 1})}, -EINVAL},
    {"SCHEDOP_remote_shutdown of domain 0", 29, {4, WORDS(CONTROL_DOMAIN)}, -EPERM},
    {"SCHEDOP_remote_shutdown of itself", 29, {4, WORDS(OWN_DOMAIN)}, -EPERM},
    {"SCHEDOP_remote_shutdown of DOMID_SELF", 29, {4, WORDS(DOMID_SELF)}, -ESRCH},
    {"SCHEDOP_remote_shutdown of another domain", 29, {4, WORDS(NO_DOMAIN)}, -ESRCH},
    {"SCHEDOP_remote_shutdown from nowhere", 29, {4, NOWHERE}, -EFAULT},
    {"SCHEDOP_shutdown_code from nowhere", 29, {5, NOWHERE}, -EFAULT},
    {"SCHEDOP_watchdog from nowhere", 29, {6, NOWHERE}, -EFAULT},
    {"SCHEDOP_watchdog that is not taken", 29, {6, AT((struct sched_watchdog){1, 9})}, -EINVAL},
    {"SCHEDOP_watchdog 3", 29, {6, AT((struct sched_watchdog){3, 9})}, -EINVAL},
    {"SCHEDOP_watchdog, the first", 29, {6, AT((struct sched_watchdog){0, 999})}, 1},
    {"SCHEDOP_watchdog, the second", 29, {6, AT((struct sched_watchdog){0, 999})}, 2},
    {"SCHEDOP_watchdog, a third", 29, {6, AT((struct sched_watchdog){0, 999})}, -ENOSPC},
    {"SCHEDOP_watchdog 1 again", 29, {6, AT((struct sched_watchdog){1, 999})}, 0},
    {"SCHEDOP_watchdog 1 stopped", 29, {6, AT((struct sched_watchdog){1, 0})}, 0},
    {"SCHEDOP_watchdog 1 stopped twice", 29, {6, AT((struct sched_watchdog){1, 0})}, -EINVAL},
    {"SCHEDOP_watchdog 2 stopped", 29, {6, AT((struct sched_watchdog){2, 0})}, 0},
    {"SCHEDOP_pin_override", 29, {7, WORDS(0)}, -EPERM},
    {"SCHEDOP_pin_override from nowhere", 29, {7, NOWHERE}, -EPERM},
    {"sched_op, subop 8", 29, {8, 0}, -ENOSYS},

    // vcpu_op
    {"VCPUOP_initialise of a running vCPU", 24, {0, 0, (word)sink}, -EEXIST},
    {"VCPUOP_initialise from nowhere", 24, {0, 0, NOWHERE}, -EFAULT},
    {"VCPUOP_initialise of a vCPU that is not there", 24, {0, NO_VCPU, (word)sink}, -ENOENT},
    {"VCPUOP_up of a running vCPU", 24, {1, 0, 0}, 0},
    {"VCPUOP_up of a vCPU that is not there", 24, {1, NO_VCPU, 0}, -ENOENT},
    {"VCPUOP_is_up", 24, {3, 0, 0}, 1},
    {"VCPUOP_is_up of a vCPU that is not there", 24, {3, NO_VCPU, 0}, -ENOENT},
    {"VCPUOP_get_runstate_info", 24, {4, 0, (word)sink}, 0},
    {"VCPUOP_get_runstate_info to nowhere", 24, {4, 0, NOWHERE}, -EFAULT},
    {"VCPUOP_register_runstate_memory_area from nowhere", 24, {5, 0, NOWHERE}, -EFAULT},
    {"VCPUOP_set_periodic_timer of 1 ms less 1 ns", 24, {6, 0, AT((uint64_t[]){999999})}, -EINVAL},
    {"VCPUOP_set_periodic_timer of 2^62 ns", 24, {6, 0, AT((uint64_t[]){1ull << 62})}, -EINVAL},
    {"VCPUOP_set_periodic_timer from nowhere", 24, {6, 0, NOWHERE}, -EFAULT},
    {"VCPUOP_set_periodic_timer of a minute", 24, {6, 0, AT((uint64_t[]){60000000000})}, 0},
    {"VCPUOP_stop_periodic_timer", 24, {7, 0, 0}, 0},
    {"VCPUOP_set_singleshot_timer from nowhere", 24, {8, 0, NOWHERE}, -EFAULT},
    {"VCPUOP_set_singleshot_timer of what is past, only for the future", 24,
     {8, 0, AT((struct vcpu_set_singleshot_timer){1, SINGLESHOT_FUTURE})}, -ETIME},
    {"VCPUOP_set_singleshot_timer far away", 24, {8, 0, AT((struct vcpu_set_singleshot_timer){1ull << 52, 0})}, 0},
    {"VCPUOP_stop_singleshot_timer", 24, {9, 0, 0}, 0},
    {"VCPUOP_stop_singleshot_timer twice", 24, {9, 0, 0}, 0},
    {"VCPUOP_register_vcpu_info from nowhere", 24, {10, 0, NOWHERE}, -EFAULT},
    {"VCPUOP_register_vcpu_info across pages", 24,
     {10, 0, AT((struct vcpu_register_vcpu_info){1, PAGE - 56, 0})}, -ENXIO},
    {"VCPUOP_register_vcpu_info at an odd place", 24, {10, 0, AT((struct vcpu_register_vcpu_info){1, 2, 0})}, -ENXIO},
    {"VCPUOP_register_vcpu_info where no memory is", 24,
     {10, 0, AT((struct vcpu_register_vcpu_info){0xe0000, 0, 0})}, -EINVAL},
    {"VCPUOP_send_nmi with a pointer", 24, {11, 0, (word)sink}, -EINVAL},
    {"VCPUOP_send_nmi to a vCPU that is not there", 24, {11, NO_VCPU, 0}, -ENOENT},
    {"VCPUOP_get_physid", 24, {12, 0, (word)sink}, -EINVAL},
    {"VCPUOP_register_vcpu_time_memory_area from nowhere", 24, {13, 0, NOWHERE}, -EFAULT},
    {"vcpu_op, subop 14", 24, {14, 0, 0}, -ENOSYS},
    {"vcpu_op, subop 14 of a vCPU that is not there", 24, {14, NO_VCPU, 0}, -ENOENT},

    // hvm_op; parameters are in calls.h
    {"HVMOP_set_param from nowhere", 34, {0, NOWHERE}, -EFAULT},
    {"HVMOP_get_param from nowhere", 34, {1, NOWHERE}, -EFAULT},
    {"HVMOP_get_param of index 39", 34, {1, PARAM(DOMID_SELF, 0, 39, 0)}, -EINVAL},
    {"HVMOP_get_param of index 39 of another domain", 34, {1, PARAM(NO_DOMAIN, 0, 39, 0)}, -EINVAL},
    {"HVMOP_get_param by its own id", 34, {1, PARAM(OWN_DOMAIN, 0, 1, 0)}, 0},
    {"HVMOP_get_param of domain 0", 34, {1, PARAM(CONTROL_DOMAIN, 0, 1, 0)}, -EPERM},
    {"HVMOP_get_param of another domain", 34, {1, PARAM(NO_DOMAIN, 0, 1, 0)}, -ESRCH},
    {"HVMOP_set_param of index 39", 34, {0, PARAM(DOMID_SELF, 0, 39, 0)}, -EINVAL},
    {"HVMOP_set_param of domain 0", 34, {0, PARAM(CONTROL_DOMAIN, 0, 34, 0)}, -EPERM},
    {"HVMOP_set_param of another domain", 34, {0, PARAM(NO_DOMAIN, 0, 34, 0)}, -ESRCH},
    {"HVMOP_set_param: x87 FIP width of 5", 34, {0, PARAM(DOMID_SELF, 0, 36, 5)}, -EINVAL},
    {"HVMOP_set_param: where ACPI's ports are", 34, {0, PARAM(DOMID_SELF, 0, 19, 1)}, -ENODEV},
    {"HVMOP_set_pci_intx_level", 34, {2, (word)sink}, -ENOSYS},
    {"HVMOP_set_isa_irq_level", 34, {3, (word)sink}, -ENOSYS},
    {"HVMOP_set_pci_link_route", 34, {4, (word)sink}, -ENOSYS},
    {"HVMOP_flush_tlbs", 34, {5, 0}, 0},
    {"HVMOP_flush_tlbs with a pointer", 34, {5, (word)sink}, -EINVAL},
    {"HVMOP_track_dirty_vram", 34, {6, (word)sink}, -ENOSYS},
    {"HVMOP_modified_memory", 34, {7, (word)sink}, -ENOSYS},
    {"HVMOP_set_mem_type", 34, {8, (word)sink}, -ENOSYS},
    {"HVMOP_pagetable_dying", 34, {9, PARAM(DOMID_SELF, 0, 0, 0)}, -EINVAL},
    {"HVMOP_pagetable_dying from nowhere", 34, {9, NOWHERE}, -EFAULT},
    {"HVMOP_get_time", 34, {10, (word)sink}, 0},
    {"HVMOP_get_time to nowhere", 34, {10, NOWHERE}, -EFAULT},
    {"HVMOP_xentrace", 34, {11, AT((struct xentrace){1, 28, {0}})}, 0},
    {"HVMOP_xentrace of 29 bytes", 34, {11, AT((struct xentrace){1, 29, {0}})}, -EINVAL},
    {"HVMOP_xentrace of event 0x1000", 34, {11, AT((struct xentrace){0x1000, 0, {0}})}, -EINVAL},
    {"HVMOP_xentrace from nowhere", 34, {11, NOWHERE}, -EFAULT},
    {"HVMOP_set_mem_access", 34, {12, (word)sink}, -ENOSYS},
    {"HVMOP_get_mem_access", 34, {13, (word)sink}, -ENOSYS},
    {"HVMOP_inject_trap", 34, {14, (word)sink}, -ENOSYS},
    {"HVMOP_get_mem_type of another domain", 34, {15, AT((struct get_mem_type){NO_DOMAIN, 0, {0}, 1})}, -ESRCH},
    {"HVMOP_get_mem_type of domain 0", 34, {15, AT((struct get_mem_type){CONTROL_DOMAIN, 0, {0}, 1})}, -EPERM},
    {"HVMOP_get_mem_type from nowhere", 34, {15, NOWHERE}, -EFAULT},
    {"HVMOP_inject_msi", 34, {16, (word)sink}, -ENOSYS},
    {"HVMOP_create_ioreq_server", 34, {17, (word)sink}, -ENOSYS},
    {"HVMOP_set_ioreq_server_state", 34, {22, (word)sink}, -ENOSYS},
    {"HVMOP_set_evtchn_upcall_vector: vector 15", 34, {23, AT((struct xen_hvm_upcall_vector){0, 15})}, -EINVAL},
    {"HVMOP_set_evtchn_upcall_vector: vector 15 of a vCPU that is not there", 34,
     {23, AT((struct xen_hvm_upcall_vector){NO_VCPU, 15})}, -EINVAL},
    {"HVMOP_set_evtchn_upcall_vector of a vCPU that is not there", 34,
     {23, AT((struct xen_hvm_upcall_vector){NO_VCPU, 16})}, -ENOENT},
    {"HVMOP_set_evtchn_upcall_vector from nowhere", 34, {23, NOWHERE}, -EFAULT},
    {"HVMOP_guest_request_vm_event", 34, {24, 0}, 0},
    {"HVMOP_guest_request_vm_event with a pointer", 34, {24, (word)sink}, -EINVAL},
    {"HVMOP_altp2m", 34, {25, (word)sink}, -EOPNOTSUPP},
    {"HVMOP_altp2m from nowhere", 34, {25, NOWHERE}, -EOPNOTSUPP},
    {"hvm_op, subop 26", 34, {26, (word)sink}, -ENOSYS},

    // console_io
    {"CONSOLEIO_write of nothing", 18, {0, 0, NOWHERE}, 0},
    {"CONSOLEIO_write from nowhere", 18, {0, 1, NOWHERE}, -EFAULT},
    {"CONSOLEIO_read", 18, {1, 1, (word)sink}, -EPERM},
    {"console_io, subop 2", 18, {2, 1, (word)sink}, -EPERM},

    // multicall; lists are in calls.h
    {"multicall of nothing", 13, {NOWHERE, 0}, 0},
    {"multicall from nowhere", 13, {NOWHERE, 1}, -EFAULT},

    // physdev_op
    {"PHYSDEVOP_eoi", 33, {12, (word)sink}, -ENOSYS},
    {"PHYSDEVOP_map_pirq", 33, {13, AT((struct map_pirq){.domain = DOMID_SELF, .type = 1, .pirq = -1})}, -EPERM},
    {"PHYSDEVOP_map_pirq of domain 0", 33, {13, AT((struct map_pirq){.type = 1})}, -EPERM},
    {"PHYSDEVOP_map_pirq of another domain", 33, {13, AT((struct map_pirq){.domain = NO_DOMAIN, .type = 1})}, -ESRCH},
    {"PHYSDEVOP_map_pirq from nowhere", 33, {13, NOWHERE}, -EFAULT},
    {"PHYSDEVOP_unmap_pirq", 33, {14, AT((struct unmap_pirq){DOMID_SELF, 1})}, -EPERM},
    {"PHYSDEVOP_unmap_pirq of another domain", 33, {14, AT((struct unmap_pirq){NO_DOMAIN, 1})}, -ESRCH},
    {"PHYSDEVOP_unmap_pirq from nowhere", 33, {14, NOWHERE}, -EFAULT},
    {"PHYSDEVOP_setup_gsi", 33, {21, (word)sink}, -ENOSYS},
    {"physdev_op, subop 99", 33, {99, (word)sink}, -ENOSYS},

    // event_channel_op; ports that are bound are in calls.h
    {"EVTCHNOP_bind_interdomain with a domain that is not there", 32,
     {0, AT((struct evtchn_bind_interdomain){NO_DOMAIN, 1, 0})}, -ESRCH},
    {"EVTCHNOP_bind_interdomain to a port that is not there", 32,
     {0, AT((struct evtchn_bind_interdomain){DOMID_SELF, 900, 0})}, -EINVAL},
    {"EVTCHNOP_bind_interdomain from nowhere", 32, {0, NOWHERE}, -EFAULT},
    {"EVTCHNOP_bind_virq 24", 32, {1, AT((struct evtchn_bind_virq){24, 0, 0})}, -EINVAL},
    {"EVTCHNOP_bind_virq of a vCPU that is not there", 32, {1, AT((struct evtchn_bind_virq){0, NO_VCPU, 0})}, -ENOENT},
    {"EVTCHNOP_bind_virq of the domain's to vCPU 1", 32, {1, AT((struct evtchn_bind_virq){2, 1, 0})}, -EINVAL},
    {"EVTCHNOP_bind_virq from nowhere", 32, {1, NOWHERE}, -EFAULT},
    {"EVTCHNOP_bind_pirq", 32, {2, AT((struct evtchn_bind_virq){1, 0, 0})}, -EINVAL},
    {"EVTCHNOP_bind_pirq from nowhere", 32, {2, NOWHERE}, -EFAULT},
    {"EVTCHNOP_close of port 0", 32, {3, WORDS(0)}, -EINVAL},
    {"EVTCHNOP_close of a port that is free", 32, {3, WORDS(900)}, -EINVAL},
    {"EVTCHNOP_close of a port too high", 32, {3, WORDS(EVENT_PORTS)}, -EINVAL},
    {"EVTCHNOP_close from nowhere", 32, {3, NOWHERE}, -EFAULT},
    {"EVTCHNOP_send to port 0", 32, {4, WORDS(0)}, -EINVAL},
    {"EVTCHNOP_send to a port that is free", 32, {4, WORDS(900)}, -EINVAL},
    {"EVTCHNOP_send to a port too high", 32, {4, WORDS(UINT32_MAX)}, -EINVAL},
    {"EVTCHNOP_send from nowhere", 32, {4, NOWHERE}, -EFAULT},
    {"EVTCHNOP_status of a port too high", 32, {5, AT((struct evtchn_status){DOMID_SELF, UINT32_MAX, 0, 0, {0}})},
     -EINVAL},
    {"EVTCHNOP_status of domain 0", 32, {5, AT((struct evtchn_status){CONTROL_DOMAIN, 1, 0, 0, {0}})}, -EPERM},
    {"EVTCHNOP_status of another domain", 32, {5, AT((struct evtchn_status){NO_DOMAIN, 1, 0, 0, {0}})}, -ESRCH},
    {"EVTCHNOP_status from nowhere", 32, {5, NOWHERE}, -EFAULT},
    {"EVTCHNOP_alloc_unbound of domain 0", 32, {6, AT((struct evtchn_alloc_unbound){CONTROL_DOMAIN, 0, 0})}, -EPERM},
    {"EVTCHNOP_alloc_unbound of another domain", 32, {6, AT((struct evtchn_alloc_unbound){NO_DOMAIN, 0, 0})}, -ESRCH},
    {"EVTCHNOP_alloc_unbound from nowhere", 32, {6, NOWHERE}, -EFAULT},
    {"EVTCHNOP_bind_ipi of a vCPU that is not there", 32, {7, AT((struct evtchn_bind_ipi){NO_VCPU, 0})}, -ENOENT},
    {"EVTCHNOP_bind_ipi from nowhere", 32, {7, NOWHERE}, -EFAULT},
    {"EVTCHNOP_bind_vcpu of a port too high", 32, {8, AT((struct evtchn_bind_vcpu){UINT32_MAX, 0})}, -EINVAL},
    {"EVTCHNOP_bind_vcpu to a vCPU that is not there", 32,
     {8, AT((struct evtchn_bind_vcpu){PLAIN_PORT, NO_VCPU})}, -ENOENT},
    {"EVTCHNOP_bind_vcpu from nowhere", 32, {8, NOWHERE}, -EFAULT},
    {"EVTCHNOP_unmask of a port too high", 32, {9, WORDS(UINT32_MAX)}, -EINVAL},
    {"EVTCHNOP_unmask from nowhere", 32, {9, NOWHERE}, -EFAULT},
    {"EVTCHNOP_reset of domain 0", 32, {10, CONTROL_16}, -EPERM},
    {"EVTCHNOP_reset of another domain", 32, {10, OTHER_16}, -ESRCH},
    {"EVTCHNOP_reset from nowhere", 32, {10, NOWHERE}, -EFAULT},
    {"EVTCHNOP_init_control where no memory is", 32, {11, AT((struct init_control){0xe0000, 0, 0, 0, {0}})}, -EINVAL},
    {"EVTCHNOP_init_control across pages", 32, {11, AT((struct init_control){1, PAGE - 64, 0, 0, {0}})}, -EINVAL},
    {"EVTCHNOP_init_control of a vCPU that is not there", 32, {11, AT((struct init_control){1, 0, NO_VCPU, 0, {0}})},
     -ENOENT},
    {"EVTCHNOP_init_control from nowhere", 32, {11, NOWHERE}, -EFAULT},
    {"EVTCHNOP_expand_array", 32, {12, AT((uint64_t[]){1})}, -ENOSYS},
    {"EVTCHNOP_expand_array from nowhere", 32, {12, NOWHERE}, -EFAULT},
    {"EVTCHNOP_set_priority", 32, {13, AT((struct set_priority){PLAIN_PORT, 0})}, -ENOSYS},
    {"EVTCHNOP_set_priority of a port too high", 32, {13, AT((struct set_priority){UINT32_MAX, 0})}, -EINVAL},
    {"EVTCHNOP_set_priority from nowhere", 32, {13, NOWHERE}, -EFAULT},
    {"event_channel_op, subop 15", 32, {15, (word)sink}, -ENOSYS},

    // memory_op; what moves memory is in guests/physmap
    {"XENMEM_increase_reservation", 12, {0, RESERVATION((word)no_words, 1, 0, 0, DOMID_SELF)}, 0},
    {"XENMEM_increase_reservation from nowhere", 12, {0, NOWHERE}, 0},
    {"XENMEM_decrease_reservation of nothing", 12, {1, RESERVATION(NOWHERE, 0, 0, 0, DOMID_SELF)}, 0},
    {"XENMEM_decrease_reservation from nowhere", 12, {1, NOWHERE}, 0},
    {"XENMEM_decrease_reservation of a list that is nowhere", 12, {1, RESERVATION(NOWHERE, 1, 0, 0, DOMID_SELF)}, 0},
    {"XENMEM_decrease_reservation of another domain", 12, {1, RESERVATION((word)no_words, 1, 0, 0, NO_DOMAIN)}, 0},
    {"XENMEM_decrease_reservation of order 10", 12, {1, RESERVATION((word)no_words, 1, 10, 0, DOMID_SELF)}, 0},
    {"XENMEM_decrease_reservation gone on with", 12, {1 | 5 << 6, RESERVATION((word)no_words, 5, 0, 0, DOMID_SELF)}, 5},
    {"XENMEM_current_reservation of domain 0", 12, {3, CONTROL_16}, -EPERM},
    {"XENMEM_current_reservation of another domain", 12, {3, OTHER_16}, -ESRCH},
    {"XENMEM_current_reservation from nowhere", 12, {3, NOWHERE}, -EFAULT},
    {"XENMEM_current_reservation gone on with", 12, {3 | 1 << 6, SELF_16}, -EINVAL},
    {"XENMEM_maximum_reservation of domain 0", 12, {4, CONTROL_16}, -EPERM},
    {"XENMEM_maximum_reservation of another domain", 12, {4, OTHER_16}, -ESRCH},
    {"XENMEM_maximum_reservation from nowhere", 12, {4, NOWHERE}, -EFAULT},
    {"XENMEM_machphys_mfn_list", 12, {5, AT((struct machphys_list){0})}, -ENOSYS},
    {"XENMEM_populate_physmap from nowhere", 12, {6, NOWHERE}, 0},
    {"XENMEM_populate_physmap of a list that is nowhere", 12, {6, RESERVATION(NOWHERE, 1, 0, 0, DOMID_SELF)}, 0},
    {"XENMEM_populate_physmap on demand", 12, {6, RESERVATION((word)no_words, 1, 0, 0x10000, DOMID_SELF)}, 0},
    {"XENMEM_add_to_physmap from nowhere", 12, {7, NOWHERE}, -EFAULT},
    {"XENMEM_add_to_physmap of domain 0", 12, {7, AT((struct xen_add_to_physmap){CONTROL_DOMAIN, 0, 0, 0, 1})}, -EPERM},
    {"XENMEM_add_to_physmap of another domain", 12,
     {7, AT((struct xen_add_to_physmap){NO_DOMAIN, 0, 0, 0, 1})}, -ESRCH},
    {"XENMEM_add_to_physmap of shared_info 1", 12,
     {7, AT((struct xen_add_to_physmap){DOMID_SELF, 0, 0, 1, 1})}, -EINVAL},
    {"XENMEM_add_to_physmap of grant frame 64", 12,
     {7, AT((struct xen_add_to_physmap){DOMID_SELF, 0, 1, 64, 1})}, -EINVAL},
    {"XENMEM_add_to_physmap from a gfn that has nothing", 12,
     {7, AT((struct xen_add_to_physmap){DOMID_SELF, 0, 2, 0xe0000, 0xe0001})}, -EINVAL},
    {"XENMEM_add_to_physmap of another domain's frame", 12,
     {7, AT((struct xen_add_to_physmap){DOMID_SELF, 0, 4, 0, 1})}, -ENOSYS},
    {"XENMEM_add_to_physmap of a device's memory", 12, {7, AT((struct xen_add_to_physmap){DOMID_SELF, 0, 5, 0, 1})},
     -EACCES},
    {"XENMEM_add_to_physmap of space 6", 12, {7, AT((struct xen_add_to_physmap){DOMID_SELF, 0, 6, 0, 1})}, -EINVAL},
    {"memory_op, subop 8", 12, {8, (word)sink}, -ENOSYS},
    {"XENMEM_memory_map from nowhere", 12, {9, NOWHERE}, -EFAULT},
    {"XENMEM_memory_map to nowhere", 12, {9, AT((struct xen_memory_map){1, NOWHERE})}, -EFAULT},
    {"XENMEM_memory_map gone on with", 12, {9 | 1 << 6, AT((struct xen_memory_map){0, 0})}, -ENOSYS},
    {"XENMEM_machine_memory_map", 12, {10, AT((struct xen_memory_map){1, (word)sink})}, -ENOSYS},
    {"XENMEM_exchange of nothing", 12, {11, AT((struct memory_exchange){{0, 0, 0, 0, DOMID_SELF},
     {0, 0, 0, 0, DOMID_SELF}, 0})}, 0},
    {"XENMEM_exchange of order 10", 12, {11, AT((struct memory_exchange){{0, 1, 10, 0, DOMID_SELF},
     {0, 1, 10, 0, DOMID_SELF}, 0})}, -EPERM},
    {"XENMEM_exchange for more than was given", 12, {11, AT((struct memory_exchange){{0, 1, 0, 0, DOMID_SELF},
     {0, 2, 0, 0, DOMID_SELF}, 0})}, -EINVAL},
    {"XENMEM_exchange from nowhere", 12, {11, NOWHERE}, -EFAULT},
    {"XENMEM_machphys_mapping", 12, {12, (word)sink}, -ENOSYS},
    {"XENMEM_set_memory_map of domain 0", 12, {13, AT((struct foreign_memory_map){CONTROL_DOMAIN, {1, 0}})}, -EPERM},
    {"XENMEM_set_memory_map of another domain", 12, {13, AT((struct foreign_memory_map){NO_DOMAIN, {1, 0}})}, -ESRCH},
    {"XENMEM_set_memory_map of 1025 entries", 12,
     {13, AT((struct foreign_memory_map){DOMID_SELF, {1025, 0}})}, -EINVAL},
    {"XENMEM_set_memory_map from nowhere", 12, {13, NOWHERE}, -EFAULT},
    {"XENMEM_maximum_gpfn of domain 0", 12, {14, CONTROL_16}, -EPERM},
    {"XENMEM_maximum_gpfn of another domain", 12, {14, OTHER_16}, -ESRCH},
    {"XENMEM_remove_from_physmap of domain 0", 12,
     {15, AT((struct xen_remove_from_physmap){CONTROL_DOMAIN, 1})}, -EPERM},
    {"XENMEM_remove_from_physmap of another domain", 12,
     {15, AT((struct xen_remove_from_physmap){NO_DOMAIN, 1})}, -ESRCH},
    {"XENMEM_remove_from_physmap of what is not there", 12,
     {15, AT((struct xen_remove_from_physmap){DOMID_SELF, 0xe0000})}, -ENOENT},
    {"XENMEM_remove_from_physmap from nowhere", 12, {15, NOWHERE}, -EFAULT},
    {"XENMEM_set_pod_target", 12, {16, AT((struct pod_target){{0}, DOMID_SELF})}, -EPERM},
    {"XENMEM_get_pod_target", 12, {17, AT((struct pod_target){{0}, DOMID_SELF})}, -EPERM},
    {"XENMEM_get_pod_target of another domain", 12, {17, AT((struct pod_target){{0}, NO_DOMAIN})}, -ESRCH},
    {"XENMEM_get_pod_target from nowhere", 12, {17, NOWHERE}, -EFAULT},
    {"XENMEM_get_sharing_freed_pages", 12, {18, 0}, 0},
    {"XENMEM_get_sharing_shared_pages", 12, {19, 0}, 0},
    {"XENMEM_paging_op", 12, {20, (word)sink}, -ENOSYS},
    {"XENMEM_access_op", 12, {21, AT((struct access_op){0, 0, DOMID_SELF, 0, {0}})}, -EPERM},
    {"XENMEM_access_op of another domain", 12, {21, AT((struct access_op){0, 0, NO_DOMAIN, 0, {0}})}, -ESRCH},
    {"XENMEM_access_op from nowhere", 12, {21, NOWHERE}, -EFAULT},
    {"XENMEM_sharing_op", 12, {22, (word)sink}, -ENOSYS},
    {"XENMEM_add_to_physmap_batch from nowhere", 12, {23, NOWHERE}, -EFAULT},
    {"XENMEM_add_to_physmap_batch of a range", 12,
     {23, AT((struct xen_add_to_physmap_batch){DOMID_SELF, 3, 1, 0, 0, 0, 0})}, -EOPNOTSUPP},
    {"XENMEM_add_to_physmap_batch of a device's memory", 12,
     {23, AT((struct xen_add_to_physmap_batch){DOMID_SELF, 5, 1, 0, 0, 0, 0})}, -EACCES},
    {"XENMEM_add_to_physmap_batch of nothing", 12,
     {23, AT((struct xen_add_to_physmap_batch){DOMID_SELF, 2, 0, 0, NOWHERE, NOWHERE, NOWHERE})}, 0},
    {"XENMEM_add_to_physmap_batch of a list that is nowhere", 12,
     {23, AT((struct xen_add_to_physmap_batch){DOMID_SELF, 2, 1, 0, NOWHERE, (word)no_words, (word)no_words})},
     -EFAULT},
    {"XENMEM_add_to_physmap_batch of another domain", 12,
     {23, AT((struct xen_add_to_physmap_batch){NO_DOMAIN, 2, 1, 0, 0, 0, 0})}, -ESRCH},
    {"XENMEM_machphys_compat_mfn_list", 12, {25, (word)sink}, -ENOSYS},
    {"XENMEM_get_vnumainfo", 12, {26, AT((struct vnuma_info){.domain = DOMID_SELF})}, -EOPNOTSUPP},
    {"XENMEM_get_vnumainfo with padding", 12, {26, AT((struct vnuma_info){.domain = DOMID_SELF, .pad = 1})}, -EINVAL},
    {"XENMEM_get_vnumainfo of another domain", 12, {26, AT((struct vnuma_info){.domain = NO_DOMAIN})}, -ESRCH},
    {"XENMEM_get_vnumainfo from nowhere", 12, {26, NOWHERE}, -EFAULT},
    {"XENMEM_reserved_device_memory_map", 12, {27, AT((struct reserved_device_memory){1, 1, 0, 0})}, 0},
    {"XENMEM_reserved_device_memory_map with unknown flags", 12, {27, AT((struct reserved_device_memory){2, 1, 0, 0})},
     -EINVAL},
    {"XENMEM_reserved_device_memory_map from nowhere", 12, {27, NOWHERE}, -EFAULT},
    {"XENMEM_acquire_resource", 12, {28, AT((struct acquire_resource){.domain = DOMID_SELF})}, -EACCES},
    {"memory_op, subop 29", 12, {29, (word)sink}, -ENOSYS},

    // grant_table_op; what uses grants is in guests/physmap
    {"GNTTABOP_map_grant_ref of a list that is nowhere", 20, {0, NOWHERE, 1}, -EFAULT},
    {"GNTTABOP_map_grant_ref of nothing", 20, {0, NOWHERE, 0}, 0},
    {"GNTTABOP_map_grant_ref of 2^31 entries", 20, {0, NOWHERE, 1u << 31}, -EINVAL},
    {"GNTTABOP_unmap_grant_ref of a list that is nowhere", 20, {1, NOWHERE, 1}, -EFAULT},
    {"GNTTABOP_setup_table from nowhere", 20, {2, NOWHERE, 1}, -EFAULT},
    {"GNTTABOP_setup_table of two", 20, {2, (word)sink, 2}, -EINVAL},
    {"GNTTABOP_dump_table", 20, {3, (word)sink, 1}, -ENOSYS},
    {"GNTTABOP_transfer", 20, {4, (word)sink, 1}, -ENOSYS},
    {"GNTTABOP_copy of a list that is nowhere", 20, {5, NOWHERE, 1}, -EFAULT},
    {"GNTTABOP_query_size from nowhere", 20, {6, NOWHERE, 1}, -EFAULT},
    {"GNTTABOP_query_size of two", 20, {6, (word)sink, 2}, -EINVAL},
    {"GNTTABOP_unmap_and_replace", 20, {7, (word)sink, 1}, -ENOSYS},
    {"GNTTABOP_set_version 3", 20, {8, WORDS(3), 1}, -EINVAL},
    {"GNTTABOP_set_version from nowhere", 20, {8, NOWHERE, 1}, -EFAULT},
    {"GNTTABOP_get_status_frames from nowhere", 20, {9, NOWHERE, 1}, -EFAULT},
    {"GNTTABOP_get_version", 20, {10, AT((struct gnttab_get_version){DOMID_SELF, 0, 0}), 1}, 0},
    {"GNTTABOP_get_version of domain 0", 20, {10, AT((struct gnttab_get_version){CONTROL_DOMAIN, 0, 0}), 1}, -EPERM},
    {"GNTTABOP_get_version of another domain", 20, {10, AT((struct gnttab_get_version){NO_DOMAIN, 0, 0}), 1}, -ESRCH},
    {"GNTTABOP_get_version from nowhere", 20, {10, NOWHERE, 1}, -EFAULT},
    {"GNTTABOP_swap_grant_ref of a list that is nowhere", 20, {11, NOWHERE, 1}, -EFAULT},
    {"GNTTABOP_cache_flush of nothing", 20, {12, AT((struct gnttab_cache_flush){0, 0, 0, 0}), 1}, 0},
    {"GNTTABOP_cache_flush across pages", 20, {12, AT((struct gnttab_cache_flush){0, 4000, 100, 1}), 1}, -EINVAL},
    {"GNTTABOP_cache_flush of an unknown kind", 20, {12, AT((struct gnttab_cache_flush){0, 0, 64, 4}), 1}, -EINVAL},
    {"GNTTABOP_cache_flush of a list that is nowhere", 20, {12, NOWHERE, 1}, -EFAULT},
    {"grant_table_op, subop 13", 20, {13, (word)sink, 1}, -ENOSYS},

    // Control
    {"platform_op", 7, {AT((struct control_op){1, 0x03000001, 0, {0}})}, -EPERM},
    {"platform_op of another version", 7, {AT((struct control_op){1, 0x03000000, 0, {0}})}, -EACCES},
    {"platform_op from nowhere", 7, {NOWHERE}, -EFAULT},
    {"sysctl", 35, {AT((struct control_op){1, 0x15, 0, {0}})}, -EPERM},
    {"sysctl of another version", 35, {AT((struct control_op){1, 0x14, 0, {0}})}, -EACCES},
    {"sysctl from nowhere", 35, {NOWHERE}, -EFAULT},
    {"domctl", 36, {AT((struct control_op){2, 0x15, OWN_DOMAIN, {0}})}, -EPERM},
    {"domctl of domain 0", 36, {AT((struct control_op){2, 0x15, CONTROL_DOMAIN, {0}})}, -EPERM},
    {"domctl of another domain", 36, {AT((struct control_op){2, 0x15, NO_DOMAIN, {0}})}, -ESRCH},
    {"domctl of another version", 36, {AT((struct control_op){2, 0x16, NO_DOMAIN, {0}})}, -EACCES},
    {"domctl from nowhere", 36, {NOWHERE}, -EFAULT},
    {"domctl's continuation", 49, {AT((struct control_op){10, 0x15, OWN_DOMAIN, {0}})}, -EPERM},
    {"domctl's continuation of what has none", 49, {AT((struct control_op){2, 0x15, OWN_DOMAIN, {0}})}, -EOPNOTSUPP},
    {"domctl's continuation from nowhere", 49, {NOWHERE}, -EFAULT},
    {"dm_op of itself", 41, {OWN_DOMAIN, 1, (word)no_words}, -EPERM},
    {"dm_op of domain 0", 41, {CONTROL_DOMAIN, 0, 0}, -EPERM},
    {"dm_op of another domain", 41, {NO_DOMAIN, 0, 0}, -ESRCH},
    {"dm_op of DOMID_SELF", 41, {DOMID_SELF, 0, 0}, -ESRCH},
    {"dm_op with three buffers", 41, {OWN_DOMAIN, 3, NOWHERE}, -E2BIG},
    {"dm_op with buffers that are nowhere", 41, {OWN_DOMAIN, 1, NOWHERE}, -EFAULT},
    {"hypfs_op", 42, {0, 0, 0, 0, 0}, -EPERM},
    {"xsm_op", 27, {(word)sink}, -ENOSYS},
    {"xenpmu_op", 40, {0, (word)sink}, -EOPNOTSUPP},
    {"mmuext_op", 26, {(word)sink, 1, 0, DOMID_SELF}, -EINVAL},
    {"mmuext_op of DOMID_IO", 26, {(word)sink, 1, 0, DOMID_IO}, -EPERM},
    {"mmuext_op of another domain", 26, {(word)sink, 1, 0, NO_DOMAIN}, -ESRCH},
    {"set_timer_op that stops it", 15, {0, 0}, 0},
    {"vm_assist: runstate_update_flag on", 21, {0, 5}, 0},
    {"vm_assist: runstate_update_flag off", 21, {1, 5}, 0},
    {"vm_assist: 4gb_segments", 21, {0, 0}, -EINVAL},
    {"vm_assist, subop 2", 21, {2, 5}, -ENOSYS},
};

// What has no answer of its own: numbers that are for PV guests, that are gone, and that never were.
static const uint8_t unknown_calls[] = {0,  1,  2,  3,  4,  5,  6,  8,  9,  10, 11, 14, 16, 19, 22, 25,  28, 30,
                                        31, 37, 38, 39, 43, 44, 45, 46, 47, 48, 50, 51, 52, 53, 54, 55,  56, 127};
