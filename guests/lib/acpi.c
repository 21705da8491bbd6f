// Just enough of ACPI to find processors, interrupt pins, the reset register and S5 (ACPI 6.5, chapter 5).
#include "guest.h"

struct header {
  char signature[4];
  uint32_t size;
  uint8_t revision, checksum;
  char oem[6], oem_table[8];
  uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

struct rsdp {
  char signature[8];
  uint8_t checksum;
  char oem[6];
  uint8_t revision;
  uint32_t rsdt, size;
  uint64_t xsdt;
} __attribute__((packed));

const void *acpi_find(const char *signature) {
  const struct rsdp *rsdp = (const struct rsdp *)start_info->rsdp;
  if (!rsdp) return NULL;
  bool wide = rsdp->revision >= 2 && rsdp->xsdt;
  const struct header *root = (const struct header *)(wide ? rsdp->xsdt : rsdp->rsdt);
  const uint8_t *entry = (const uint8_t *)(root + 1), *end = (const uint8_t *)root + root->size;
  for (; entry < end; entry += wide ? 8 : 4) {
    uint64_t address = wide ? *(const uint64_t *)entry : *(const uint32_t *)entry;
    if (equal((const void *)address, signature, 4)) return (const void *)address;
  }
  return NULL;
}

// ---- MADT: a list of entries that begin with type and size

struct madt {
  struct header header;
  uint32_t local_apic, flags;
} __attribute__((packed));

enum { LOCAL_APIC = 0, IO_APIC = 1, SOURCE_OVERRIDE = 2, LOCAL_X2APIC = 9, ENABLED = 1 };

struct entry {
  uint8_t type, size;
  union {
    struct {
      uint8_t uid, apic_id;
      uint32_t flags;
    } __attribute__((packed)) local_apic;
    struct {
      uint8_t id, reserved;
      uint32_t address, first_pin;
    } __attribute__((packed)) io_apic;
    struct {
      uint8_t bus, irq;
      uint32_t pin;
      uint16_t flags;
    } __attribute__((packed)) override;
    struct {
      uint16_t reserved;
      uint32_t apic_id, flags, uid;
    } __attribute__((packed)) local_x2apic;
  };
} __attribute__((packed));

// The entry after `entry`, or the first one if it is null; null at the end.
static const struct entry *next(const struct entry *entry) {
  static const struct madt *madt;
  if (!madt && !(madt = acpi_find("APIC"))) fail("acpi: no MADT");
  const uint8_t *at = entry ? (const uint8_t *)entry + entry->size : (const uint8_t *)(madt + 1);
  return at < (const uint8_t *)madt + madt->header.size ? (const struct entry *)at : NULL;
}

bool acpi_processor(unsigned index, uint32_t *apic_id) {
  // Remembered from call to call: asking for 0, 1, 2 ... walks the table once.
  static const struct entry *entry;
  static unsigned place;
  if (!entry || index < place) {
    entry = NULL;
    place = 0;
  }
  while ((entry = next(entry))) {
    bool usable = (entry->type == LOCAL_APIC && (entry->local_apic.flags & ENABLED)) ||
                  (entry->type == LOCAL_X2APIC && (entry->local_x2apic.flags & ENABLED));
    if (!usable || place++ != index) continue;
    *apic_id = entry->type == LOCAL_APIC ? entry->local_apic.apic_id : entry->local_x2apic.apic_id;
    return true;
  }
  return false;
}

struct interrupt_source acpi_isa_interrupt(uint8_t irq) {
  for (const struct entry *entry = NULL; (entry = next(entry));) {
    if (entry->type != SOURCE_OVERRIDE || entry->override.irq != irq) continue;
    uint16_t flags = entry->override.flags;
    return (struct interrupt_source){
        .pin = entry->override.pin,
        .level = (flags >> 2 & 3) == 3,
        .active_low = (flags & 3) == 3,
    };
  }
  return (struct interrupt_source){.pin = irq};
}

uint64_t acpi_io_apic(void) {
  for (const struct entry *entry = NULL; (entry = next(entry));) {
    if (entry->type == IO_APIC && entry->io_apic.first_pin == 0) return entry->io_apic.address;
  }
  fail("acpi: no I/O APIC in the MADT");
}

// ---- FADT and DSDT

enum {
  FADT_DSDT = 40,
  FADT_PM1A_CONTROL = 64,
  FADT_FLAGS = 112,
  FADT_RESET = 116,
  FADT_RESET_VALUE = 128,
  FADT_X_DSDT = 140,
  FADT_SLEEP_CONTROL = 244,
  RESET_SUPPORTED = 1 << 10,
  HARDWARE_REDUCED = 1 << 20,
  SPACE_MEMORY = 0,
  SPACE_PORT = 1,
};

static const uint8_t *fadt(void) {
  const uint8_t *table = acpi_find("FACP");
  if (!table) fail("acpi: no FADT");
  return table;
}

struct acpi_fixed acpi_fixed_description(void) {
  const uint8_t *table = fadt();
  uint32_t size = ((const struct header *)table)->size, flags = *(const uint32_t *)(table + FADT_FLAGS);
  struct acpi_fixed fixed = {
      .pm1a_control = {.space = SPACE_PORT, .bits = 16, .address = *(const uint32_t *)(table + FADT_PM1A_CONTROL)},
      .has_reset = size > FADT_RESET_VALUE && (flags & RESET_SUPPORTED),
      .hardware_reduced = size >= FADT_SLEEP_CONTROL + sizeof(struct acpi_register) && (flags & HARDWARE_REDUCED),
  };
  if (fixed.has_reset) {
    fixed.reset = *(const struct acpi_register *)(table + FADT_RESET);
    fixed.reset_value = table[FADT_RESET_VALUE];
  }
  if (fixed.hardware_reduced) fixed.sleep_control = *(const struct acpi_register *)(table + FADT_SLEEP_CONTROL);
  return fixed;
}

void acpi_write(const struct acpi_register *where, uint8_t value) {
  switch (where->space) {
    case SPACE_PORT: out8((uint16_t)where->address, value); break;
    case SPACE_MEMORY: *(volatile uint8_t *)where->address = value; break;
    default: fail("acpi: register in address space %u", where->space);
  }
}

// Looks for the name _S5_ and PackageOp (0x12), instead of interpreting AML: the first element of that package is all
// that is wanted.
int acpi_s5_type(void) {
  enum { ZERO = 0x00, ONE = 0x01, BYTE_PREFIX = 0x0a };
  const uint8_t *table = fadt();
  uint64_t address = *(const uint32_t *)(table + FADT_DSDT);
  if (((const struct header *)table)->size >= FADT_X_DSDT + 8) {
    uint64_t wide = *(const uint64_t *)(table + FADT_X_DSDT);
    if (wide) address = wide;
  }
  const struct header *dsdt = (const struct header *)address;
  const uint8_t *at = (const uint8_t *)(dsdt + 1), *end = (const uint8_t *)dsdt + dsdt->size - 8;
  for (; at < end; at++) {
    if (*at != '_' || !equal(at, "_S5_\x12", 5)) continue;
    at += 5;
    at += 1 + (*at >> 6);  // the package's size: its top bits say how many more bytes it has
    at += 1;               // the number of elements
    return *at == BYTE_PREFIX ? at[1] : *at == ZERO || *at == ONE ? *at : -1;
  }
  return -1;
}
