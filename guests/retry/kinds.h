// The kinds of instruction: what each one is, what it needs in the window, and what of its outcome is compared.
#pragma once

#include "guest.h"

enum { PAGE = 4096 };

// Where calls and jumps through memory arrive, and a return through a stack in the window: %rbp has the stack to use.
void landing(void);
void landing_from_stack(void);
asm(".text\n"
    "landing:\n"
    "  inc %rbx\n"
    "  ret\n"
    "landing_from_stack:\n"
    "  mov %rbp, %rsp\n"
    "  inc %rbx\n"
    "  ret\n");

// What has to lie in the window before the instruction runs.
enum setup {
  PATTERN,      // nothing but what is there at first
  POINTER,      // at a: the address of landing
  RETURN,       // at a: the address of landing_from_stack
  FLAGS,        // at a: an image of the flags
  CODE,         // at a: the instructions themselves
  PAGE_TABLE,   // at a: a page table, whose pages are in RAM
  DIRECTORY,    // at a: a page directory; the page table and its pages are in RAM
  ALL_TABLES,   // at a: a page directory, a page table, and two pages of data
  MAPPED_CODE,  // at a: the same with the instructions at the start of the data
};

enum {
  CROSSING = 1 << 0,     // three cases: no page mapped, only the first of the two, only the second
  MATCHING = 1 << 1,     // rax, and rdx above it, are what lies at `a` at first
  FAULT_ONLY = 1 << 2,   // KVM's emulator cannot do it, or cannot say which page is missing
  NATIVE_ONLY = 1 << 3,  // CPL0 code of software KVM cannot do it: for CPL3, and not by exits
};

// Which of the flags are compared: what an instruction leaves undefined differs between an emulator and a processor.
enum { NO_FLAGS = 0x400, CARRY = 0x401, ZERO = 0x440, LOGIC = 0xcc5, ALL_FLAGS = 0xcd5 };

// Operands: an offset in the window, one in `scratch`, or an address that goes through page tables of our own.
enum { A = 0x1235, B = 0x4568, IN_SCRATCH = 0x100000 };
static const uint64_t WALKED = 6ull << 30;

