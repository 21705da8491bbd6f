// PCI configuration space by mechanism #1: what there is on bus 0, what it wants, and one interrupt of it.
#include "guest.h"

enum {
  CONFIG_ADDRESS = 0xcf8,
  CONFIG_DATA = 0xcfc,
  ENABLED = 1u << 31,
  FUNCTIONS = 32 * 8,
  // Offsets (PCI Local Bus 3.0, 6.1).
  ID = 0x00,
  COMMAND = 0x04,
  CLASS = 0x08,
  HEADER_TYPE = 0x0e,
  BARS = 0x10,
  INTERRUPT_LINE = 0x3c,
  INTERRUPT_PIN = 0x3d,
  HEADER_BYTES = 0x40,
  // Bits of the command register, and of a BAR.
  DECODE = 3,
  NO_INTERRUPT = 1 << 10,
  BAR_PORTS = 1 << 0,
  BAR_64 = 1 << 2,
  BAR_PREFETCHABLE = 1 << 3,
};

// A function's name, as three arguments for "%02x:%02x.%x", of which the bus is always 0.
#define NAME "00:%02x.%u"
#define NAMED(function) (function) / 8, (function) % 8

static uint32_t unlatched;  // what port 0xcfc answers while the latch is disabled

static uint16_t select(unsigned function, unsigned offset) {
  out32(CONFIG_ADDRESS, ENABLED | function << 8 | (offset & 0xfc));
  return (uint16_t)(CONFIG_DATA + (offset & 3));
}

static uint32_t config_read(unsigned function, unsigned offset, unsigned width) {
  return port_read(select(function, offset), width);
}

static void config_write(unsigned function, unsigned offset, unsigned width, uint32_t value) {
  port_write(select(function, offset), width, value);
}

// ---- The mechanism

static void check_latch(void) {
  static const uint32_t values[] = {ENABLED | 0x00fffffc, 0x00fffffc, ENABLED, 0};
  for (unsigned i = 0; i < sizeof values / sizeof *values; i++) {
    out32(CONFIG_ADDRESS, values[i]);
    out8(CONFIG_ADDRESS, 0x55);  // only accesses of 4 bytes are for the latch
    uint32_t found = in32(CONFIG_ADDRESS);
    if (found != values[i]) fail("pci-scan: port 0xcf8 reads 0x%x, not 0x%x", found, values[i]);
  }
}

// Reads a register of 4 bytes in every way there is, and expects that they agree.
static uint32_t check_widths(unsigned function, unsigned offset) {
  uint32_t value = config_read(function, offset, 4);
  for (unsigned width = 1; width <= 2; width++) {
    for (unsigned byte = 0; byte + width <= 4; byte++) {
      uint32_t found = port_read((uint16_t)(CONFIG_DATA + byte), width);
      uint32_t expected = (uint32_t)low_bytes(value >> 8 * byte, width);
      if (found == expected) continue;
      fail("pci-scan: " NAME " offset 0x%x: %u bytes read 0x%x, but 4 bytes at 0x%x read 0x%x", NAMED(function),
           offset + byte, width, found, offset, value);
    }
  }
  return value;
}

// A write of one byte changes that byte, or nothing if it cannot be written.
static void check_narrow_write(unsigned function) {
  uint32_t before = config_read(function, INTERRUPT_LINE, 4);
  config_write(function, INTERRUPT_LINE, 1, ~before);
  uint32_t after = config_read(function, INTERRUPT_LINE, 4);
  config_write(function, INTERRUPT_LINE, 1, before);
  if ((before ^ after) < 0x100) return;
  fail("pci-scan: " NAME " offset 0x%x went from 0x%x to 0x%x by a write of 1 byte", NAMED(function), INTERRUPT_LINE,
       before, after);
}

static void check_absent(unsigned function) {
  config_write(function, ID, 4, 0);
  uint32_t all = check_widths(function, ID) & check_widths(function, INTERRUPT_LINE);
  if (all != UINT32_MAX) fail("pci-scan: " NAME " is not there, but reads 0x%x", NAMED(function), all);
}

// With the latch disabled, port 0xcfc is a port like any other, and no function hears of it.
static void check_disabled(unsigned function) {
  uint32_t before = config_read(function, INTERRUPT_LINE, 4);
  out32(CONFIG_ADDRESS, function << 8 | INTERRUPT_LINE);
  for (unsigned width = 1; width <= 4; width *= 2) {
    uint32_t found = port_read(CONFIG_DATA, width), expected = (uint32_t)low_bytes(unlatched, width);
    if (found == expected) continue;
    fail("pci-scan: port 0xcfc, disabled, %u bytes: 0x%x, not 0x%x", width, found, expected);
  }
  out32(CONFIG_DATA, ~before);
  uint32_t after = config_read(function, INTERRUPT_LINE, 4);
  if (after == before) return;
  fail("pci-scan: " NAME " offset 0x%x went from 0x%x to 0x%x by a write to 0xcfc while it was disabled",
       NAMED(function), INTERRUPT_LINE, before, after);
}

// ---- Functions

// What a BAR keeps of a write of all ones; its own value is restored.
static uint32_t probe(unsigned function, unsigned offset) {
  uint32_t value = config_read(function, offset, 4);
  config_write(function, offset, 4, UINT32_MAX);
  uint32_t kept = config_read(function, offset, 4);
  config_write(function, offset, 4, value);
  uint32_t restored = config_read(function, offset, 4);
  if (restored == value) return kept;
  fail("pci-scan: " NAME " BAR at 0x%x was 0x%x, and is 0x%x after sizing", NAMED(function), offset, value, restored);
}

