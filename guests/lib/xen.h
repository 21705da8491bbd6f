// Xen's memory_op by the hypervisor's hypercall port (Xen's public/memory.h): what a guest gives away, and takes back.
#pragma once

#include "guest.h"

enum {
  HYPERCALL_PORT = 0xe8,
  HYPERCALL_MEMORY_OP = 12,
  XENMEM_DECREASE_RESERVATION = 1,
  XENMEM_CURRENT_RESERVATION = 3,
  XENMEM_MAXIMUM_RESERVATION = 4,
  XENMEM_POPULATE_PHYSMAP = 6,
  DOMID_SELF = 0x7ff0,
};

struct xen_memory_reservation {
  uint64_t extent_start;  // address of the gfns, 8 bytes each
  uint64_t extent_count;
  uint32_t extent_order, flags;
  uint16_t domain;
};

// Calls memory_op; the result is what Xen gives, or what was in rax before if nobody is at the port.
static int64_t memory_op(uint64_t command, const void *argument) {
  uint64_t result = HYPERCALL_MEMORY_OP;
  asm volatile("outl %%eax, %1" : "+a"(result) : "N"(HYPERCALL_PORT), "D"(command), "S"(argument) : "memory");
  return (int64_t)result;
}

// Takes extents of 2^order frames out of this guest's memory, or puts them back. Returns how many it did, or an error.
static inline int64_t reservation_op(uint64_t command, const uint64_t *gfns, uint64_t count, uint32_t order,
                                     uint16_t domain) {
  struct xen_memory_reservation reservation = {(uint64_t)gfns, count, order, 0, domain};
  return memory_op(command, &reservation);
}

// The pages that this guest has; negative if there is no such call.
static inline int64_t reservation(uint64_t command) {
  uint16_t self = DOMID_SELF;
  return memory_op(command, &self);
}

// Whether the port answers.
static inline bool has_memory_op(void) {
  int64_t pages = reservation(XENMEM_CURRENT_RESERVATION);
  return pages > HYPERCALL_MEMORY_OP && pages <= UINT32_MAX;
}
