// Calls with any arguments: each gives a number or an error number, whatever it was asked.
//
// Left out is what would do something to this guest: what ends it, has it sleep, stops its vCPU, or takes its memory.
// Those calls get pointers only that lead nowhere.
#pragma once

#include "calls.h"

// By their numbers, subops (63 and more: all) whose pointers lead nowhere.
static const struct {
  uint8_t call;
  uint64_t subops;
} spared[] = {
    {HYPERCALL_MEMORY_OP, 1 << XENMEM_DECREASE_RESERVATION | 1 << XENMEM_ADD_TO_PHYSMAP |
                              1 << XENMEM_REMOVE_FROM_PHYSMAP | 1 << XENMEM_ADD_TO_PHYSMAP_BATCH},
    {HYPERCALL_MULTICALL, UINT64_MAX},
    {HYPERCALL_CONSOLE_IO, UINT64_MAX},
    {HYPERCALL_VCPU_OP, 1 << VCPUOP_REGISTER_RUNSTATE_AREA | 1 << VCPUOP_REGISTER_VCPU_INFO |
                            1 << VCPUOP_REGISTER_TIME_AREA | 1 << VCPUOP_INITIALISE | 1 << VCPUOP_SEND_NMI},
    {HYPERCALL_SCHED_OP, 1 << SCHEDOP_SHUTDOWN | 1 << SCHEDOP_POLL | 1 << SCHEDOP_SHUTDOWN_CODE |
                             1 << SCHEDOP_WATCHDOG},
    {HYPERCALL_HVM_OP, 1 << HVMOP_SET_PARAM},
    {HYPERCALL_GRANT_TABLE_OP, 1 << GNTTABOP_COPY},
};

static uint64_t random_state;

static uint64_t any(uint64_t below) {
  random_state = random_state * 6364136223846793005 + 1442695040888963407;
  return (random_state >> 33) % below;
}

// Small numbers, those around powers of two, domains, and any.
static uint64_t any_number(void) {
  switch (any(4)) {
    case 0: return any(48);
    case 1: return (1ull << any(64)) + any(3) - 1;
    case 2: return DOMID_SELF + any(5);
    default: return any(1ull << 31) << 33 ^ any(1ull << 31);
  }
}

static word bad_pointer(void) {
  static const word pointers[] = {NOWHERE, WINDOW_PAGE(3) - 1, WINDOW_PAGE(6), 0x0000800000000000, ~0ul, ~0ul - 4095};
  return pointers[any(sizeof pointers / sizeof *pointers)];
}

// What a call finds at its pointers: numbers and pointers.
static void make_structure(void) {
  uint64_t *numbers = (uint64_t *)plain;
  for (unsigned i = 0; i < 6; i++) numbers[i] = any(3) == 0 ? any_number() : any(4) ? any(3) : (word)sink;
}

static word any_pointer(void) {
  switch (any(4)) {
    case 0: return bad_pointer();
    case 1:
      memcpy((void *)(WINDOW_PAGE(2) - 8), plain, 64);
      return WINDOW_PAGE(2) - 8;
    default: return (word)plain;
  }
}

static bool is_spared(unsigned call, uint64_t subop) {
  for (unsigned i = 0; i < sizeof spared / sizeof *spared; i++) {
    if (spared[i].call == call) return spared[i].subops >> (subop & 63) & 1;
  }
  return false;
}

// What would stop this vCPU whatever its pointer is.
static bool is_fatal(unsigned call, uint32_t subop) {
  if (call == HYPERCALL_SCHED_OP) return subop == SCHEDOP_BLOCK;
  if (call == HYPERCALL_VCPU_OP) return subop == VCPUOP_DOWN || subop == VCPUOP_UP;
  return false;
}

static void check_random(uint64_t count, uint64_t seed) {
  static const uint8_t calls[] = {7, 12, 13, 15, 17, 18, 20, 21, 24, 26, 29, 32, 33, 34, 35, 36, 41, 49};
  enum { LAST_ERROR = 133 };
  unsigned refused = 0;
  random_state = seed;
  for (uint64_t i = 0; i < count; i++) {
    unsigned call = any(8) ? calls[any(sizeof calls)] : (unsigned)any(128);
    uint64_t subop = any(8) ? any(32) : any_number();
    if (is_fatal(call, (uint32_t)subop)) continue;
    bool bad = is_spared(call, subop);
    word a[4];
    make_structure();
    for (unsigned n = 0; n < 4; n++) a[n] = bad ? bad_pointer() : any(2) ? any_pointer() : any_number();
    // Of these the second or third argument is a number, and the pointer comes after it.
    if (call == HYPERCALL_VCPU_OP || call == HYPERCALL_CONSOLE_IO) a[0] = any(8) ? any(2) : any_number();
    if (call == HYPERCALL_GRANT_TABLE_OP) a[1] = any(8) ? any(4) : any_number();
    if (call == HYPERCALL_CONSOLE_IO) a[1] = NOWHERE;
    // A list of a number that is any number may be long, and all of it is gone through.
    if (call == HYPERCALL_MULTICALL) subop = bad_pointer(), a[0] = any_number();
    long result = port_hypercall5(call, subop, a[0], a[1], a[2], a[3]);
    if (result < -LAST_ERROR) {
      fail("%s: call %u (0x%lx, 0x%lx, 0x%lx) gives 0x%lx", who, call, (word)subop, a[0], a[1], (word)result);
    }
    if (result < 0) refused++;
  }
  print("%s: %lu calls with any arguments, seed %lu\n", who, (word)count, (word)seed);
  if (refused == 0) fail("%s: none was refused", who);
}