// Prints one BAR. Returns how many places it takes.
static unsigned size_bar(unsigned function, unsigned index) {
  unsigned offset = BARS + index * 4;
  uint64_t kept = probe(function, offset), value = config_read(function, offset, 4);
  if (kept == 0) return 1;
  bool ports = kept & BAR_PORTS, wide = !ports && kept & BAR_64;
  uint64_t flags = ports ? 3 : 15, all = ports && kept <= UINT16_MAX ? UINT16_MAX : UINT32_MAX;
  if (wide) {
    kept |= (uint64_t)probe(function, offset + 4) << 32;
    value |= (uint64_t)config_read(function, offset + 4, 4) << 32;
    all = UINT64_MAX;
  }
  uint64_t size = (~(kept & ~flags) & all) + 1;
  if (size & (size - 1)) fail("pci-scan: " NAME " BAR %u keeps 0x%lx of all ones", NAMED(function), index, kept);
  print("pci-scan: " NAME " BAR %u: %s%s%s, %lu bytes at 0x%lx\n", NAMED(function), index, ports ? "ports" : "memory",
        wide ? ", 64 bits" : "", !ports && kept & BAR_PREFETCHABLE ? ", prefetchable" : "", size, value & ~flags);
  return wide ? 2 : 1;
}

static void show(unsigned function) {
  uint32_t id = config_read(function, ID, 4), class = config_read(function, CLASS, 4) >> 8;
  print("pci-scan: " NAME " %04x:%04x class %06x\n", NAMED(function), id & 0xffff, id >> 16, class);
  for (unsigned offset = 0; offset < HEADER_BYTES; offset += 4) check_widths(function, offset);
  check_narrow_write(function);
  check_disabled(function);

  unsigned type = config_read(function, HEADER_TYPE, 1) & 0x7f, bars = type == 0 ? 6 : type == 1 ? 2 : 0;
  uint32_t command = config_read(function, COMMAND, 2);
  config_write(function, COMMAND, 2, command & ~(uint32_t)DECODE);  // a half-sized BAR must not answer to anything
  for (unsigned bar = 0; bar < bars;) bar += size_bar(function, bar);
  config_write(function, COMMAND, 2, command);
}

// ---- The interrupt

enum { VECTOR = 0x40, RAISES = 3, TAKEN_EACH = 2, PATIENCE_SECONDS = 10, QUIET_TICKS = 5 };

// The register at the start of BAR 0, 4 bytes: the level of the interrupt line. Writing 1 raises it, 0 lowers it.
static uint64_t device_register;
static bool is_port;
static volatile unsigned taken, stray;

static void set_level(uint32_t level) {
  if (is_port) out32((uint16_t)device_register, level);
  else *(volatile uint32_t *)device_register = level;
}

static uint32_t level(void) {
  return is_port ? in32((uint16_t)device_register) : *(volatile uint32_t *)device_register;
}

// A line that is not lowered interrupts again: that is what makes it one that goes by its level. As every driver must,
// this one asks the device: where KVM ends an interrupt as it begins, one more is on its way when the line goes down.
__attribute__((interrupt)) static void on_interrupt(struct interrupt_frame *frame) {
  (void)frame;
  if (!level()) stray++;
  else if (++taken % TAKEN_EACH == 0) set_level(0);
  local_apic_eoi();
}

static void check_interrupt(unsigned function, unsigned irq) {
  uint32_t bar = config_read(function, BARS, 4);
  is_port = bar & BAR_PORTS;
  device_register = bar & ~(is_port ? 3u : 15u);
  config_write(function, COMMAND, 2, (config_read(function, COMMAND, 2) | DECODE) & ~(uint32_t)NO_INTERRUPT);
  set_level(0);
  ticks_start();
  interrupt_gate(VECTOR, on_interrupt);
  route_interrupt((struct interrupt_source){.pin = irq, .level = true, .active_low = true}, VECTOR);
  unsigned since = ticks;
  for (unsigned raised = 1; raised <= RAISES; raised++) {
    set_level(1);
    while (taken < raised * TAKEN_EACH) {
      wait_for_interrupt();
      if (ticks - since < PATIENCE_SECONDS * TICK_HZ) continue;
      fail("pci-scan: " NAME " interrupt %u came %u times, not %u", NAMED(function), irq, taken, raised * TAKEN_EACH);
    }
  }
  for (since = ticks; ticks - since < QUIET_TICKS;) wait_for_interrupt();
  if (stray > RAISES) fail("pci-scan: " NAME " interrupt %u goes on when its line is low", NAMED(function), irq);
  print("pci-scan: " NAME " interrupt %u: raised %u times, taken %u times\n", NAMED(function), irq, RAISES, taken);
}

int main(void) {
  uint64_t irq = number_option("irq", 0);
  unlatched = (uint32_t)number_option("cfc", UINT32_MAX);
  unsigned found = 0, interrupting = FUNCTIONS;
  check_latch();
  for (unsigned function = 0; function < FUNCTIONS; function++) {
    if ((uint16_t)config_read(function, ID, 2) == 0xffff) {
      check_absent(function);
      continue;
    }
    found++;
    show(function);
    if (interrupting == FUNCTIONS && config_read(function, INTERRUPT_PIN, 1)) interrupting = function;
  }
  if (irq && interrupting == FUNCTIONS) fail("pci-scan: no function has an interrupt pin");
  if (irq) check_interrupt(interrupting, (unsigned)irq);
  out32(CONFIG_ADDRESS, 0);
  print("pci-scan: %u functions\n", found);
  return 0;
}
