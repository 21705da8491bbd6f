// Calls that give more than a number, that depend on one another, or that go by other ways than the page.
#pragma once

#include "table.h"

// Who says what is wrong: the guest's own name.
static const char *who;

static void expect(const char *name, long found, long expected) {
  if (found == expected) return;
  fail("%s: %s gives 0x%lx, not 0x%lx", who, name, (word)found, (word)expected);
}

static void check_table(void) {
  static const uint8_t last = HYPERCALL_VM_ASSIST;
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
    const struct row *row = &rows[i];
    const word *a = row->arguments;
    expect(row->name, hypercall5(row->call, a[0], a[1], a[2], a[3], a[4]), row->expected);
  }
  expect("the table's last call by the port", port_hypercall2(last, 2, 5), -ENOSYS);
  print("%s: %u calls with good and bad arguments\n", who, (unsigned)(sizeof rows / sizeof *rows));
}

// Any number that is none, by the page where it has a stub, and by the port.
static void check_unknown(void) {
  static const word beyond[] = {23, 128, 255, 4096, 0x7fffffff, 0x80000000, UINT32_MAX};
  unsigned count = 0;
  for (unsigned i = 0; i < sizeof unknown_calls; i++, count++) {
    unsigned call = unknown_calls[i];
    expect("an unknown call", hypercall5(call, 0, 0, 0, 0, 0) == -ENOSYS ? 0 : (long)call, 0);
    expect("an unknown call by the port", port_hypercall2(call, 0, 0) == -ENOSYS ? 0 : (long)call, 0);
  }
  for (unsigned i = 0; i < sizeof beyond / sizeof *beyond; i++, count++) {
    expect("a number beyond all calls", port_hypercall2((unsigned)beyond[i], 0, 0), -ENOSYS);
  }
  print("%s: %u numbers that are no calls\n", who, count);
}

// ---- Texts and structures that come back

static void expect_text(const char *name, unsigned subop, const char *expected) {
  memset(sink, 0xee, sizeof sink);
  expect(name, xen_version(subop, sink), 0);
  if (!equal(sink, expected, length(expected) + 1)) fail("%s: %s is not \"%s\"", who, name, expected);
}

static void check_version(void) {
  enum { AUTO_TRANSLATED = 1 << 2, CALLBACK_VECTOR = 1 << 8, SAFE_PVCLOCK = 1 << 9, PIRQS = 1 << 10, DOM0 = 1 << 11 };
  expect_text("extraversion", XENVER_EXTRAVERSION, ".0-xenolith");
  expect_text("changeset", XENVER_CHANGESET, "unavailable");
  expect_text("commandline", XENVER_COMMANDLINE, "<denied>");
  expect("the byte behind <denied>", sink[9], 0xee);
  memset(sink, 0xee, sizeof sink);
  expect("capabilities", xen_version(XENVER_CAPABILITIES, sink), 0);
  if (!equal(sink, "hvm-3.0-x86_32 ", 15)) fail("%s: capabilities do not begin with hvm-3.0-x86_32", who);
  expect("the last byte of capabilities", sink[1023] | sink[1024] << 8, 0xee00);
  struct xen_feature_info features = {0, 0};
  expect("get_features", xen_version(XENVER_GET_FEATURES, &features), 0);
  uint32_t wanted = AUTO_TRANSLATED | CALLBACK_VECTOR | SAFE_PVCLOCK;
  expect("the features", features.submap & (wanted | PIRQS | DOM0), wanted);
  struct cpuid version = cpuid(xen_find() + XEN_CPUID_VERSION, 0);
  expect("the version by CPUID", version.eax, 4 << 16 | 17);
  expect("the domain by CPUID", xen_domid(), OWN_DOMAIN);
  print("%s: version, features and texts\n", who);
}

