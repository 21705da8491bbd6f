// A counted loop of one access: what an exit costs is the run's time divided by the count.
//
// port=0x500 op=out|in width=1|2|4, or address=0xd0000 op=write|read width=1|2|4|8, or port=0xe8 op=call|send;
// count=100000
#include "guest.h"
#include "xen.h"

// The loops are unrolled because where instructions are emulated, counting would be a tenth of the time measured.
#define REPEAT(count, access)                                  \
  do {                                                         \
    uint64_t left_ = (count);                                  \
    for (; left_ >= 8; left_ -= 8) {                           \
      access; access; access; access;                          \
      access; access; access; access;                          \
    }                                                          \
    for (; left_; left_--) access;                             \
  } while (0)

#define WRITE(type) (*(volatile type *)address = (type)0x5a)
#define READ(type) ((void)*(volatile type *)address)

// A hypercall of two arguments by the port; or what costs the guest the same, if it is another port. The port stands where
// the third argument would. Xen leaves the registers of arguments alone here.
#define CALL(port, number, one, two)                                         \
  asm volatile("movl %0, %%eax; outl %%eax, %%dx"                            \
               : : "i"(number), "d"(port), "D"(one), "S"(two) : "eax", "memory")

static bool ports(bool out, uint16_t port, uint64_t width, uint64_t count) {
  switch (width) {
    case 1:
      if (out) REPEAT(count, out8(port, 0x5a));
      else REPEAT(count, in8(port));
      return true;
    case 2:
      if (out) REPEAT(count, out16(port, 0x5a));
      else REPEAT(count, in16(port));
      return true;
    case 4:
      if (out) REPEAT(count, out32(port, 0x5a));
      else REPEAT(count, in32(port));
      return true;
  }
  return false;
}

static bool memory(bool write, uint64_t address, uint64_t width, uint64_t count) {
  switch (width) {
    case 1:
      if (write) REPEAT(count, WRITE(uint8_t));
      else REPEAT(count, READ(uint8_t));
      return true;
    case 2:
      if (write) REPEAT(count, WRITE(uint16_t));
      else REPEAT(count, READ(uint16_t));
      return true;
    case 4:
      if (write) REPEAT(count, WRITE(uint32_t));
      else REPEAT(count, READ(uint32_t));
      return true;
    case 8:
      if (write) REPEAT(count, WRITE(uint64_t));
      else REPEAT(count, READ(uint64_t));
      return true;
  }
  return false;
}

static void calls(uint16_t port, uint64_t count) { REPEAT(count, CALL(port, HYPERCALL_XEN_VERSION, XENVER_VERSION, 0)); }

// To a port that has an event already.
static void sends(uint16_t port, uint64_t count) {
  struct evtchn_bind_ipi bind = {.vcpu = 0};
  long result = port_hypercall2(HYPERCALL_EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, (word)&bind);
  if (result != 0) fail("exits: no port for events: -%lu", -(word)result);
  uint32_t channel = bind.port;
  REPEAT(count, CALL(port, HYPERCALL_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &channel));
}

int main(void) {
  uint64_t count = number_option("count", 100000), width = number_option("width", 1);
  uint64_t port = number_option("port", 0x500), address = number_option("address", 0xd0000);
  const char *op = option("op");
  if (!op) op = option("address") ? "write" : "out";

  if (is_word(op, "out") || is_word(op, "in")) {
    bool out = is_word(op, "out");
    print("exits: %s of %lu bytes at port 0x%lx, %lu times\n", out ? "out" : "in", width, port, count);
    if (!ports(out, (uint16_t)port, width, count)) fail("exits: no port access is %lu bytes wide", width);
  } else if (is_word(op, "write") || is_word(op, "read")) {
    bool write = is_word(op, "write");
    print("exits: %s of %lu bytes at address 0x%lx, %lu times\n", write ? "write" : "read", width, address, count);
    if (!memory(write, address, width, count)) fail("exits: no memory access is %lu bytes wide", width);
  } else if (is_word(op, "call") || is_word(op, "send")) {
    bool send = is_word(op, "send");
    port = number_option("port", HYPERCALL_PORT);
    print("exits: %s by port 0x%lx, %lu times\n", send ? "event_channel_op" : "xen_version", port, count);
    (send ? sends : calls)((uint16_t)port, count);
  } else {
    fail("exits: op must be out, in, write, read, call or send");
  }
  print("exits: %lu done\n", count);
  return 0;
}
