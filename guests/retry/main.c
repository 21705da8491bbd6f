// Every kind of instruction on a page that is not there yet: what it does then is what it does to RAM.
//
// In the window a device model shows pages of its memory, and takes them back when a port is written. Each instruction
// runs once in the window, where its first access to a page is a p2m violation, and once on a copy of it in RAM; then
// registers, flags and all of the memory are compared.
#include "guest.h"
#include "user.h"
#include "kinds.h"

enum { PAGES = 8, BYTES = PAGES * PAGE, ROW = 256 };

static const uint64_t GIB = 1ull << 30;

// Two ports: a write to the first takes all pages back and restores what they held at first, one to the second only
// takes them back.
enum { DEFAULT_PORT = 0x510, KEEPING = 4 };

static uint64_t address;   // of the window, as the hypervisor knows it
static uint8_t *window;    // of the window, as this guest sees it
static uint16_t reset_port;
static bool by_exit, fetching;

static uint8_t copy[BYTES] __attribute__((aligned(PAGE)));
static uint8_t pristine[BYTES] __attribute__((aligned(16)));

// Other memory that the instructions use: both runs get the same.
enum { SCRATCH_BYTES = 4 * PAGE };
static uint8_t scratch[SCRATCH_BYTES] __attribute__((aligned(PAGE)));
static uint8_t scratch_after[SCRATCH_BYTES] __attribute__((aligned(16)));

// ---- Running an instruction, at CPL0 or CPL3

enum { RAX, RCX, RDX, RBX, RSI, RDI, R8, REGISTERS };
static const char *const register_names[] = {"rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8"};

uint64_t registers[REGISTERS], flags;
void *target;
static struct user_context user;
void run_at_cpl0(void);
void run_target(uint64_t unused);

// Registers and the code to call come from memory and go there again.
asm(".text\n"
    "run_at_cpl0:\n"
    "  push %rbx; push %rbp\n"
    "  call run_target\n"
    "  pop %rbp; pop %rbx\n"
    "  ret\n"
    "run_target:\n"
    "  pushq $2\n"
    "  popfq\n"
    "  mov registers, %rax; mov registers + 8, %rcx; mov registers + 16, %rdx; mov registers + 24, %rbx\n"
    "  mov registers + 32, %rsi; mov registers + 40, %rdi; mov registers + 48, %r8\n"
    "  call *target\n"
    "  mov %rax, registers; mov %rcx, registers + 8; mov %rdx, registers + 16; mov %rbx, registers + 24\n"
    "  mov %rsi, registers + 32; mov %rdi, registers + 40; mov %r8, registers + 48\n"
    "  pushfq\n"
    "  popq flags\n"
    "  ret\n");

// ---- Page tables

enum { ENTRIES = 512, MAX_CODE = 32 };

extern uint64_t page_map[];
static uint64_t walked_directory[ENTRIES] __attribute__((aligned(PAGE)));
static uint64_t walked_table[ENTRIES] __attribute__((aligned(PAGE)));

static uint64_t *page_pointers(void) { return (uint64_t *)(page_map[0] & -(uint64_t)PAGE); }

static void flush(void) { asm volatile("mov %0, %%cr3" : : "r"(page_map) : "memory"); }

static void map_two_pages(uint64_t *table, uint64_t frame) {
  memset(table, 0, PAGE);
  table[0] = frame | USER_PAGE_FLAGS;
  table[1] = (frame + PAGE) | USER_PAGE_FLAGS;
}

// Puts into the window, or its copy, what a kind needs there. `frame` is the physical address of `base`.
static void set_up(const struct kind *kind, uint8_t *base, uint64_t frame) {
  uint8_t *at = base + kind->a;
  uint64_t *directory = walked_directory, *table = walked_table, data = (uint64_t)scratch;
  uint64_t directory_frame = (uint64_t)walked_directory, table_frame = (uint64_t)walked_table;
  switch (kind->setup) {
    case PATTERN: return;
    case POINTER: *(uint64_t *)at = (uint64_t)landing; return;
    case RETURN: *(uint64_t *)at = (uint64_t)landing_from_stack; return;
    case FLAGS: *(uint64_t *)at = 0x8d7; return;
    case CODE: memcpy(at, kind->code, MAX_CODE); return;
    case PAGE_TABLE:
      table = (uint64_t *)at;
      table_frame = frame + kind->a;
      break;
    case DIRECTORY:
      directory = (uint64_t *)at;
      directory_frame = frame + kind->a;
      break;
    case MAPPED_CODE: memcpy(at + 2 * PAGE, kind->code, MAX_CODE); [[fallthrough]];
    case ALL_TABLES:
      directory = (uint64_t *)at;
      directory_frame = frame + kind->a;
      table = (uint64_t *)(at + PAGE);
      table_frame = directory_frame + PAGE;
      data = table_frame + PAGE;
      break;
  }
  memset(directory, 0, PAGE);
  directory[0] = table_frame | USER_PAGE_FLAGS;
  map_two_pages(table, data);
  page_pointers()[WALKED / GIB] = directory_frame | USER_PAGE_FLAGS;
}

