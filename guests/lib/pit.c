// Channel 0 of the 8254: 1193182 Hz on every PC since 1981.
#include "guest.h"

enum { CHANNEL_0 = 0x40, CONTROL = 0x43, RATE_GENERATOR = 0x34, LATCH_CHANNEL_0 = 0x00 };

void pit_start(uint16_t count) {
  out8(CONTROL, RATE_GENERATOR);
  out8(CHANNEL_0, (uint8_t)count);
  out8(CHANNEL_0, (uint8_t)(count >> 8));
}

static uint16_t count_now(void) {
  out8(CONTROL, LATCH_CHANNEL_0);
  uint8_t low = in8(CHANNEL_0);
  return (uint16_t)(in8(CHANNEL_0) << 8 | low);
}

void pit_wait_us(uint32_t microseconds) {
  uint64_t left = (uint64_t)microseconds * PIT_HZ / 1000000;
  uint16_t before = count_now();
  for (;;) {
    uint16_t now = count_now(), passed = (uint16_t)(before - now);  // it counts down
    if (passed >= left) return;
    left -= passed;
    before = now;
    pause();
  }
}

volatile unsigned ticks;

__attribute__((interrupt)) static void on_tick(struct interrupt_frame *frame) {
  (void)frame;
  ticks++;
  local_apic_eoi();
}

void ticks_start(void) {
  interrupts_init();
  interrupt_gate(TICK_VECTOR, on_tick);
  route_isa_interrupt(0, TICK_VECTOR);
  pit_start(PIT_HZ / TICK_HZ);
}
