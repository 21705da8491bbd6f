// Event channels: what ports are and do, how vCPUs hear of events, and how they wait for them. Needs two vCPUs.
#include "guest.h"
#include "xen.h"

enum {
  PORTS = 64,  // more than this guest ever has
  GSI = 22,
  INTX_DEVICE = 1,
  INTX_GSI = 20,  // INTA of device 1 (Xen: hvm_pci_intx_gsi)
  LINE_VECTOR = 0x50,
  CALLBACK_VECTOR = 0x51,
  UPCALL_VECTOR = 0x52,  // and one more for each vCPU
  STEP_US = 50,
  PATIENCE_US = 3000000,
  DISABLED_US = 5000,
  ROUNDS = 20,
};

static const uint64_t CALLBACK_GSI = 0, CALLBACK_INTX = 1ull << 56, CALLBACK_BY_VECTOR = 2ull << 56;

static struct shared_info *shared;
static struct vcpu_info *infos[2];
static volatile unsigned upcalls[2], events[PORTS], level_upcalls;
static volatile bool keep_pending;
// The ports of each vCPU: one word of them is enough.
static volatile word own[2][WORD_BITS] = {{~(word)0}, {0}};

// The port by which the other vCPU answers; 0: it does not.
static volatile uint32_t ping, pong;

static void expect(const char *what, long found, long expected) {
  if (found == expected) return;
  fail("evtchn: %s gives %s%lu, not %s%lu", what, found < 0 ? "-" : "", found < 0 ? -(word)found : (word)found,
       expected < 0 ? "-" : "", expected < 0 ? -(word)expected : (word)expected);
}

static uint32_t port_of(const char *what, long port) {
  if (port <= 0 || port >= PORTS) fail("evtchn: %s gives port 0x%lx", what, port);
  return (uint32_t)port;
}

static bool is_pending(uint32_t port) { return shared->pending[port / WORD_BITS] >> port % WORD_BITS & 1; }
static bool is_masked(uint32_t port) { return shared->mask[port / WORD_BITS] >> port % WORD_BITS & 1; }

static void mask(uint32_t port) {
  __atomic_or_fetch(&shared->mask[port / WORD_BITS], (word)1 << port % WORD_BITS, __ATOMIC_SEQ_CST);
}

static void clear_pending(uint32_t port) {
  __atomic_and_fetch(&shared->pending[port / WORD_BITS], ~((word)1 << port % WORD_BITS), __ATOMIC_SEQ_CST);
}

static void expect_pending(const char *when, uint32_t port, bool expected) {
  if (is_pending(port) == expected) return;
  fail("evtchn: port %u is %s pending %s", port, expected ? "not" : "still", when);
}

static void expect_upcall(const char *when, unsigned vcpu, bool expected) {
  if ((infos[vcpu]->upcall_pending != 0) == expected) return;
  fail("evtchn: the upcall of vCPU %u is %s pending %s", vcpu, expected ? "not" : "already", when);
}

// ---- Handlers

static void take_events(unsigned vcpu) {
  __atomic_exchange_n(&infos[vcpu]->upcall_pending, 0, __ATOMIC_SEQ_CST);
  for (long port; (port = event_next_of(shared, infos[vcpu], own[vcpu])) >= 0;) {
    if (port < PORTS) events[port]++;
    if ((uint32_t)port == ping && pong != 0) event_send(pong);
  }
}

__attribute__((interrupt)) static void on_line(struct interrupt_frame *frame) {
  (void)frame;
  level_upcalls++;
  // A line stays high for as long as the upcall is pending, so this comes again.
  if (keep_pending) keep_pending = false;
  else take_events(0);
  upcalls[0]++;
  local_apic_eoi();
}

// It comes past the local APIC: nobody has to be told that it is over.
__attribute__((interrupt)) static void on_callback(struct interrupt_frame *frame) {
  (void)frame;
  unsigned vcpu = xen_vcpu_id();
  take_events(vcpu);
  upcalls[vcpu]++;
}

