// Halts for ever, and answers each event with a write to a port; for benchmarks.
//
// port=0x510; xen=none: where there is no Xen, and interrupts come without events.
#include "guest.h"
#include "xen.h"

enum { UPCALL_VECTOR = 0x52 };

// With no Xen behind it the handler does the same to a page of its own.
static uint8_t page[4096] __attribute__((aligned(4096)));
static struct shared_info *shared = (struct shared_info *)page;
static uint16_t port;

// It has only one event channel, so there is nothing to search. The answer is the last that happens: whoever gets it may
// send the next event.
__attribute__((interrupt)) static void on_upcall(struct interrupt_frame *frame) {
  (void)frame;
  shared->vcpus[0].upcall_pending = 0;
  __atomic_exchange_n(&shared->vcpus[0].pending_selector, 0, __ATOMIC_SEQ_CST);
  __atomic_exchange_n(&shared->pending[0], 0, __ATOMIC_SEQ_CST);
  local_apic_eoi();
  out32(port, 0);
}

// The event channel that domain 0 is offered.
static uint32_t offer_channel(void) {
  xen_init();
  shared = xen_map_shared_info();
  long channel = event_alloc_unbound(0);
  if (channel < 0) fail("upcall: no event channel: -%lu", -(word)channel);
  if (event_unmask((uint32_t)channel) != 0) fail("upcall: port %lu stays masked", channel);
  if (set_upcall_vector(0, UPCALL_VECTOR) != 0) fail("upcall: the vector is refused");
  return (uint32_t)channel;
}

int main(void) {
  port = (uint16_t)number_option("port", 0x510);
  interrupts_init();
  interrupt_gate(UPCALL_VECTOR, on_upcall);
  const char *xen = option("xen");
  uint32_t channel = xen && is_word(xen, "none") ? 0 : offer_channel();
  print("upcall: vector 0x%x, event channel %u, answers at port 0x%x\n", UPCALL_VECTOR, channel, port);
  out32(port, channel);
  for (;;) wait_for_interrupt();
}
