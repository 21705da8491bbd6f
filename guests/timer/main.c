// Two clocks that interrupt: the PIT through the I/O APIC, and the timer of the local APIC, measured by the PIT.
#include "guest.h"

enum {
  TICKS = 20,
  PIT_COUNT = PIT_HZ / 100,  // 10 ms
  PIT_VECTOR = 0x30,
  LOCAL_VECTOR = 0x31,
  PERIODIC = 1 << 17,
  MASKED = 1 << 16,
  DIVIDE_BY_16 = 3,
  // 20 local ticks may last from half to twice as many PIT ticks: a loaded host delays interrupts, and a very loaded one
  // by more than that, but not each time; a broken timer is wrong by more, each time.
  LEAST = TICKS / 2,
  MOST = TICKS * 2,
  ATTEMPTS = 10,
};

static volatile unsigned pit_ticks, local_ticks;

__attribute__((interrupt)) static void on_pit(struct interrupt_frame *frame) {
  (void)frame;
  pit_ticks++;
  local_apic_eoi();
}

__attribute__((interrupt)) static void on_local_timer(struct interrupt_frame *frame) {
  (void)frame;
  local_ticks++;
  local_apic_eoi();
}

static void wait_until(volatile unsigned *ticks, unsigned value) {
  while (*ticks < value) wait_for_interrupt();
}

// The PIT alone, while the local timer counts down without interrupting: how far does it come in one PIT tick?
static uint32_t measure(void) {
  unsigned before = pit_ticks;
  wait_until(&pit_ticks, before + 1);
  local_apic_write(APIC_LVT_TIMER, MASKED | LOCAL_VECTOR);
  local_apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_16);
  local_apic_write(APIC_TIMER_INITIAL, UINT32_MAX);
  wait_until(&pit_ticks, before + 1 + TICKS);
  uint32_t counted = UINT32_MAX - local_apic_read(APIC_TIMER_CURRENT);
  if (counted < TICKS) fail("timer: the local APIC timer counted %u in %u PIT ticks", counted, TICKS);
  return counted / TICKS;
}

// Both together, the local timer at the pace that was measured. Returns how many PIT ticks TICKS of its own took.
static unsigned compare(uint32_t pace) {
  unsigned before = pit_ticks;
  local_ticks = 0;
  local_apic_write(APIC_LVT_TIMER, PERIODIC | LOCAL_VECTOR);
  local_apic_write(APIC_TIMER_INITIAL, pace);
  wait_until(&local_ticks, TICKS);
  unsigned passed = pit_ticks - before;
  local_apic_write(APIC_LVT_TIMER, MASKED | LOCAL_VECTOR);
  return passed;
}

int main(void) {
  interrupts_init();
  interrupt_gate(PIT_VECTOR, on_pit);
  interrupt_gate(LOCAL_VECTOR, on_local_timer);
  pit_start(PIT_COUNT);
  route_isa_interrupt(0, PIT_VECTOR);
  for (unsigned attempt = 1;; attempt++) {
    uint32_t pace = measure();
    if (attempt == 1) print("timer: PIT %u ticks\n", TICKS);
    unsigned passed = compare(pace);
    if (passed >= LEAST && passed <= MOST) break;
    if (attempt == ATTEMPTS) fail("timer: %u local APIC ticks took %u PIT ticks", TICKS, passed);
  }
  print("timer: PIT %u ticks, local APIC %u ticks\n", TICKS, TICKS);
  return 0;
}