__attribute__((interrupt)) static void on_upcall_0(struct interrupt_frame *frame) {
  (void)frame;
  take_events(0);
  upcalls[0]++;
  local_apic_eoi();
}

__attribute__((interrupt)) static void on_upcall_1(struct interrupt_frame *frame) {
  (void)frame;
  take_events(1);
  upcalls[1]++;
  local_apic_eoi();
}

// With interrupts on, until it has counted so far; off again afterwards.
static void await(volatile unsigned *counter, unsigned wanted, const char *what) {
  for (unsigned waited_us = 0; *counter < wanted; waited_us += STEP_US) {
    if (waited_us > PATIENCE_US) fail("evtchn: %s: %u times, not %u", what, *counter, wanted);
    enable_interrupts();
    pit_wait_us(STEP_US);
    disable_interrupts();
  }
}

// ---- What ports are

static void expect_status(const char *what, uint32_t port, uint32_t status, uint32_t vcpu, uint32_t other) {
  struct evtchn_status found = {.domain = DOMID_SELF, .port = port};
  expect("EVTCHNOP_status", event_channel_op(EVTCHNOP_STATUS, &found), 0);
  uint32_t end = status == EVTCHNSTAT_UNBOUND ? found.unbound_domain
                 : status == EVTCHNSTAT_INTERDOMAIN ? found.interdomain.port
                 : status == EVTCHNSTAT_VIRQ        ? found.virq
                                                    : other;
  if (found.status == status && (status == EVTCHNSTAT_CLOSED || (found.vcpu == vcpu && end == other))) return;
  fail("evtchn: %s is of status %u for vCPU %u with %u, not %u, %u, %u", what, found.status, found.vcpu, end, status,
       vcpu, other);
}

static void ports(void) {
  unsigned self = xen_domid();
  struct evtchn_status console = {.domain = DOMID_SELF, .port = (uint32_t)hvm_param(HVM_PARAM_CONSOLE_EVTCHN)};
  expect("EVTCHNOP_status", event_channel_op(EVTCHNOP_STATUS, &console), 0);
  expect("the status of the console's port", console.status, EVTCHNSTAT_INTERDOMAIN);
  expect("the domain behind the console's port", console.interdomain.domain, 0);

  uint32_t one = port_of("alloc_unbound", event_alloc_unbound(DOMID_SELF));
  expect_status("an offered port", one, EVTCHNSTAT_UNBOUND, 0, self);
  expect("a send to nobody", event_send(one), 0);
  struct evtchn_bind_interdomain loop = {.remote_domain = DOMID_SELF, .remote_port = one};
  expect("bind_interdomain", event_channel_op(EVTCHNOP_BIND_INTERDOMAIN, &loop), 0);
  uint32_t other = port_of("bind_interdomain", loop.local_port);
  expect_status("one end", one, EVTCHNSTAT_INTERDOMAIN, 0, other);
  expect_status("the other end", other, EVTCHNSTAT_INTERDOMAIN, 0, one);
  expect_pending("at a new end", other, true);
  expect("a second bind_interdomain", event_channel_op(EVTCHNOP_BIND_INTERDOMAIN, &loop), -EINVAL);
  clear_pending(other);
  expect("a send across", event_send(one), 0);
  expect_pending("after a send across", other, true);
  expect_pending("at the sender's end", one, false);
  expect("close", event_close(other), 0);
  expect_pending("after it was closed", other, false);
  expect_status("a closed port", other, EVTCHNSTAT_CLOSED, 0, 0);
  expect_status("the end of a closed port", one, EVTCHNSTAT_UNBOUND, 0, self);
  expect("close", event_close(one), 0);
  expect("a second close", event_close(one), -EINVAL);
  expect("a send to a closed port", event_send(one), -EINVAL);
  expect("a send to port 0", event_send(0), -EINVAL);
  expect("a send to port 4096", event_send(4096), -EINVAL);

  uint32_t timer = port_of("bind_virq", event_bind_virq(VIRQ_TIMER, 1));
  expect_status("a virtual interrupt", timer, EVTCHNSTAT_VIRQ, 1, VIRQ_TIMER);
  expect("a second bind_virq", event_bind_virq(VIRQ_TIMER, 1), -EEXIST);
  expect("bind_virq to no vCPU", event_bind_virq(VIRQ_TIMER, 2), -ENOENT);
  expect("bind_virq of no interrupt", event_bind_virq(24, 0), -EINVAL);
  expect("a send to a virtual interrupt", event_send(timer), -EINVAL);
  expect("close", event_close(timer), 0);

  uint32_t ipi = port_of("bind_ipi", event_bind_ipi(1));
  expect_status("an IPI", ipi, EVTCHNSTAT_IPI, 1, 0);
  expect("bind_ipi to no vCPU", event_bind_ipi(2), -ENOENT);
  struct evtchn_bind_vcpu bind = {.port = ipi, .vcpu = 0};
  expect("bind_vcpu of an IPI", event_channel_op(EVTCHNOP_BIND_VCPU, &bind), -EINVAL);
  expect("close", event_close(ipi), 0);
  print("evtchn: ports\n");
}

