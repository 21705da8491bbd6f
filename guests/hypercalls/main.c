// Every hypercall with good and bad arguments, from 64-bit code, and the ways in which one can be made.
#include "xen.h"

#define WINDOW 0x100000000

#include "calls.h"
#include "random.h"
#include "user.h"

enum { PRESENT = 1, WRITABLE = 2, CR0_WP = 1 << 16 };

// The window: small pages at 4 GiB, behind what start.asm maps one to one.
static void make_window(void) {
  static uint64_t directory[512] __attribute__((aligned(PAGE))), table[512] __attribute__((aligned(PAGE)));
  static uint8_t frames[4 * PAGE] __attribute__((aligned(PAGE)));
  static const uint64_t no_memory = 0xe0000000;
  extern uint64_t page_map[];
  uint64_t *pointers = (uint64_t *)(page_map[0] & -(uint64_t)PAGE), cr0;
  table[1] = (word)frames + 2 * PAGE + (PRESENT | WRITABLE);
  table[2] = (word)frames + (PRESENT | WRITABLE);
  table[4] = (word)plain + PAGE + PRESENT;
  table[6] = no_memory + (PRESENT | WRITABLE);
  table[7] = (word)frames + 3 * PAGE + (PRESENT | WRITABLE);
  table[8] = (word)frames + PAGE + (PRESENT | WRITABLE | USER_BIT);
  directory[0] = (word)table + (PRESENT | WRITABLE | USER_BIT);
  pointers[4] = (word)directory + (PRESENT | WRITABLE | USER_BIT);
  asm volatile("mov %0, %%cr3" : : "r"(page_map) : "memory");
  asm volatile("mov %%cr0, %0" : "=r"(cr0));
  asm volatile("mov %0, %%cr0" : : "r"(cr0 | CR0_WP));  // or a kernel may write to any page
}

// ---- The stubs of the page, and other ways to call

static void check_page(void) {
  for (unsigned call = 0; call < PAGE / HYPERCALL_STUB_BYTES; call++) {
    const uint8_t *stub = xen_hypercall_page + call * HYPERCALL_STUB_BYTES;
    uint32_t number;
    memcpy(&number, stub + 1, 4);
    if (call == 23) expect("iret's stub", stub[0] | stub[1] << 8, 0x0b0f);  // ud2
    else if (stub[0] != 0xb8 || number != call) fail("%s: stub %u is no mov eax, %u", who, call, call);
  }
  print("%s: %u stubs\n", who, PAGE / HYPERCALL_STUB_BYTES);
}

// The number is all of rax, the subop of most calls the lower half of rdi.
static void check_halves(void) {
  word result = 1ull << 32 | HYPERCALL_XEN_VERSION;
  asm volatile("outl %%eax, %1" : "+a"(result) : "N"(HYPERCALL_PORT), "D"(0ul) : "memory");
  expect("xen_version with bit 32 set in its number", (long)result, -ENOSYS);
  expect("xen_version with bit 32 set in its subop", hypercall2(17, 1ull << 32, 0), 4 << 16 | 17);
  expect("vcpu_op with bit 32 set in its vCPU", hypercall3(24, VCPUOP_IS_UP, 1ull << 32, 0), 1);
  expect("hvm_op with bit 32 set in its subop", hypercall2(34, 1ull << 32 | HVMOP_FLUSH_TLBS, 0), -ENOSYS);
  expect("console_io with bit 32 set in its count", hypercall3(18, 0, 1ull << 32, NOWHERE), 0);
  print("%s: upper halves\n", who);
}

// ---- 32-bit code in this 64-bit guest: the registers and structures are those of 32-bit code

struct compat_registers {
  uint64_t rax, rbx, rcx, rdx, rsi, rdi;
};

uint32_t compat_call(const struct compat_registers *registers);