// ---- What the window holds at first

static uint8_t first_byte(uint64_t offset) { return (uint8_t)(offset * 167 + (offset >> 8) * 13 + 5); }

// Each row of 256 bytes is the first one rotated by 43 more than the row before: 43 * 167 = 13 modulo 256.
static void make_pristine(void) {
  uint8_t twice[2 * ROW];
  for (unsigned i = 0; i < ROW; i++) twice[i] = first_byte(i);
  memcpy(twice + ROW, twice, ROW);
  for (unsigned row = 0; row < BYTES / ROW; row++) memcpy(pristine + row * ROW, twice + (row * 43 & 0xff), ROW);
}

static void copy_words(void *to, const void *from, uint64_t size) {
  size /= 8;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

// The offset of the first word that differs from `start` on, or `size`.
static uint64_t first_difference(const uint8_t *one, const uint8_t *other, uint64_t start, uint64_t size) {
  const uint8_t *at = one + start;
  uint64_t count = (size - start) / 8;
  bool same = true;
  other += start;
  if (count) asm volatile("repe cmpsq" : "+S"(at), "+D"(other), "+c"(count), "=@ccz"(same) : : "memory");
  return same ? size : (uint64_t)(at - one) - 8;
}

// ---- A case: one kind, with none, the first or the second of its pages mapped before

enum { NONE, FIRST, SECOND, CASES };
static const char *const case_names[] = {"", ", the first page mapped", ", the second page mapped"};

static const char *kind_name, *case_name;
static unsigned cpl;

#define FAIL(format, ...) fail("retry: %s%s, at CPL%u: " format, kind_name, case_name, cpl, __VA_ARGS__)

static uint64_t operand(uint64_t value, const uint8_t *base) {
  if (value >= WALKED) return value;
  return value >= IN_SCRATCH ? (uint64_t)scratch + value - IN_SCRATCH : (uint64_t)base + value;
}

// Runs the kind's instructions, and leaves what they did in `registers`, `flags`, `scratch` and the memory at `base`.
static void run(const struct kind *kind, uint8_t *base) {
  registers[RAX] = 0x8091a2b3c4d5e6f7;
  registers[RDX] = 0x0102030405060708;
  if (kind->options & MATCHING) {
    registers[RAX] = *(uint64_t *)(pristine + kind->a);
    registers[RDX] = registers[RAX] >> 32;
  }
  registers[RBX] = 0x1020304050607080;
  registers[RCX] = kind->count;
  registers[RDI] = operand(kind->a, base);
  registers[RSI] = operand(kind->b, base);
  registers[R8] = 0x5a5a5a5a5a5a5a5a;
  target = kind->setup == MAPPED_CODE ? (void *)WALKED : kind->setup == CODE ? base + kind->a : (void *)kind->code;
  if (kind->setup >= PAGE_TABLE) flush();
  if (cpl == 0) run_at_cpl0();
  else user_call(run_target, 0, &user, 2);
  // What is left of addresses in `base` is how far they are into it.
  for (unsigned i = 0; i < REGISTERS; i++) {
    uint64_t offset = registers[i] - (uint64_t)base + PAGE;
    if (offset < BYTES + 2 * PAGE) registers[i] = offset;
  }
}

static void compare_memory(const uint8_t *expected) {
  uint64_t at = 0;
  while ((at = first_difference(window, expected, at, BYTES)) < BYTES) {
    uint64_t found = *(uint64_t *)(window + at), wanted = *(const uint64_t *)(expected + at);
    // Page tables in the window and in the copy point to pages at the same place in them.
    if (found - wanted != address - (uint64_t)copy || found - address >= BYTES) {
      FAIL("0x%016lx at 0x%lx, not 0x%016lx", found, address + at, wanted);
    }
    at += 8;
  }
}

static void try(const struct kind *kind, unsigned mapped) {
  kind_name = kind->name;
  case_name = case_names[mapped];
  copy_words(copy, pristine, BYTES);
  copy_words(scratch, pristine + 3 * PAGE, SCRATCH_BYTES);
  set_up(kind, copy, (uint64_t)copy);
  run(kind, copy);
  uint64_t expected[REGISTERS], expected_flags = flags & kind->flags;
  memcpy(expected, registers, sizeof expected);
  copy_words(scratch_after, scratch, SCRATCH_BYTES);

  copy_words(scratch, pristine + 3 * PAGE, SCRATCH_BYTES);
  out32(reset_port, 1);
  if (kind->setup != PATTERN) {
    set_up(kind, window, address);
    out32(reset_port + KEEPING, 1);
  }
  if (mapped != NONE) {
    unsigned page = kind->a / PAGE + (mapped == SECOND);
    // A stack grows down: what is pushed at the start of a page crosses from the one before.
    if (kind->a % PAGE < PAGE / 2) page--;
    *(volatile uint8_t *)(window + page * PAGE + PAGE / 2);
  }
  run(kind, window);
  page_pointers()[WALKED / GIB] = 0;
  if (kind->setup >= PAGE_TABLE) flush();

  for (unsigned i = 0; i < REGISTERS; i++) {
    if (registers[i] != expected[i]) FAIL("%s is 0x%lx, not 0x%lx", register_names[i], registers[i], expected[i]);
  }
  if ((flags & kind->flags) != expected_flags) {
    FAIL("the flags are 0x%lx, not 0x%lx", flags & kind->flags, expected_flags);
  }
  uint64_t at = first_difference(scratch, scratch_after, 0, SCRATCH_BYTES);
  if (at < SCRATCH_BYTES) {
    FAIL("0x%016lx came from the window, not 0x%016lx", *(uint64_t *)(scratch + at), *(uint64_t *)(scratch_after + at));
  }
  compare_memory(copy);
}

// ---- All of it

static unsigned try_group(const struct group *group) {
  unsigned tried = 0;
  for (const struct kind *kind = group->kinds; kind < group->kinds + group->count; kind++) {
    if (by_exit && (kind->options & (FAULT_ONLY | NATIVE_ONLY))) continue;
    if (!fetching && (kind->setup == CODE)) continue;
    if (cpl == 0 && (kind->options & NATIVE_ONLY)) continue;
    for (unsigned mapped = NONE; mapped < (kind->options & CROSSING ? CASES : FIRST); mapped++) {
      try(kind, mapped);
      tried++;
    }
  }
  return tried;
}

static unsigned try_all(unsigned level) {
  unsigned tried = 0;
  cpl = level;
  for (const struct group *group = groups; group < groups + sizeof groups / sizeof *groups; group++) {
    unsigned now = try_group(group);
    if (now) print("retry: CPL%u, %s: %u kinds\n", cpl, group->name, now);
    tried += now;
  }
  return tried;
}

__attribute__((interrupt)) static void on_fault(struct interrupt_frame *frame, uint64_t error) {
  uint64_t at;
  asm volatile("mov %%cr2, %0" : "=r"(at));
  FAIL("an exception at 0x%lx, error code 0x%lx, cr2 0x%lx", *(uint64_t *)frame, error, at);
}

void user_invalid_instruction(uint64_t at) { FAIL("an invalid instruction at 0x%lx", at); }

// Lets 16-byte moves work, and names the kind that causes an exception.
static void prepare_processor(void) {
  enum { PROTECTION = 13, PAGE_FAULT = 14, OSFXSR = 1 << 9 };
  user_init(&user);
  interrupt_gate(PROTECTION, (interrupt_handler *)(void *)on_fault);
  interrupt_gate(PAGE_FAULT, (interrupt_handler *)(void *)on_fault);
  uint64_t cr4;
  asm volatile("mov %%cr4, %0\n\tor %1, %0\n\tmov %0, %%cr4" : "=&r"(cr4) : "r"((uint64_t)OSFXSR));
}

// What the window shows before anything is written anywhere: first a byte of every page of it, then all of ours.
static void check_first(uint64_t size) {
  for (uint64_t offset = 0; offset < size; offset += PAGE) {
    uint8_t found = *(volatile uint8_t *)(window + offset);
    if (found == first_byte(offset)) continue;
    fail("retry: 0x%02x at 0x%lx, not 0x%02x: the window does not show its first contents", found, address + offset,
         first_byte(offset));
  }
  kind_name = "the first look";
  case_name = "";
  compare_memory(pristine);
}

int main(void) {
  address = number_option("address", 0xfd000000);
  reset_port = (uint16_t)number_option("port", DEFAULT_PORT);
  uint64_t size = number_option("size", BYTES);
  const char *transport = option("transport"), *level = option("cpl");
  by_exit = transport && is_word(transport, "exit");
  if (transport && !by_exit && !is_word(transport, "fault")) fail("retry: transport is fault or exit");
  fetching = !option("no-fetch");
  if (address % PAGE || size % PAGE || size < BYTES) fail("retry: the window must be %u pages or more", PAGES);
  window = user_map(address, size);
  if (!window) fail("retry: the window must not cross a boundary of 1 GiB");
  prepare_processor();
  make_pristine();
  check_first(size);
  print("retry: %lu bytes at 0x%lx, by %s\n", size, address, by_exit ? "exit" : "fault");
  unsigned tried = 0;
  if (!level || !is_word(level, "3")) tried += try_all(0);
  if (!level || !is_word(level, "0")) tried += try_all(3);
  print("retry: %u kinds, all as on RAM\n", tried);
  return 0;
}