// ---- Masks, without any upcall

static void masks(void) {
  uint32_t port = port_of("bind_ipi", event_bind_ipi(0));
  if (!is_masked(port)) fail("evtchn: port %u is not masked", port);
  take_events(0);
  expect("send", event_send(port), 0);
  expect_pending("after a send to a masked port", port, true);
  expect_upcall("for a masked port", 0, false);
  expect("unmask", event_unmask(port), 0);
  expect_upcall("after unmask", 0, true);
  if (is_masked(port)) fail("evtchn: port %u is masked after unmask", port);
  take_events(0);
  expect("the number of events", events[port], 1);
  expect("unmask of what is not masked", event_unmask(port), 0);
  expect_upcall("after an unmask of nothing", 0, false);
  expect("send", event_send(port), 0);
  expect_upcall("after send", 0, true);
  expect("send", event_send(port), 0);
  take_events(0);
  expect("events of two that were one", events[port], 2);
  expect("send", event_send(port), 0);
  expect("close", event_close(port), 0);
  expect_pending("after it was closed", port, false);
  take_events(0);
  expect("events of a closed port", events[port], 2);
  mask(port);
  events[port] = 0;
  print("evtchn: masks\n");
}

// ---- Upcalls of vCPU 0, by each way to hear of events

static void expect_interrupts(const char *way, uint32_t port, bool is_line) {
  const unsigned before = events[port];
  expect(way, event_send(port), 0);
  await(&events[port], before + 1, way);

  expect(way, event_send(port), 0);
  unsigned heard = upcalls[0];
  pit_wait_us(DISABLED_US);  // interrupts are off here
  if (upcalls[0] != heard) fail("evtchn: %s: an upcall with interrupts disabled", way);
  await(&events[port], before + 2, way);

  mask(port);
  expect(way, event_send(port), 0);
  heard = upcalls[0];
  enable_interrupts();
  pit_wait_us(DISABLED_US);
  disable_interrupts();
  if (events[port] != before + 2) fail("evtchn: %s: an event of a masked port", way);
  // A line may be raised once more by somebody who has looked just before the upcall was taken.
  if (upcalls[0] > heard + is_line) fail("evtchn: %s: an upcall for a masked port", way);
  expect(way, event_unmask(port), 0);
  await(&events[port], before + 3, way);

  if (is_line) {
    unsigned interrupts = level_upcalls;
    keep_pending = true;
    expect(way, event_send(port), 0);
    await(&events[port], before + 4, way);
    if (level_upcalls < interrupts + 2) fail("evtchn: %s: the line fell while the upcall was pending", way);
  }
  heard = upcalls[0];
  enable_interrupts();
  pit_wait_us(DISABLED_US);
  disable_interrupts();
  if (upcalls[0] > heard + is_line) fail("evtchn: %s: %u upcalls without an event", way, upcalls[0] - heard);
}

