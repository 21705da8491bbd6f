// Bringing up further vCPUs, as a PC does it: INIT, a pause, then SIPI with the page where to begin.
#include "guest.h"

enum {
  TRAMPOLINE = 0x8000,
  INIT = 0x4500,
  STARTUP = 0x4600 | TRAMPOLINE >> 12,
  ALL_BUT_SELF = 3 << 18,
  STACK_BYTES = 1024,  // as in trampoline.asm
  APIC_IDS = 4096,
  LAST_XAPIC_ID = 254,
};

extern const uint8_t trampoline[], trampoline_end[];

uint8_t vcpu_stacks[MAX_VCPUS * STACK_BYTES] __attribute__((aligned(16)));
uint32_t vcpu_tickets;

static uint32_t apic_ids[MAX_VCPUS];
static uint16_t vcpu_of_apic_id[APIC_IDS];
static void (*vcpu_entry)(unsigned vcpu);
static bool need_x2apic;

void lock_take(struct lock *lock) {
  while (__atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE)) pause();
}

void lock_release(struct lock *lock) { __atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE); }

unsigned vcpu_count(void) {
  static unsigned count;
  if (count) return count;
  while (count < MAX_VCPUS && acpi_processor(count, &apic_ids[count])) {
    uint32_t id = apic_ids[count];
    if (id >= APIC_IDS) fail("smp: APIC ID %u", id);
    if (id > LAST_XAPIC_ID) need_x2apic = true;
    vcpu_of_apic_id[id] = (uint16_t)count++;
  }
  return count;
}

// Called from the trampoline, on this vCPU's own stack.
_Noreturn void vcpu_main(void) {
  if (need_x2apic) local_apic_use_x2apic();
  vcpu_entry(vcpu_of_apic_id[local_apic_id()]);
  halt();
}

// All that comes before the first INIT. Returns the number of the calling vCPU.
static unsigned get_ready(void (*entry)(unsigned vcpu)) {
  vcpu_count();
  if (need_x2apic) local_apic_use_x2apic();
  // Intel's manual lets a local APIC that is off send INIT; but on one software KVM (6.18) the last vCPU missed it.
  local_apic_enable();
  vcpu_entry = entry;
  // Only now, with the tables read: nobody promises that they do not lie in this page.
  memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
  return vcpu_of_apic_id[local_apic_id()];
}

static void wait_after_init(void) {
  pit_start(0);
  pit_wait_us(10000);  // Intel's manual, volume 3, 9.4.4.1
}

unsigned prepare_vcpus(void (*entry)(unsigned vcpu)) {
  unsigned self = get_ready(entry);
  for (unsigned vcpu = 0; vcpu < vcpu_count(); vcpu++) {
    if (vcpu != self) local_apic_command(apic_ids[vcpu], INIT);
  }
  wait_after_init();
  return self;
}

void start_vcpu(unsigned vcpu) { local_apic_command(apic_ids[vcpu], STARTUP); }

unsigned start_all_vcpus(void (*entry)(unsigned vcpu)) {
  unsigned self = get_ready(entry);
  local_apic_command(0, INIT | ALL_BUT_SELF);
  wait_after_init();
  local_apic_command(0, STARTUP | ALL_BUT_SELF);
  return self;
}