asm(".text\n"
    "compat_call:\n"
    "  push %rbx; push %rbp\n"
    "  mov (%rdi), %rax; mov 8(%rdi), %rbx; mov 16(%rdi), %rcx\n"
    "  mov 24(%rdi), %rdx; mov 32(%rdi), %rsi; mov 40(%rdi), %rdi\n"
    "  ljmp *compat_entry\n"
    ".code32\n"
    "1: outl %eax, $0xe8\n"
    "  ljmp $8, $2f\n"
    ".code64\n"
    "2: pop %rbp; pop %rbx\n"
    "  mov %eax, %eax\n"
    "  ret\n"
    "compat_entry: .long 1b, 0x18\n");

static void check_compat(void) {
  static const uint64_t garbage = 0xdeadbeef00000000;
  static uint64_t descriptors[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff};
  struct {
    uint16_t limit;
    uint64_t base;
  } __attribute__((packed)) pointer = {sizeof descriptors - 1, (uint64_t)descriptors};
  asm volatile("lgdt %0" : : "m"(pointer) : "memory");

  static uint16_t self = DOMID_SELF;
  static struct {
    uint32_t count, buffer;
  } map = {.count = 3};
  static struct {
    uint32_t call, result, arguments[6];
  } list = {HYPERCALL_XEN_VERSION, 1, {XENVER_PAGESIZE}};
  map.buffer = (uint32_t)(word)sink;
  const struct {
    const char *name;
    struct compat_registers registers;
    int32_t expected;
  } calls[] = {
      {"XENVER_version", {17, 0, 0, 0, 0, 0}, 4 << 16 | 17},
      {"XENMEM_current_reservation", {12, 3, (word)&self, 0, 0, 0}, (int32_t)reservation(XENMEM_CURRENT_RESERVATION)},
      {"XENMEM_current_reservation from nowhere", {12, 3, 0xe0000000, 0, 0, 0}, -EFAULT},
      {"XENMEM_memory_map", {12, 9, (word)&map, 0, 0, 0}, 0},
      {"VCPUOP_is_up", {24, VCPUOP_IS_UP, NO_VCPU, 0, 0, 0}, -ENOENT},
      {"multicall", {13, (word)&list, 1, 0, 0, 0}, 0},
      {"mmuext_op", {26, (word)sink, 1, 0, DOMID_IO, 0}, -EPERM},
      {"an unknown call", {44, 0, 0, 0, 0, 0}, -ENOSYS},
  };
  unsigned count = sizeof calls / sizeof *calls;
  for (unsigned i = 0; i < count; i++) {
    struct compat_registers r = calls[i].registers;
    r.rbx |= garbage, r.rcx |= garbage, r.rdx |= garbage, r.rsi |= garbage, r.rdi |= garbage;
    expect(calls[i].name, (int32_t)compat_call(&r), calls[i].expected);
  }
  expect("entries of the memory map for 32-bit code", map.count, 3);
  expect("the result of a multicall for 32-bit code", list.result, PAGE);
  print("%s: %u calls from 32-bit code\n", who, count);
}

// ---- CPL3: a guest's programs may not call

static struct user_context user;
static long user_result;

_Noreturn void user_invalid_instruction(uint64_t address) { fail("%s: invalid instruction at 0x%lx", who, address); }

static void call_as_user(uint64_t call) { user_result = port_hypercall2((unsigned)call, 0, 0); }

static void check_user(void) {
  enum { IOPL_3 = 3 << 12, FLAGS_ALWAYS = 2 };
  user_init(&user);
  user_map(0, PAGE);  // this image, too
  static const uint8_t calls[] = {HYPERCALL_XEN_VERSION, HYPERCALL_SCHED_OP, 44};
  for (unsigned i = 0; i < sizeof calls; i++) {
    user_result = 0;
    user_call(call_as_user, calls[i], &user, FLAGS_ALWAYS | IOPL_3);
    expect("a call at CPL3", user_result, -EPERM);
  }
  print("%s: %u calls at CPL3\n", who, (unsigned)sizeof calls);
}

// ---- A second vCPU, started, stopped and started again by Xen alone

// struct vcpu_hvm_context with struct vcpu_hvm_x86_64.
struct vcpu_context {
  uint32_t mode, pad;
  uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, rip, rflags, cr0, cr3, cr4, efer, rest;
};