static void callbacks(void) {
  uint32_t port = port_of("bind_ipi", event_bind_ipi(0));
  expect("unmask", event_unmask(port), 0);
  interrupt_gate(LINE_VECTOR, on_line);
  interrupt_gate(CALLBACK_VECTOR, on_callback);

  expect("send", event_send(port), 0);
  expect_upcall("before there is a callback", 0, true);
  route_interrupt((struct interrupt_source){.pin = GSI, .level = true}, LINE_VECTOR);
  expect("callback by GSI", set_hvm_param(HVM_PARAM_CALLBACK_IRQ, CALLBACK_GSI | GSI), 0);
  await(&events[port], 1, "an event from before the callback");
  expect_interrupts("callback by GSI", port, true);
  print("evtchn: callback by GSI\n");

  expect("callback by a GSI that there is not", set_hvm_param(HVM_PARAM_CALLBACK_IRQ, CALLBACK_GSI | 200), 0);
  expect("send", event_send(port), 0);
  enable_interrupts();
  pit_wait_us(DISABLED_US);
  disable_interrupts();
  expect_upcall("by a GSI that there is not", 0, true);
  take_events(0);

  route_interrupt((struct interrupt_source){.pin = INTX_GSI, .level = true}, LINE_VECTOR);
  expect("callback by INTx", set_hvm_param(HVM_PARAM_CALLBACK_IRQ, CALLBACK_INTX | INTX_DEVICE << 11), 0);
  expect_interrupts("callback by INTx", port, true);
  print("evtchn: callback by INTx\n");

  expect("callback by vector", set_hvm_param(HVM_PARAM_CALLBACK_IRQ, CALLBACK_BY_VECTOR | CALLBACK_VECTOR), 0);
  expect_interrupts("callback by vector", port, false);
  print("evtchn: callback by vector\n");

  expect("upcall vector below 16", set_upcall_vector(0, 15), -EINVAL);
  expect("upcall vector of no vCPU", set_upcall_vector(2, UPCALL_VECTOR), -ENOENT);
  interrupt_gate(UPCALL_VECTOR, on_upcall_0);
  expect("upcall vector", set_upcall_vector(0, UPCALL_VECTOR), 0);
  expect_interrupts("upcall vector", port, false);
  print("evtchn: upcall vector\n");
  expect("close", event_close(port), 0);
}

// ---- A device model at the other end: it binds the port that is written to its register, and answers each event

static void device_model(uint16_t io_port) {
  uint32_t port = port_of("alloc_unbound", event_alloc_unbound(0));
  const unsigned before = events[port];
  expect("unmask", event_unmask(port), 0);
  out32(io_port, port);
  expect("the model's binding", in32(io_port), 0);
  struct evtchn_status status = {.domain = DOMID_SELF, .port = port};
  expect("EVTCHNOP_status", event_channel_op(EVTCHNOP_STATUS, &status), 0);
  expect("the status of the model's port", status.status, EVTCHNSTAT_INTERDOMAIN);
  out32(io_port, port);
  expect("the model's second binding", in32(io_port), EINVAL);
  out32(io_port, 4000);
  expect("the model's binding of no port", in32(io_port), EINVAL);
  await(&events[port], before + 1, "the model's first event");
  for (unsigned round = 0; round < ROUNDS; round++) {
    const unsigned answers = events[port];
    expect("a send to the model", event_send(port), 0);
    while (events[port] == answers) wait_for_interrupt();
  }
  expect("the model's answers", events[port], before + 1 + ROUNDS);
  expect("close", event_close(port), 0);
  print("evtchn: %u events from a device model\n", ROUNDS);
}

// ---- The second vCPU

enum way { BY_HALT, BY_BLOCK, BY_POLL, WAYS };
static const char *const WAY_NAMES[] = {"hlt", "SCHEDOP_block", "SCHEDOP_poll"};

static struct {
  volatile unsigned started, taken;
  volatile uint8_t way;
  volatile bool stop;
  volatile uint32_t port;
} second;

