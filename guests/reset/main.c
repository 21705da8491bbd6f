// The three ways in which a guest asks for its machine to be reset or switched off.
#include "guest.h"

enum {
  PATIENCE = 10000,
  KEYBOARD_COMMAND = 0x64,
  KEYBOARD_BUSY = 0x02,
  PULSE_RESET_LINE = 0xfe,
  SLEEP_ENABLE = 1 << 5,        // in the sleep control register of hardware-reduced ACPI (ACPI 6.5, 4.8.3.7)
  PM1_SLEEP_ENABLE = 1 << 13,   // in PM1a control (4.8.3.2.1)
};

static void power_off(void) {
  int type = acpi_s5_type();
  if (type < 0) fail("reset: no S5 in the DSDT");
  print("reset: powering off by ACPI\n");
  struct acpi_fixed fixed = acpi_fixed_description();
  if (fixed.hardware_reduced) acpi_write(&fixed.sleep_control, (uint8_t)(type << 2 | SLEEP_ENABLE));
  else out16((uint16_t)fixed.pm1a_control.address, (uint16_t)(type << 10 | PM1_SLEEP_ENABLE));
}

static void reset_by_acpi(void) {
  struct acpi_fixed fixed = acpi_fixed_description();
  if (!fixed.has_reset) fail("reset: no reset register in the FADT");
  print("reset: by ACPI's reset register\n");
  acpi_write(&fixed.reset, fixed.reset_value);
}

static void reset_by_keyboard_controller(void) {
  print("reset: by the keyboard controller\n");
  for (unsigned i = 0; i < PATIENCE && (in8(KEYBOARD_COMMAND) & KEYBOARD_BUSY); i++) pause();
  out8(KEYBOARD_COMMAND, PULSE_RESET_LINE);
}

int main(void) {
  if (option("poweroff")) power_off();
  else if (option("acpi")) reset_by_acpi();
  else reset_by_keyboard_controller();
  // The request may be carried out a little later than the instruction that made it.
  for (unsigned i = 0; i < PATIENCE; i++) pause();
  fail("reset: nothing happened");
}