enum { MODE_64 = 1, SECOND = 1 };

static volatile uint64_t said;

static void second_vcpu(uint64_t value) {
  said = value;
  vcpu_op(VCPUOP_DOWN, SECOND, NULL);
  said = value + 1;
  halt();
}

static uint64_t time_now(void) {
  uint64_t time = 0;
  expect("HVMOP_get_time", hvm_op(HVMOP_GET_TIME, &time), 0);
  return time;
}

static void wait_for(uint64_t value, long is_up) {
  static const uint64_t patience_ns = 10000000000;
  uint64_t start = time_now();
  while (said != value || vcpu_op(VCPUOP_IS_UP, SECOND, NULL) != is_up) {
    if (time_now() > start + patience_ns) fail("%s: the second vCPU said %lu, not %lu", who, (word)said, (word)value);
  }
}

static void check_vcpus(void) {
  enum { EFER = 0xc0000080 };
  static uint8_t stack[1024] __attribute__((aligned(16)));
  static struct vcpu_context context = {.mode = 2};
  if (vcpu_op(VCPUOP_IS_UP, SECOND, NULL) == -ENOENT) return;
  expect("VCPUOP_is_up of a vCPU that never was", vcpu_op(VCPUOP_IS_UP, SECOND, NULL), 0);
  expect("VCPUOP_up before VCPUOP_initialise", vcpu_op(VCPUOP_UP, SECOND, NULL), -EINVAL);
  expect("VCPUOP_initialise in a mode that is none", vcpu_op(VCPUOP_INITIALISE, SECOND, &context), -EINVAL);
  context.mode = MODE_64;
  expect("VCPUOP_initialise in 64-bit mode without paging", vcpu_op(VCPUOP_INITIALISE, SECOND, &context), -EINVAL);
  asm volatile("mov %%cr0, %0" : "=r"(context.cr0));
  asm volatile("mov %%cr3, %0" : "=r"(context.cr3));
  asm volatile("mov %%cr4, %0" : "=r"(context.cr4));
  context.efer = read_msr(EFER);
  context.rsp = (word)stack + sizeof stack - 8;  // as after a call
  context.rip = (word)second_vcpu;
  context.rdi = 1000;
  expect("VCPUOP_initialise", vcpu_op(VCPUOP_INITIALISE, SECOND, &context), 0);
  expect("VCPUOP_initialise twice", vcpu_op(VCPUOP_INITIALISE, SECOND, &context), -EEXIST);
  expect("VCPUOP_is_up before VCPUOP_up", vcpu_op(VCPUOP_IS_UP, SECOND, NULL), 0);
  expect("VCPUOP_up", vcpu_op(VCPUOP_UP, SECOND, NULL), 0);
  wait_for(1000, 0);
  expect("VCPUOP_up once more", vcpu_op(VCPUOP_UP, SECOND, NULL), 0);
  wait_for(1001, 1);
  expect("a timer of another vCPU", vcpu_op(VCPUOP_STOP_SINGLESHOT_TIMER, SECOND, NULL), -EINVAL);
  print("%s: a second vCPU\n", who);
}

// By the processor's own instructions, where the host tells us of them.
static void check_instructions(const char *which) {
  word result = HYPERCALL_XEN_VERSION;
  if (is_word(which, "vmcall")) asm volatile("vmcall" : "+a"(result) : "D"(0ul), "S"(0ul) : "memory");
  else asm volatile("vmmcall" : "+a"(result) : "D"(0ul), "S"(0ul) : "memory");
  expect("xen_version by an instruction", (long)result, 4 << 16 | 17);
  print("%s: by an instruction\n", who);
}

int main(void) {
  who = "hypercalls";
  xen_init();
  if (option("instruction")) check_instructions(option("instruction"));
  make_window();
  check_page();
  check_version();
  check_table();
  check_unknown();
  check_halves();
  check_params();
  check_ports();
  check_multicall();
  check_pointers(true);
  check_vcpus();
  if (option("random")) check_random(number_option("random", 0), number_option("seed", 1));
  check_compat();
  check_user();
  check_console();
  return 0;
}