extern uint64_t page_map[];
extern uint8_t gdt[];
static uint8_t second_stack[8192] __attribute__((aligned(16)));
static struct vcpu_info second_info __attribute__((aligned(64)));
static struct {
  uint16_t limit;
  uint64_t base;
} __attribute__((packed)) gdt_pointer = {23, 0};

// Where it begins: with selectors of 0, so that no interrupt could come back.
void second_entry(void);
asm(".text\n"
    "second_entry:\n"
    "  lgdt (%rdi)\n"
    "  mov $0x10, %eax; mov %eax, %ss; mov %eax, %ds; mov %eax, %es\n"
    "  pushq $0x08; pushq $second_vcpu; lretq\n");

// Sleeps, with interrupts off, until there is an event for the port or an interrupt has come.
static void wait_for_event(enum way way, uint32_t port) {
  if (way == BY_HALT) return wait_for_interrupt();
  if (way == BY_BLOCK) expect("SCHEDOP_block", sched_op(SCHEDOP_BLOCK, NULL), 0);
  else expect("SCHEDOP_poll", xen_poll(&port, 1, 0), 0);
  enable_interrupts();
  sched_op(SCHEDOP_YIELD, NULL);  // what has come is taken on the way back; software KVM (6.18) does not after a pause
  disable_interrupts();
}

void second_vcpu(void) {
  interrupts_init();
  interrupt_gate(UPCALL_VECTOR + 1, on_upcall_1);
  expect("upcall vector", set_upcall_vector(1, UPCALL_VECTOR + 1), 0);
  second.started++;
  for (unsigned seen = 0;;) {
    while (events[second.port] == seen) wait_for_event(second.way, second.port);
    seen++;
    second.taken++;
    if (!second.stop) continue;
    expect("VCPUOP_down", vcpu_op(VCPUOP_DOWN, 1, NULL), 0);
    second.stop = false;
    second.started++;
  }
}

static void start_second(void) {
  gdt_pointer.base = (uint64_t)gdt;
  struct vcpu_hvm_context_64 context = {
      .mode = VCPU_HVM_MODE_64,
      .rip = (uint64_t)second_entry,
      .rdi = (uint64_t)&gdt_pointer,
      .rsp = (uint64_t)second_stack + sizeof second_stack - 8,
      .rflags = 2,
      .cr0 = 0x80000011,
      .cr3 = (uint64_t)page_map,
      .cr4 = 0x20,
      .efer = 0x100,
  };
  struct vcpu_register_vcpu_info info = {.gfn = (uint64_t)&second_info / 4096, .offset = (uint64_t)&second_info % 4096};
  expect("VCPUOP_up before VCPUOP_initialise", vcpu_op(VCPUOP_UP, 1, NULL), -EINVAL);
  expect("VCPUOP_is_up", vcpu_op(VCPUOP_IS_UP, 1, NULL), 0);
  expect("VCPUOP_register_vcpu_info", vcpu_op(VCPUOP_REGISTER_VCPU_INFO, 1, &info), 0);
  expect("a second VCPUOP_register_vcpu_info", vcpu_op(VCPUOP_REGISTER_VCPU_INFO, 1, &info), -EINVAL);
  expect("VCPUOP_initialise", vcpu_op(VCPUOP_INITIALISE, 1, &context), 0);
  expect("a second VCPUOP_initialise", vcpu_op(VCPUOP_INITIALISE, 1, &context), -EEXIST);
  expect("VCPUOP_is_up", vcpu_op(VCPUOP_IS_UP, 1, NULL), 0);
  expect("VCPUOP_up", vcpu_op(VCPUOP_UP, 1, NULL), 0);
  expect("VCPUOP_is_up", vcpu_op(VCPUOP_IS_UP, 1, NULL), 1);
  expect("VCPUOP_is_up of no vCPU", vcpu_op(VCPUOP_IS_UP, 2, NULL), -ENOENT);
  await(&second.started, 1, "the second vCPU");
}

