// All that a guest can call. A guest is one `int main(void)`; what it returns becomes the exit status.
//
// The code runs at CPL0 with the first 4 GiB mapped one to one and interrupts off, until the guest turns them on.
// No SSE, no x87, no red zone: the build sees to it, and software KVM needs it.
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- Ports, model specific registers and a few instructions

static inline void out8(uint16_t port, uint8_t value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t value) { asm volatile("outw %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t value) { asm volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }

static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline uint16_t in16(uint16_t port) {
  uint16_t value;
  asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline uint32_t in32(uint16_t port) {
  uint32_t value;
  asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

// The same for a width of 1, 2 or 4 bytes.
static inline void port_write(uint16_t port, unsigned width, uint32_t value) {
  if (width == 1) out8(port, (uint8_t)value);
  else if (width == 2) out16(port, (uint16_t)value);
  else out32(port, value);
}

static inline uint32_t port_read(uint16_t port, unsigned width) {
  return width == 1 ? in8(port) : width == 2 ? in16(port) : in32(port);
}

static inline uint64_t read_msr(uint32_t msr) {
  uint32_t low, high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
  return (uint64_t)high << 32 | low;
}

static inline void write_msr(uint32_t msr, uint64_t value) {
  asm volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline void pause(void) { asm volatile("pause"); }
static inline void disable_interrupts(void) { asm volatile("cli" : : : "memory"); }
static inline void enable_interrupts(void) { asm volatile("sti" : : : "memory"); }

// Sleeps until an interrupt, and returns with interrupts off. To be called with interrupts off, after the look at what
// is being waited for: sti takes effect only after the instruction that follows it, so no interrupt fits in before hlt.
static inline void wait_for_interrupt(void) { asm volatile("sti\n\thlt\n\tcli" : : : "memory"); }

// ---- How a guest ends (exit.c)

// Ends the run with `status` & 63, through the exit port 0xf4.
_Noreturn void exit(int status);

// Stops this vCPU for good: interrupts off, then hlt.
_Noreturn void halt(void);

// Prints "NAME: reason" in print's format and a newline, and exits with status 1.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

// ---- Text on COM1 (console.c)

enum { COM1 = 0x3f8, COM1_IRQ = 4 };

void put(char character);

// A small printf: %c %s %u %lu %x %lx, with a zero-padded width as in %016lx, and %%.
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_arguments(const char *format, va_list arguments);

// Prints `size` bytes with a dot in place of each one that is not printable ASCII.
void print_text(const void *bytes, size_t size);

// ---- Memory and words (text.c)

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
bool equal(const void *one, const void *other, size_t size);
size_t length(const char *text);

// Reads a decimal or 0x-hexadecimal number; stops at the first character that does not belong to it.
uint64_t number(const char *text);

// Finds the word `name` or `name=value` on a command line. Returns its value ("" for a bare word), which ends at the
// next space or zero, or null if the word is not there.
const char *find_option(const char *command_line, const char *name);

// Whether a value that find_option returned is exactly `word`.
bool is_word(const char *value, const char *word);

// The sum of the bytes taken as little-endian 32-bit words, the last one filled up with zeros, modulo 2^32.
// Chosen because it costs one instruction for four bytes, and a test computes it in a line.
uint32_t word_sum(const void *bytes, size_t size);

#ifdef __x86_64__

// The low `width` bytes (1 to 8) of a value.
static inline uint64_t low_bytes(uint64_t value, unsigned width) { return value & UINT64_MAX >> (64 - 8 * width); }

// The next of a sequence of numbers that look random, and are the same in every run.
uint64_t pseudo_random(void);

// ---- What the loader hands over: PVH's start information (Xen's public/arch-x86/hvm/start_info.h)

struct start_info {
  uint32_t magic, version, flags, module_count;
  uint64_t modules, command_line, rsdp, memory_map;
  uint32_t memory_map_entries, reserved;
};

struct module {
  uint64_t address, size, command_line, reserved;
};

enum { MEMORY_RAM = 1, MEMORY_UNUSABLE = 5 };

struct memory_range {
  uint64_t address, size;
  uint32_t type, reserved;
};

// Set before main() runs.
extern const struct start_info *start_info;

// The command line, never null.
const char *command_line(void);

// find_option() on this guest's own command line.
const char *option(const char *name);

// number() of an option, or `otherwise` if it is not there.
uint64_t number_option(const char *name, uint64_t otherwise);

// ---- ACPI tables (acpi.c)

// The table with that signature, or null.
const void *acpi_find(const char *signature);

// A processor that the MADT announces as usable; `index` counts from 0 in the table's order. False: there is none.
bool acpi_processor(unsigned index, uint32_t *apic_id);

// Where an ISA interrupt enters the I/O APIC.
struct interrupt_source {
  uint32_t pin;
  bool level, active_low;
};
struct interrupt_source acpi_isa_interrupt(uint8_t irq);

uint64_t acpi_io_apic(void);

// A register as ACPI describes it (ACPI 6.5, 5.2.3.2), as far as it is used here: ports and memory, one byte.
struct acpi_register {
  uint8_t space, bits, offset, access;
  uint64_t address;
} __attribute__((packed));

void acpi_write(const struct acpi_register *where, uint8_t value);

// The parts of the FADT that reset and power off need.
struct acpi_fixed {
  struct acpi_register reset, sleep_control, pm1a_control;
  uint8_t reset_value;
  bool has_reset, hardware_reduced;
};
struct acpi_fixed acpi_fixed_description(void);

// The sleep type of S5, found in the DSDT's \_S5 package; -1 if there is none.
int acpi_s5_type(void);

// ---- Interrupts (interrupts.c)

struct interrupt_frame;
typedef void interrupt_handler(struct interrupt_frame *);

// A handler is `__attribute__((interrupt)) void name(struct interrupt_frame *frame)` and calls local_apic_eoi().
void interrupt_gate(uint8_t vector, interrupt_handler *handler);

// Masks the two 8259s and turns the local APIC of this vCPU on.
void interrupts_init(void);

// Sends what enters the I/O APIC there to this vCPU's `vector`.
void route_interrupt(struct interrupt_source source, uint8_t vector);

// Sends an ISA interrupt through the I/O APIC to this vCPU's `vector`.
void route_isa_interrupt(uint8_t irq, uint8_t vector);

// Registers of the local APIC, by their xAPIC offsets; they work in x2APIC mode too.
enum {
  APIC_ID = 0x20,
  APIC_EOI = 0xb0,
  APIC_SPURIOUS = 0xf0,
  APIC_COMMAND = 0x300,
  APIC_LVT_TIMER = 0x320,
  APIC_TIMER_INITIAL = 0x380,
  APIC_TIMER_CURRENT = 0x390,
  APIC_TIMER_DIVIDE = 0x3e0,
};
uint32_t local_apic_read(unsigned offset);
void local_apic_write(unsigned offset, uint32_t value);
uint32_t local_apic_id(void);
void local_apic_command(uint32_t apic_id, uint32_t command);
void local_apic_use_x2apic(void);
void local_apic_enable(void);
static inline void local_apic_eoi(void) { local_apic_write(APIC_EOI, 0); }

// ---- The PIT (pit.c)

enum { PIT_HZ = 1193182 };

// Starts channel 0 as a rate generator: an interrupt every `count` cycles of PIT_HZ; 0 means 65536.
void pit_start(uint16_t count);

// Waits by watching channel 0 count, without interrupts. Channel 0 must run with a count of 65536.
void pit_wait_us(uint32_t microseconds);

enum { TICK_HZ = 100, TICK_VECTOR = 0x30 };

// Counts up TICK_HZ times a second once ticks_start() has been called, by interrupts of channel 0: a vCPU that sleeps
// until something comes can so give up, too.
extern volatile unsigned ticks;

// Calls interrupts_init().
void ticks_start(void);

// ---- Several vCPUs (smp.c, trampoline.asm)

enum { MAX_VCPUS = 1024 };

struct lock {
  uint8_t taken;
};
void lock_take(struct lock *lock);
void lock_release(struct lock *lock);

// The number of vCPUs in the MADT.
unsigned vcpu_count(void);

// Makes every other vCPU ready to start, by INIT; each will call entry(n) on a stack of its own, where n is its place
// in the MADT, and halt when entry returns. Returns the number of the calling vCPU.
unsigned prepare_vcpus(void (*entry)(unsigned vcpu));

// Starts a vCPU by SIPI, once prepare_vcpus() has been called, and returns at once.
void start_vcpu(unsigned vcpu);

// The same for all of them at once, by an INIT and a SIPI to all but self: the quickest way to bring up a thousand.
unsigned start_all_vcpus(void (*entry)(unsigned vcpu));

#endif