// Which parameters may be read, and which may be set: to that value.
static const struct {
  uint8_t index;
  bool read, set;
  uint64_t value;
} params[] = {{0, true, false, 0},   {1, true, false, 0},  {2, true, true, 1},  {15, true, true, 0x90000},
              {17, true, false, 0},  {18, true, true, 2},  {34, true, true, 0x123456789a},
              {35, true, false, 0},  {36, true, true, 8},  {37, true, true, 0x70000080000}};

static void check_params(void) {
  unsigned known = 0;
  for (uint32_t index = 0; index < HVM_PARAM_COUNT; index++) {
    struct xen_hvm_param param = {.domain = DOMID_SELF, .index = index, .value = ~0ull};
    if (index != params[known].index) {
      if (index == 19) continue;  // in the table
      expect("get_param of one that is not the guest's", hvm_op(HVMOP_GET_PARAM, &param), -EPERM);
      expect("set_param of one that is not the guest's", hvm_op(HVMOP_SET_PARAM, &param), -EPERM);
      continue;
    }
    expect("get_param", hvm_op(HVMOP_GET_PARAM, &param), 0);
    if (params[known].set) {
      expect("set_param", set_hvm_param(index, params[known].value), 0);
      // VM86_TSS is a window on VM86_TSS_SIZED, without the size.
      if (hvm_param(index) != params[known].value) fail("%s: parameter %u has not changed", who, index);
    } else if (index != HVM_PARAM_CALLBACK_IRQ) {
      expect("set_param of one that can only be read", hvm_op(HVMOP_SET_PARAM, &param), -EPERM);
    }
    known++;
  }
  expect("parameters", known, sizeof params / sizeof *params);
  print("%s: %u parameters\n", who, (unsigned)HVM_PARAM_COUNT);
}

// ---- Event channels: what depends on a port

static uint32_t status_of(uint32_t port) {
  struct evtchn_status status = {.domain = DOMID_SELF, .port = port};
  expect("EVTCHNOP_status", event_channel_op(EVTCHNOP_STATUS, &status), 0);
  return status.status;
}

static void check_ports(void) {
  long virq = event_bind_virq(VIRQ_DEBUG, 0), ipi = event_bind_ipi(0), unbound = event_alloc_unbound(0);
  if (virq <= 0 || ipi <= 0 || unbound <= 0) fail("%s: ports 0x%lx, 0x%lx, 0x%lx", who, virq, ipi, unbound);
  expect("EVTCHNOP_status of a VIRQ", status_of((uint32_t)virq), EVTCHNSTAT_VIRQ);
  expect("EVTCHNOP_status of an IPI", status_of((uint32_t)ipi), EVTCHNSTAT_IPI);
  expect("EVTCHNOP_status of what waits for its other end", status_of((uint32_t)unbound), EVTCHNSTAT_UNBOUND);
  expect("EVTCHNOP_bind_virq twice", event_bind_virq(VIRQ_DEBUG, 0), -EEXIST);
  expect("EVTCHNOP_send to a VIRQ's port", event_send((uint32_t)virq), -EINVAL);
  expect("EVTCHNOP_send to an IPI's port", event_send((uint32_t)ipi), 0);
  expect("EVTCHNOP_send to an unbound port", event_send((uint32_t)unbound), 0);
  expect("EVTCHNOP_bind_vcpu of an IPI", hypercall2(32, 8, AT((struct evtchn_bind_vcpu){(uint32_t)ipi, 0})), -EINVAL);
  expect("EVTCHNOP_bind_vcpu of a vCPU's VIRQ", hypercall2(32, 8, AT((struct evtchn_bind_vcpu){(uint32_t)virq, 0})),
         -EINVAL);
  expect("EVTCHNOP_bind_vcpu", hypercall2(32, 8, AT((struct evtchn_bind_vcpu){(uint32_t)unbound, 0})), 0);
  expect("EVTCHNOP_close", event_close((uint32_t)ipi), 0);
  expect("EVTCHNOP_close twice", event_close((uint32_t)ipi), -EINVAL);
  expect("EVTCHNOP_status of a closed port", status_of((uint32_t)ipi), EVTCHNSTAT_CLOSED);
  expect("EVTCHNOP_send to a closed port", event_send((uint32_t)ipi), -EINVAL);
  expect("EVTCHNOP_close of a VIRQ's port", event_close((uint32_t)virq), 0);
  expect("EVTCHNOP_close of an unbound port", event_close((uint32_t)unbound), 0);
  print("%s: ports bound and closed\n", who);
}

