// Finding Xen, and what most guests of it want: parameters, shared_info, events, the clock.
#include "xen.h"

enum { PAGE = 4096, LAST_FIRST_LEAF = 0x40010000, LEAVES_APART = 0x100 };

uint8_t xen_hypercall_page[PAGE] __attribute__((aligned(PAGE)));

static uint32_t first_leaf;

uint32_t xen_find(void) {
  // Further up where a host shows another hypervisor's leaves, too.
  for (uint32_t leaf = XEN_CPUID_FIRST; leaf < LAST_FIRST_LEAF; leaf += LEAVES_APART) {
    struct cpuid found = cpuid(leaf, 0);
    if (!equal(&found.ebx, "XenVMMXenVMM", 12) || found.eax < leaf + XEN_CPUID_PAGE) continue;
    return first_leaf = leaf;
  }
  return 0;
}

void xen_init(void) {
  if (!xen_find()) fail("xen: CPUID shows none");
  struct cpuid page = cpuid(first_leaf + XEN_CPUID_PAGE, 0);
  if (page.eax != 1) fail("xen: %u hypercall pages", page.eax);
  write_msr(page.ebx, (word)xen_hypercall_page);
}

unsigned xen_vcpu_id(void) { return cpuid(first_leaf + XEN_CPUID_HVM, 0).ebx; }

unsigned xen_domid(void) { return cpuid(first_leaf + XEN_CPUID_HVM, 0).ecx; }

uint64_t hvm_param(uint32_t index) {
  struct xen_hvm_param param = {.domain = DOMID_SELF, .index = index};
  long result = hvm_op(HVMOP_GET_PARAM, &param);
  if (result != 0) fail("xen: HVM parameter %u cannot be read: -%lu", index, -(word)result);
  return param.value;
}

long set_hvm_param(uint32_t index, uint64_t value) {
  struct xen_hvm_param param = {.domain = DOMID_SELF, .index = index, .value = value};
  return hvm_op(HVMOP_SET_PARAM, &param);
}

struct shared_info *xen_map_shared_info(void) {
  static uint8_t page[PAGE] __attribute__((aligned(PAGE)));
  long result = add_to_physmap(XENMAPSPACE_SHARED_INFO, 0, (word)page / PAGE);
  if (result != 0) fail("xen: shared_info cannot be mapped: -%lu", -(word)result);
  struct shared_info *shared = (struct shared_info *)page;
  for (unsigned i = 0; i < WORD_BITS; i++) shared->mask[i] = ~(word)0;
  return shared;
}

long event_next_of(struct shared_info *shared, struct vcpu_info *info, const volatile word *own) {
  volatile word *selector = &info->pending_selector;
  for (unsigned group = 0; group < WORD_BITS; group++) {
    word bit = (word)1 << group, wanted = own ? own[group] : ~(word)0, events;
    if (!(*selector & bit)) continue;
    events = shared->pending[group] & ~shared->mask[group] & wanted;
    if (events == 0) {
      // Cleared before the last look: an event that comes after it sets it again.
      __atomic_and_fetch(selector, ~bit, __ATOMIC_SEQ_CST);
      events = shared->pending[group] & ~shared->mask[group] & wanted;
      if (events == 0) continue;
      __atomic_or_fetch(selector, bit, __ATOMIC_SEQ_CST);
    }
    unsigned place = (unsigned)__builtin_ctzl(events);
    __atomic_and_fetch(&shared->pending[group], ~((word)1 << place), __ATOMIC_SEQ_CST);
    return group * WORD_BITS + place;
  }
  return -1;
}

// The upper 64 bits of 96: of a product with a fraction of 2^32.
static uint64_t scale(uint64_t ticks, uint32_t fraction) {
  return (ticks >> 32) * fraction + ((ticks & UINT32_MAX) * fraction >> 32);
}

uint64_t xen_clock_ns(const struct vcpu_time_info *time) {
  for (;;) {
    uint32_t version = time->version;
    if (version & 1) continue;
    asm volatile("" : : : "memory");  // loads are not reordered with loads on x86, but for rdtsc
    uint64_t ticks = read_tsc() - time->tsc_timestamp, start = time->system_time;
    ticks = time->tsc_shift >= 0 ? ticks << time->tsc_shift : ticks >> -time->tsc_shift;
    uint64_t ns = start + scale(ticks, time->tsc_to_system_mul);
    asm volatile("" : : : "memory");
    if (time->version == version) return ns;
  }
}