// Each event that vCPU 0 sends is answered by vCPU 1's handler; both wait for theirs in the same way.
static void exchange(enum way way, uint32_t to, uint32_t from) {
  second.way = way;
  for (unsigned round = 0; round < ROUNDS; round++) {
    const unsigned answers = events[from], taken = second.taken;
    expect("send", event_send(to), 0);
    while (events[from] == answers) wait_for_event(way, from);
    expect("answers", events[from], answers + 1);
    await(&second.taken, taken + 1, "vCPU 1 after an event");
  }
  print("evtchn: %u events each way, waited for by %s\n", ROUNDS, WAY_NAMES[way]);
}

static void down_and_up(uint32_t to) {
  const unsigned taken = second.taken;
  pong = 0;
  expect("VCPUOP_down", vcpu_op(VCPUOP_DOWN, 1, NULL), 0);
  expect("VCPUOP_is_up", vcpu_op(VCPUOP_IS_UP, 1, NULL), 0);
  expect("send", event_send(to), 0);
  enable_interrupts();
  pit_wait_us(DISABLED_US);
  disable_interrupts();
  if (second.taken != taken) fail("evtchn: a vCPU that is down has taken an event");
  expect("VCPUOP_up", vcpu_op(VCPUOP_UP, 1, NULL), 0);
  await(&second.taken, taken + 1, "a vCPU that is up again");

  second.stop = true;
  expect("send", event_send(to), 0);
  for (unsigned waited_us = 0; vcpu_op(VCPUOP_IS_UP, 1, NULL) != 0; waited_us += STEP_US) {
    if (waited_us > PATIENCE_US) fail("evtchn: vCPU 1 does not go down");
    pit_wait_us(STEP_US);
  }
  expect("times that vCPU 1 has started", second.started, 1);
  expect("VCPUOP_up", vcpu_op(VCPUOP_UP, 1, NULL), 0);
  await(&second.started, 2, "a vCPU that went down itself");
  print("evtchn: down and up\n");
}

// ---- Time-outs and timers

static void timers(void) {
  uint64_t now = xen_clock_ns(&shared->vcpus[0].time);
  uint32_t port = port_of("bind_virq", event_bind_virq(VIRQ_TIMER, 0));
  expect("SCHEDOP_poll with a time-out", xen_poll(&port, 1, now + 2000000), 0);
  if (xen_clock_ns(&shared->vcpus[0].time) < now + 2000000) fail("evtchn: SCHEDOP_poll came back before its time");

  // Interrupts are on while it blocks: an event between the look and the sleep would be missed, but others follow.
  uint64_t period = 2000000;
  expect("unmask", event_unmask(port), 0);
  expect("VCPUOP_set_periodic_timer", vcpu_op(VCPUOP_SET_PERIODIC_TIMER, 0, &period), 0);
  while (events[port] < 3) {
    enable_interrupts();
    expect("SCHEDOP_block", sched_op(SCHEDOP_BLOCK, NULL), 0);
    disable_interrupts();
  }
  expect("VCPUOP_stop_periodic_timer", vcpu_op(VCPUOP_STOP_PERIODIC_TIMER, 0, NULL), 0);
  expect("close", event_close(port), 0);
  print("evtchn: timers\n");
}

int main(void) {
  if (vcpu_count() < 2) fail("evtchn: needs 2 vCPUs");
  interrupts_init();
  pit_start(0);
  xen_init();
  shared = xen_map_shared_info();
  infos[0] = &shared->vcpus[0];
  infos[1] = &second_info;
  ports();
  masks();
  callbacks();
  timers();
  if (option("model")) device_model((uint16_t)number_option("model", 0));
  start_second();
  second.port = ping = port_of("bind_ipi", event_bind_ipi(1));
  own[1][0] = (word)1 << ping;
  own[0][0] = ~own[1][0];
  events[ping] = 0;
  pong = port_of("bind_ipi", event_bind_ipi(0));
  events[pong] = 0;
  uint32_t from = pong;
  expect("unmask", event_unmask(ping), 0);
  expect("unmask", event_unmask(from), 0);
  for (enum way way = 0; way < WAYS; way++) exchange(way, ping, from);
  down_and_up(ping);
  print("evtchn: all events came\n");
  return 0;
}