// Registers at the start: rdi = a, rsi = b, rcx = count, and in the others numbers without a meaning.
#define FOUR(KIND, id, name, op, b_, w_, l_, q_, ...)                                                                  \
  KIND(id##_1, name " of 1 byte", op "b " b_, __VA_ARGS__)                                                             \
  KIND(id##_2, name " of 2 bytes", op "w " w_, __VA_ARGS__)                                                            \
  KIND(id##_4, name " of 4 bytes", op "l " l_, __VA_ARGS__)                                                            \
  KIND(id##_8, name " of 8 bytes", op "q " q_, __VA_ARGS__)
#define LOAD(KIND, id, name, op, ...)                                                                                  \
  FOUR(KIND, id, name, op, "(%rdi), %al", "(%rdi), %ax", "(%rdi), %eax", "(%rdi), %rax", __VA_ARGS__)
#define STORE(KIND, id, name, op, ...)                                                                                 \
  FOUR(KIND, id, name, op, "%al, (%rdi)", "%ax, (%rdi)", "%eax, (%rdi)", "%rax, (%rdi)", __VA_ARGS__)
#define STORE_RCX(KIND, id, name, op, ...)                                                                             \
  FOUR(KIND, id, name, op, "%cl, (%rdi)", "%cx, (%rdi)", "%ecx, (%rdi)", "%rcx, (%rdi)", __VA_ARGS__)
#define CHANGE(KIND, id, name, op, ...) FOUR(KIND, id, name, op, "(%rdi)", "(%rdi)", "(%rdi)", "(%rdi)", __VA_ARGS__)
#define STRING(KIND, id, name, op, ...)                                                                                \
  FOUR(KIND, id, name, "rep " op, "", "", "", "", __VA_ARGS__)
#define STRING_DOWN(KIND, id, name, op, ...)                                                                           \
  FOUR(KIND, id, name, "std\n\trep " op, "\n\tcld", "\n\tcld", "\n\tcld", "\n\tcld", __VA_ARGS__)
#define ON_STACK(text) "mov %rsp, %rbp\n\tmov %rdi, %rsp\n\t" text "\n\tmov %rbp, %rsp"

// At CPL3 of software KVM the pushed image has the host's IF if the processor runs it, the guest's if KVM emulates it.
#define WITHOUT_IF "\n\tandl $~0x200, (%rsp)"

// KIND(id, name, instructions, setup, a, b, count, flags, options)
#define MOVES(KIND)                                                                                                    \
  LOAD(KIND, load, "load", "mov", PATTERN, A, 0, 0, NO_FLAGS, 0)                                                       \
  KIND(load_16, "load of 16 bytes", "movups (%rdi), %xmm0\n\tmovups %xmm0, (%rsi)", PATTERN, A, IN_SCRATCH, 0,         \
       NO_FLAGS, 0)                                                                                                    \
  KIND(load_zx, "load with zero extension", "movzwl (%rdi), %eax", PATTERN, A, 0, 0, NO_FLAGS, 0)                      \
  KIND(load_sx, "load with sign extension", "movslq (%rdi), %rax", PATTERN, A, 0, 0, NO_FLAGS, 0)                      \
  STORE(KIND, store, "store", "mov", PATTERN, A, 0, 0, NO_FLAGS, 0)                                                    \
  KIND(store_16, "store of 16 bytes", "movups (%rsi), %xmm0\n\tmovups %xmm0, (%rdi)", PATTERN, A, IN_SCRATCH, 0,       \
       NO_FLAGS, 0)                                                                                                    \
  KIND(store_imm, "store of a constant", "movq $-0x12345, (%rdi)", PATTERN, A, 0, 0, NO_FLAGS, 0)                      \
  KIND(load_then_store, "load and store of two pages", "mov (%rdi), %rax\n\tmov %rax, (%rsi)", PATTERN, A, B, 0,       \
       NO_FLAGS, 0)
#define CHANGES(KIND)                                                                                                  \
  STORE(KIND, add, "add", "add", PATTERN, A, 0, 0, ALL_FLAGS, 0)                                                       \
  STORE(KIND, sub, "sub", "sub", PATTERN, A, 0, 0, ALL_FLAGS, 0)                                                       \
  STORE(KIND, and, "and", "and", PATTERN, A, 0, 0, LOGIC, 0)                                                           \
  STORE(KIND, or, "or", "or", PATTERN, A, 0, 0, LOGIC, 0)                                                              \
  STORE(KIND, xor, "xor", "xor", PATTERN, A, 0, 0, LOGIC, 0)                                                           \
  CHANGE(KIND, inc, "inc", "inc", PATTERN, A, 0, 0, ALL_FLAGS, 0)                                                      \
  CHANGE(KIND, dec, "dec", "dec", PATTERN, A, 0, 0, ALL_FLAGS, 0)                                                      \
  CHANGE(KIND, neg, "neg", "neg", PATTERN, A, 0, 0, ALL_FLAGS, 0)                                                      \
  CHANGE(KIND, not, "not", "not", PATTERN, A, 0, 0, NO_FLAGS, 0)                                                       \
  KIND(adc, "adc", "stc\n\tadc %rax, (%rdi)", PATTERN, A, 0, 0, ALL_FLAGS, 0)                                          \
  KIND(shl, "shl", "shll $3, (%rdi)", PATTERN, A, 0, 0, NO_FLAGS, 0)                                                   \
  KIND(bts, "bts", "btsl $5, (%rdi)", PATTERN, A, 0, 0, CARRY, 0)                                                      \
  KIND(bts_far, "bts of a bit far away", "btsq %rcx, (%rdi)", PATTERN, A, 0, 0x12345, CARRY, 0)                        \
  LOAD(KIND, cmp, "cmp", "cmp", PATTERN, A, 0, 0, ALL_FLAGS, 0)                                                        \
  KIND(cmp_imm, "cmp with a constant", "cmpl $0x12345, (%rdi)", PATTERN, A, 0, 0, ALL_FLAGS, 0)                        \
  STORE(KIND, test, "test", "test", PATTERN, A, 0, 0, LOGIC, 0)
#define LOCKED(KIND)                                                                                                   \
  STORE(KIND, lock_add, "lock add", "lock add", PATTERN, A - 5, 0, 0, ALL_FLAGS, 0)                                    \
  KIND(lock_inc, "lock inc", "lock incl (%rdi)", PATTERN, A - 5, 0, 0, ALL_FLAGS, 0)                                   \
  KIND(lock_bts, "lock bts", "lock btsl $5, (%rdi)", PATTERN, A - 5, 0, 0, CARRY, 0)                                   \
  STORE(KIND, xadd, "xadd", "xadd", PATTERN, A - 5, 0, 0, ALL_FLAGS, 0)                                                \
  STORE(KIND, lock_xadd, "lock xadd", "lock xadd", PATTERN, A - 5, 0, 0, ALL_FLAGS, 0)                                 \
  STORE(KIND, xchg, "xchg", "xchg", PATTERN, A - 5, 0, 0, NO_FLAGS, 0)                                                 \
  STORE_RCX(KIND, cmpxchg, "lock cmpxchg that succeeds", "lock cmpxchg", PATTERN, A - 5, 0, 0x7654321, ALL_FLAGS,      \
            MATCHING)                                                                                                  \
  STORE_RCX(KIND, cmpxchg_not, "lock cmpxchg that fails", "lock cmpxchg", PATTERN, A - 5, 0, 0x7654321, ALL_FLAGS, 0)  \
  KIND(cmpxchg8b, "lock cmpxchg8b that succeeds", "lock cmpxchg8b (%rdi)", PATTERN, A - 5, 0, 0x7654321, ZERO,         \
       MATCHING)                                                                                                       \
  KIND(cmpxchg8b_not, "lock cmpxchg8b that fails", "lock cmpxchg8b (%rdi)", PATTERN, A - 5, 0, 0x7654321, ZERO, 0)     \
  KIND(cmpxchg16b, "lock cmpxchg16b that fails", "lock cmpxchg16b (%rdi)", PATTERN, A - 5, 0, 0x7654321, ZERO,         \
       NATIVE_ONLY)
// 96 elements from 41 bytes before a page's end, or down from 41 bytes after one's start.
#define STRINGS(KIND)                                                                                                  \
  STRING(KIND, movs_from, "rep movs from the window", "movs", PATTERN, IN_SCRATCH + 8, 0x2fd7, 96, NO_FLAGS, 0)        \
  STRING(KIND, movs_to, "rep movs to the window", "movs", PATTERN, 0x2fd7, IN_SCRATCH + 8, 96, NO_FLAGS, 0)            \
  STRING(KIND, movs_in, "rep movs within the window", "movs", PATTERN, 0x2fd7, 0x5fb3, 96, NO_FLAGS, 0)                \
  STRING_DOWN(KIND, movs_from_down, "rep movs down from the window", "movs", PATTERN, IN_SCRATCH + 0x808, 0x3029, 96,  \
              NO_FLAGS, 0)                                                                                             \
  STRING_DOWN(KIND, movs_to_down, "rep movs down to the window", "movs", PATTERN, 0x3029, IN_SCRATCH + 0x808, 96,      \
              NO_FLAGS, 0)                                                                                             \
  STRING_DOWN(KIND, movs_in_down, "rep movs down within the window", "movs", PATTERN, 0x3029, 0x6035, 96, NO_FLAGS, 0) \
  KIND(movs_overlap, "rep movs onto itself", "rep movsb", PATTERN, 0x2ff9, 0x2ff3, 96, NO_FLAGS, 0)                    \
  KIND(movs_long, "rep movs of three pages", "rep movsq", PATTERN, 0x4004, 0x0ffc, 3 * PAGE / 8, NO_FLAGS, 0)          \
  KIND(movs_one, "movs", "movsq", PATTERN, A, B, 0, NO_FLAGS, 0)                                                       \
  STRING(KIND, stos, "rep stos", "stos", PATTERN, 0x2fd7, 0, 96, NO_FLAGS, 0)                                          \
  STRING_DOWN(KIND, stos_down, "rep stos down", "stos", PATTERN, 0x3029, 0, 96, NO_FLAGS, 0)                           \
  STRING(KIND, lods, "rep lods", "lods", PATTERN, 0, 0x2fd7, 96, NO_FLAGS, 0)                                          \
  STRING_DOWN(KIND, lods_down, "rep lods down", "lods", PATTERN, 0, 0x3029, 96, NO_FLAGS, 0)                           \
  KIND(scas, "scas", "scasq", PATTERN, A, 0, 0, ALL_FLAGS, 0)                                                          \
  KIND(scas_found, "repne scas", "mov $0x66, %al\n\trepne scasb", PATTERN, 0x2fd7, 0, 256, ALL_FLAGS, 0)               \
  KIND(cmps, "cmps", "cmpsq", PATTERN, A, B, 0, ALL_FLAGS, 0)                                                          \
  KIND(cmps_differ, "repe cmps", "repe cmpsb", PATTERN, 0x2008, 0x10b8, 96, ALL_FLAGS, 0) /* 72 are equal */
#define STACKS(KIND)                                                                                                   \
  KIND(push_from, "push of memory", "push (%rdi)\n\tpop %rax", PATTERN, A, 0, 0, NO_FLAGS, 0)                          \
  KIND(pop_to, "pop to memory", "push %rax\n\tpop (%rdi)", PATTERN, A, 0, 0, NO_FLAGS, 0)                              \
  KIND(push, "push, stack in the window", ON_STACK("push %rax"), PATTERN, A + 3, 0, 0, NO_FLAGS, 0)                    \
  KIND(push_2, "push of 2 bytes, stack in the window", ON_STACK("pushw %ax"), PATTERN, A + 3, 0, 0, NO_FLAGS, 0)       \
  KIND(push_memory, "push of memory, both in the window", ON_STACK("push (%rsi)"), PATTERN, A + 3, B, 0, NO_FLAGS, 0)  \
  KIND(pop, "pop, stack in the window", ON_STACK("pop %rax"), PATTERN, A + 3, 0, 0, NO_FLAGS, 0)                       \
  KIND(pop_memory, "pop to memory, both in the window", ON_STACK("pop (%rsi)"), PATTERN, A + 3, B, 0, NO_FLAGS, 0)     \
  KIND(pushf, "pushf, stack in the window", ON_STACK("pushfq" WITHOUT_IF), PATTERN, A + 3, 0, 0, NO_FLAGS, 0)          \
  KIND(popf, "popf, stack in the window", ON_STACK("popfq"), FLAGS, A + 3, 0, 0, ALL_FLAGS, 0)                         \
  KIND(leave, "leave, stack in the window", "mov %rbp, %r9\n\tmov %rsp, %r10\n\tmov %rdi, %rbp\n\tleave\n\t"           \
       "mov %rbp, %rax\n\tmov %r9, %rbp\n\tmov %r10, %rsp", PATTERN, A + 3, 0, 0, NO_FLAGS, 0)                         \
  KIND(call, "call, stack in the window", ON_STACK("call landing"), PATTERN, A + 3, 0, 0, ALL_FLAGS, 0)                \
  KIND(ret, "ret, stack in the window", "mov %rsp, %rbp\n\tmov %rdi, %rsp", RETURN, A + 3, 0, 0, ALL_FLAGS, 0)         \
  KIND(call_through, "call through memory", "call *(%rdi)", POINTER, A + 3, 0, 0, ALL_FLAGS, 0)                        \
  KIND(jmp_through, "jmp through memory", "jmp *(%rdi)", POINTER, A + 3, 0, 0, ALL_FLAGS, 0)                           \
  KIND(call_twice, "call through memory, stack in the window", "mov %rsp, %rbp\n\tmov %rsi, %rsp\n\t"                  \
       "call *(%rdi)\n\tmov %rbp, %rsp", POINTER, A + 3, B, 0, ALL_FLAGS, 0)
#define CROSSINGS(KIND)                                                                                                \
  KIND(cross_load_2, "load of 2 bytes across", "mov (%rdi), %ax", PATTERN, 0x2fff, 0, 0, NO_FLAGS, CROSSING)           \
  KIND(cross_load_4, "load of 4 bytes across", "mov (%rdi), %eax", PATTERN, 0x2ffd, 0, 0, NO_FLAGS, CROSSING)          \
  KIND(cross_load_8, "load of 8 bytes across", "mov (%rdi), %rax", PATTERN, 0x2ffd, 0, 0, NO_FLAGS, CROSSING)          \
  KIND(cross_load_16, "load of 16 bytes across", "movups (%rdi), %xmm0\n\tmovups %xmm0, (%rsi)", PATTERN, 0x2ff5,      \
       IN_SCRATCH, 0, NO_FLAGS, CROSSING)                                                                              \
  KIND(cross_store_2, "store of 2 bytes across", "mov %ax, (%rdi)", PATTERN, 0x2fff, 0, 0, NO_FLAGS, CROSSING)         \
  KIND(cross_store_4, "store of 4 bytes across", "mov %eax, (%rdi)", PATTERN, 0x2ffd, 0, 0, NO_FLAGS, CROSSING)        \
  KIND(cross_store_8, "store of 8 bytes across", "mov %rax, (%rdi)", PATTERN, 0x2ffb, 0, 0, NO_FLAGS, CROSSING)        \
  KIND(cross_store_16, "store of 16 bytes across", "movups (%rsi), %xmm0\n\tmovups %xmm0, (%rdi)", PATTERN, 0x2ff5,    \
       IN_SCRATCH, 0, NO_FLAGS, CROSSING)                                                                              \
  KIND(cross_add_2, "add of 2 bytes across", "add %ax, (%rdi)", PATTERN, 0x2fff, 0, 0, ALL_FLAGS, CROSSING)            \
  KIND(cross_add_4, "add of 4 bytes across", "add %eax, (%rdi)", PATTERN, 0x2ffe, 0, 0, ALL_FLAGS, CROSSING)           \
  KIND(cross_add_8, "add of 8 bytes across", "add %rax, (%rdi)", PATTERN, 0x2ffd, 0, 0, ALL_FLAGS, CROSSING)           \
  KIND(cross_xadd, "xadd across", "xadd %rax, (%rdi)", PATTERN, 0x2ffb, 0, 0, ALL_FLAGS, CROSSING)                     \
  KIND(cross_lock_xadd, "lock xadd across", "lock xadd %rax, (%rdi)", PATTERN, 0x2ffb, 0, 0, ALL_FLAGS, CROSSING)      \
  KIND(cross_push, "push across, stack in the window", ON_STACK("push %rax"), PATTERN, 0x3003, 0, 0, NO_FLAGS,         \
       CROSSING)                                                                                                       \
  KIND(cross_call, "call through memory across", "call *(%rdi)", POINTER, 0x2ffb, 0, 0, ALL_FLAGS, CROSSING)
#define FETCHES(KIND)                                                                                                  \
  KIND(fetch, "fetch", "add $0x1234567, %rax", CODE, A, 0, 0, ALL_FLAGS, 0)                                            \
  KIND(fetch_load, "fetch, then load and store", "mov (%rsi), %rdx\n\tadd %rdx, 8(%rsi)", CODE, A, B, 0, ALL_FLAGS, 0) \
  KIND(fetch_own, "fetch, then add in the same page", "add %rax, 0x100(%rdi)", CODE, A, 0, 0, ALL_FLAGS, 0)            \
  KIND(fetch_on, "fetch on to the next page", "add %rbx, %rax", CODE, 0x2ffd, 0, 0, ALL_FLAGS, 0) /* 3 bytes */        \
  KIND(cross_fetch, "fetch across", "movabs $0x1122334455667788, %rdx", CODE, 0x2ffb, 0, 0, NO_FLAGS,                  \
       CROSSING | FAULT_ONLY)
#define WALKS(KIND)                                                                                                    \
  KIND(table_load, "load, page table in the window", "mov (%rsi), %rax", PAGE_TABLE, 0x2000, WALKED + 0x123, 0,        \
       NO_FLAGS, FAULT_ONLY)                                                                                           \
  KIND(table_store, "store, page table in the window", "mov %rax, (%rsi)", PAGE_TABLE, 0x2000, WALKED + 0x123, 0,      \
       NO_FLAGS, FAULT_ONLY)                                                                                           \
  KIND(table_add, "add, page table in the window", "add %rax, (%rsi)", PAGE_TABLE, 0x2000, WALKED + 0x123, 0,          \
       ALL_FLAGS, FAULT_ONLY)                                                                                          \
  KIND(table_cross, "store across, page table in the window", "mov %rax, (%rsi)", PAGE_TABLE, 0x2000, WALKED + 0xffd,  \
       0, NO_FLAGS, FAULT_ONLY)                                                                                        \
  KIND(directory_load, "load, page directory in the window", "mov (%rsi), %rax", DIRECTORY, 0x2000, WALKED + 0x123,    \
       0, NO_FLAGS, FAULT_ONLY)                                                                                        \
  KIND(directory_store, "store, page directory in the window", "mov %rax, (%rsi)", DIRECTORY, 0x2000, WALKED + 0x123,  \
       0, NO_FLAGS, FAULT_ONLY)                                                                                        \
  KIND(all_load, "load, both tables and data in the window", "mov (%rsi), %rax", ALL_TABLES, 0x2000, WALKED + 0x123,   \
       0, NO_FLAGS, FAULT_ONLY)                                                                                        \
  KIND(all_xadd, "lock xadd, both tables and data in the window", "lock xadd %rax, (%rsi)", ALL_TABLES, 0x2000,        \
       WALKED + 0x128, 0, ALL_FLAGS, FAULT_ONLY)                                                                       \
  KIND(all_cross, "add across, both tables and data in the window", "add %rax, (%rsi)", ALL_TABLES, 0x2000,            \
       WALKED + 0xffd, 0, ALL_FLAGS, FAULT_ONLY)                                                                       \
  KIND(all_fetch, "fetch, both tables and code in the window", "add %rsi, %rax", MAPPED_CODE, 0x2000, WALKED, 0,       \
       ALL_FLAGS, FAULT_ONLY)

struct kind {
  const char *name;
  const void *code;
  enum setup setup;
  uint32_t a;
  uint64_t b, count;
  uint32_t flags, options;
};

#define DEFINE(id, name, instructions, ...)                                                                            \
  __attribute__((naked)) static void kind_##id(void) { asm(instructions "\n\tret"); }
#define ENTRY(id, name, instructions, ...) {name, kind_##id, __VA_ARGS__},
#define GROUP(kinds, name)                                                                                             \
  kinds(DEFINE) static const struct kind name[] = {kinds(ENTRY)}

GROUP(MOVES, moves);
GROUP(CHANGES, changes);
GROUP(LOCKED, locked);
GROUP(STRINGS, strings);
GROUP(STACKS, stacks);
GROUP(CROSSINGS, crossings);
GROUP(FETCHES, fetches);
GROUP(WALKS, walks);

#define COUNTED(name, group) {name, group, sizeof group / sizeof *group}
static const struct group {
  const char *name;
  const struct kind *kinds;
  unsigned count;
} groups[] = {
    COUNTED("loads and stores", moves),
    COUNTED("changes", changes),
    COUNTED("locked", locked),
    COUNTED("strings", strings),
    COUNTED("stacks, calls and jumps", stacks),
    COUNTED("across a page boundary", crossings),
    COUNTED("fetches", fetches),
    COUNTED("page walks", walks),
};