// ---- Multicall

static void check_multicall(void) {
  struct xen_feature_info features = {0, 0};
  struct multicall_entry list[] = {
      {HYPERCALL_XEN_VERSION, 0, {XENVER_VERSION}},
      {HYPERCALL_XEN_VERSION, 0, {XENVER_GET_FEATURES, (word)&features}},
      {HYPERCALL_XEN_VERSION, 0, {XENVER_GET_FEATURES, NOWHERE}},
      {44, 1, {0}},
      {HYPERCALL_MULTICALL, 1, {0}},
      {UINT32_MAX, 1, {0}},
  };
  static const long expected[] = {4 << 16 | 17, 0, -EFAULT, -ENOSYS, -EINVAL, -ENOSYS};
  unsigned count = sizeof list / sizeof *list;
  expect("multicall", hypercall2(HYPERCALL_MULTICALL, (word)list, count), 0);
  for (unsigned i = 0; i < count; i++) expect("an entry of a multicall", list[i].result, expected[i]);
  expect("features by a multicall", features.submap != 0, true);
  print("%s: a multicall of %u\n", who, count);
}

// ---- console_io: the last words, of which nothing may be lost at the end

static void check_console(void) {
  static const char text[] = ": by console_io, in pieces of 127 bytes: 0123456789 0123456789 0123456789 0123456789 "
                             "0123456789 0123456789 0123456789; all as in Xen\n";
  expect("CONSOLEIO_write", console_io(CONSOLEIO_WRITE, (unsigned)length(who), who), 0);
  expect("CONSOLEIO_write", console_io(CONSOLEIO_WRITE, sizeof text - 1, text), 0);
}

// ---- Structures in every kind of place

struct pointer_case {
  const char *name;
  uint8_t call, place;  // which argument is the pointer
  uint8_t subop, bytes;
  bool writes;
  word other;      // what stands in the argument that is neither
  uint8_t bytes_in[24];
  bool changes;    // gives another answer each time
};

static const struct pointer_case pointer_cases[] = {
    {"XENVER_changeset", 17, 1, XENVER_CHANGESET, 64, true, 0, {0}, false},
    {"XENVER_get_features", 17, 1, XENVER_GET_FEATURES, 8, true, 0, {0}, false},
    {"XENMEM_current_reservation", 12, 1, XENMEM_CURRENT_RESERVATION, 2, false, 0, {0xf0, 0x7f}, false},
    {"HVMOP_get_param", 34, 1, HVMOP_GET_PARAM, 16, true, 0, {0xf0, 0x7f, 0, 0, 17}, false},
    {"HVMOP_get_time", 34, 1, HVMOP_GET_TIME, 8, true, 0, {0}, true},
    {"VCPUOP_get_runstate_info", 24, 2, VCPUOP_GET_RUNSTATE_INFO, sizeof(word) == 8 ? 48 : 44, true, 0, {0}, true},
    {"EVTCHNOP_status", 32, 1, EVTCHNOP_STATUS, 24, true, 0, {0xf0, 0x7f, 0, 0, 1}, false},
    {"EVTCHNOP_send", 32, 1, EVTCHNOP_SEND, 4, false, 0, {1}, false},
    {"GNTTABOP_query_size", 20, 1, GNTTABOP_QUERY_SIZE, 16, true, 1, {0xf0, 0x7f}, false},
    {"GNTTABOP_get_version", 20, 1, GNTTABOP_GET_VERSION, 8, true, 1, {0xf0, 0x7f}, false},
};

