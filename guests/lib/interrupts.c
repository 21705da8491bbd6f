// Interrupt descriptors, the 8259s (only to silence them), the I/O APIC and the local APIC.
#include "guest.h"

// ---- The interrupt descriptor table

struct gate {
  uint16_t low, selector;
  uint8_t stack, type;
  uint16_t middle;
  uint32_t high, reserved;
};

enum { CODE64 = 0x08, PRESENT_INTERRUPT_GATE = 0x8e };

static struct gate gates[256];

void interrupt_gate(uint8_t vector, interrupt_handler *handler) {
  uint64_t address = (uint64_t)handler;
  gates[vector] = (struct gate){
      .low = (uint16_t)address,
      .selector = CODE64,
      .type = PRESENT_INTERRUPT_GATE,
      .middle = (uint16_t)(address >> 16),
      .high = (uint32_t)(address >> 32),
  };
}

// ---- The local APIC, by memory or (x2APIC) by model specific registers

enum {
  LOCAL_APIC = 0xfee00000,
  MSR_APIC_BASE = 0x1b,
  APIC_BASE_X2APIC = 1 << 10,
  APIC_BASE_ENABLED = 1 << 11,
  MSR_X2APIC = 0x800,
  SPURIOUS_VECTOR = 0xff,
  SOFTWARE_ENABLED = 1 << 8,
  DELIVERY_PENDING = 1 << 12,
};

static bool x2apic;

void local_apic_use_x2apic(void) {
  write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_X2APIC | APIC_BASE_ENABLED);
  x2apic = true;
}

uint32_t local_apic_read(unsigned offset) {
  if (x2apic) return (uint32_t)read_msr(MSR_X2APIC + offset / 16);
  return *(volatile uint32_t *)(uintptr_t)(LOCAL_APIC + offset);
}

void local_apic_write(unsigned offset, uint32_t value) {
  if (x2apic) write_msr(MSR_X2APIC + offset / 16, value);
  else *(volatile uint32_t *)(uintptr_t)(LOCAL_APIC + offset) = value;
}

void local_apic_enable(void) { local_apic_write(APIC_SPURIOUS, SOFTWARE_ENABLED | SPURIOUS_VECTOR); }

uint32_t local_apic_id(void) { return x2apic ? local_apic_read(APIC_ID) : local_apic_read(APIC_ID) >> 24; }

void local_apic_command(uint32_t apic_id, uint32_t command) {
  if (x2apic) {
    write_msr(MSR_X2APIC + APIC_COMMAND / 16, (uint64_t)apic_id << 32 | command);
    return;
  }
  local_apic_write(APIC_COMMAND + 16, apic_id << 24);
  local_apic_write(APIC_COMMAND, command);
  while (local_apic_read(APIC_COMMAND) & DELIVERY_PENDING) pause();
}

// ---- The 8259s and the I/O APIC

enum { PIC_MASTER_MASK = 0x21, PIC_SLAVE_MASK = 0xa1, PIN_ACTIVE_LOW = 1 << 13, PIN_LEVEL = 1 << 15 };

__attribute__((interrupt)) static void spurious(struct interrupt_frame *frame) { (void)frame; }

void interrupts_init(void) {
  struct {
    uint16_t limit;
    uint64_t base;
  } __attribute__((packed)) pointer = {sizeof gates - 1, (uint64_t)gates};
  asm volatile("lidt %0" : : "m"(pointer));
  out8(PIC_MASTER_MASK, 0xff);
  out8(PIC_SLAVE_MASK, 0xff);
  interrupt_gate(SPURIOUS_VECTOR, spurious);
  local_apic_enable();
}

void route_interrupt(struct interrupt_source source, uint8_t vector) {
  // One pair of registers: the first selects, the second (16 bytes on) is a window on what was selected.
  volatile uint32_t *select = (volatile uint32_t *)acpi_io_apic(), *window = select + 4;
  uint32_t entry = 0x10 + source.pin * 2;
  *select = entry + 1;
  *window = local_apic_id() << 24;
  *select = entry;
  *window = vector | (source.active_low ? PIN_ACTIVE_LOW : 0) | (source.level ? PIN_LEVEL : 0);
}

void route_isa_interrupt(uint8_t irq, uint8_t vector) { route_interrupt(acpi_isa_interrupt(irq), vector); }
