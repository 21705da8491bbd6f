// The same table from 32-bit code: without paging, with page tables of two levels, or with PAE.
#include "xen.h"

#define WINDOW 0xe0000000

#include "../hypercalls/calls.h"

enum { PRESENT = 1, WRITABLE = 2, USER = 4, LARGE = 0x80, NO_PAGING = 2 };
enum { CR0_WP = 1 << 16, CR4_PSE = 1 << 4, CR4_PAE = 1 << 5 };

static const uint32_t CR0_PG = 1u << 31;

// What of Multiboot's information is looked at (Multiboot 0.6.96, 3.3).
struct information {
  uint32_t flags, memory[2], boot_device, command_line;
};

// The same number of entries in 32 and in 64 bits: two tables of one page, or one of two.
static union {
  uint32_t narrow[1024];
  uint64_t wide[512];
} directories[4] __attribute__((aligned(PAGE))), table __attribute__((aligned(PAGE)));

static uint64_t pointers[4] __attribute__((aligned(32)));
static uint8_t frames[4 * PAGE] __attribute__((aligned(PAGE)));

static void set_entry(bool pae, unsigned page, word value) {
  if (pae) table.wide[page] = value;
  else table.narrow[page] = value;
}

// All addresses one to one, but for the window.
static void make_pages(bool pae) {
  unsigned shift = pae ? 21 : 22, per_table = pae ? 512 : 1024;
  for (uint32_t i = 0; i < (1u << (32 - shift)); i++) {
    uint32_t entry = i << shift | LARGE | PRESENT | WRITABLE | USER;
    if (i == WINDOW >> shift) entry = (word)&table | PRESENT | WRITABLE | USER;
    if (pae) directories[i / per_table].wide[i % per_table] = entry;
    else directories[0].narrow[i] = entry;
  }
  for (unsigned i = 0; i < 4; i++) pointers[i] = (word)&directories[i] | PRESENT;
  set_entry(pae, 1, (word)frames + 2 * PAGE + (PRESENT | WRITABLE));
  set_entry(pae, 2, (word)frames + (PRESENT | WRITABLE));
  set_entry(pae, 4, (word)plain + PAGE + PRESENT);
  set_entry(pae, 6, 0xd0000000 + (PRESENT | WRITABLE));
  set_entry(pae, 7, (word)frames + 3 * PAGE + (PRESENT | WRITABLE));
  set_entry(pae, 8, (word)frames + PAGE + (PRESENT | WRITABLE | USER));
}

// Returns whether it can be had: a KVM that is software may ignore CR0.PG outside of long mode.
static bool start_paging(bool pae) {
  uint32_t cr0, root = pae ? (word)pointers : (word)directories;
  make_pages(pae);
  asm volatile("mov %0, %%cr4" : : "r"(pae ? CR4_PAE : CR4_PSE));
  asm volatile("mov %0, %%cr3" : : "r"(root) : "memory");
  asm volatile("mov %%cr0, %0" : "=r"(cr0));
  asm volatile("mov %0, %%cr0\n\tjmp 1f\n1:" : : "r"(cr0 | CR0_PG | CR0_WP) : "memory");
  frames[0] = 0x5a;
  return *(volatile uint8_t *)WINDOW_PAGE(2) == 0x5a;
}

int main(uint32_t magic, const void *at) {
  const struct information *information = at;
  const char *paging = find_option((const char *)information->command_line, "paging");
  (void)magic;
  who = "hypercalls32";
  if (paging && !start_paging(is_word(paging, "pae"))) {
    print("%s: paging outside of long mode does nothing here\n", who);
    return NO_PAGING;
  }
  xen_init();
  check_version();
  check_table();
  check_unknown();
  check_params();
  check_ports();
  check_multicall();
  check_pointers(paging != NULL);
  check_console();
  return 0;
}