static long call_with(const struct pointer_case *c, word pointer) {
  return c->place == 1 ? hypercall3(c->call, c->subop, pointer, c->other)
                       : hypercall3(c->call, c->subop, c->other, pointer);
}

static uint8_t answer[64], plain[2 * PAGE] __attribute__((aligned(PAGE)));

// The structure at `pointer`, which can be read and written as `memory`, one byte after the other.
static void place_at(const struct pointer_case *c, uint8_t *memory) {
  memset(memory, 0, c->bytes);
  memcpy(memory, c->bytes_in, c->bytes < sizeof c->bytes_in ? c->bytes : sizeof c->bytes_in);
}

static void expect_pointer(const struct pointer_case *c, const char *where, word pointer, long expected) {
  long found = call_with(c, pointer);
  if (found != expected) fail("%s: %s %s gives 0x%lx, not 0x%lx", who, c->name, where, (word)found, (word)expected);
}

static void expect_answer(const struct pointer_case *c, const char *where, const void *memory) {
  if (!c->changes && !equal(memory, answer, c->bytes)) fail("%s: %s %s gives another answer", who, c->name, where);
}

// Where the window has no pages, since there is no paging, there is only memory, and none.
static void check_pointers(bool paging) {
  unsigned count = sizeof pointer_cases / sizeof *pointer_cases;
  for (unsigned i = 0; i < count; i++) {
    const struct pointer_case *c = &pointer_cases[i];
    place_at(c, plain);
    long expected = call_with(c, (word)plain);
    if (expected < 0) fail("%s: %s gives 0x%lx", who, c->name, (word)expected);
    memcpy(answer, plain, c->bytes);

    for (unsigned before = 1; before < c->bytes; before += before == 1 ? c->bytes - 2 : c->bytes) {
      uint8_t *memory = plain + PAGE - before;
      place_at(c, memory);
      expect_pointer(c, "across pages", (word)memory, expected);
      expect_answer(c, "across pages", memory);
      if (c->bytes == 2) break;
    }
    expect_pointer(c, "where nothing is", NOWHERE, -EFAULT);
    expect_pointer(c, "at the last byte below 4 GiB", 0xffffffff, -EFAULT);
#ifdef __x86_64__
    expect_pointer(c, "at an address that is not canonical", 0x0000800000000000, -EFAULT);
    expect_pointer(c, "at the end of the lower half", 0x00007fffffffffff, -EFAULT);
    expect_pointer(c, "at the last byte of all", ~0ul, -EFAULT);
    expect_pointer(c, "in the upper half, where nothing is", 0xffff800000000000, -EFAULT);
#endif
    if (!paging) continue;
    // Pages 1 and 2 of the window are neighbours only there; behind 2 there is nothing.
    uint8_t *memory = (uint8_t *)WINDOW_PAGE(2) - 1;
    place_at(c, memory);
    expect_pointer(c, "across pages that are not neighbours", (word)memory, expected);
    expect_answer(c, "across pages that are not neighbours", memory);
    memory = (uint8_t *)WINDOW_PAGE(3) - c->bytes;
    place_at(c, memory);
    expect_pointer(c, "up to the end of the last page", (word)memory, expected);
    expect_pointer(c, "with its last byte in a page that is not there", WINDOW_PAGE(3) - c->bytes + 1, -EFAULT);
    place_at(c, plain + PAGE);  // which page 4 shows, to be read only
    expect_pointer(c, "in a page to be read", WINDOW_PAGE(4), c->writes ? -EFAULT : expected);
    expect_pointer(c, "in a page of no memory", WINDOW_PAGE(6), -EFAULT);
    memory = (uint8_t *)WINDOW_PAGE(8) - 1;  // of pages 7 and 8 the latter is for CPL3
    place_at(c, memory);
    expect_pointer(c, "across pages of two privileges", (word)memory, expected);
  }
  print("%s: %u structures at good and bad pointers%s\n", who, count, paging ? ", with page tables" : "");
}
