// Running a function at CPL3, for guests that need it: where KVM is software, CPL3 code runs on the processor itself.
//
// A header and not a part of the library: only guests that include it pay for it.
#pragma once

#include "guest.h"

enum { USER_TASK = 5, USER_DESCRIPTORS = 7, USER_BIT = 0x04, USER_PAGE_FLAGS = 0x07 };

// What one vCPU needs in order to come back from CPL3: segments, and a task state that names the stack.
struct user_context {
  uint64_t descriptors[USER_DESCRIPTORS];
  uint8_t task[104];
} __attribute__((aligned(16)));

enum { USER_RSP0 = 4 };  // in `task`

// Calls function(argument) at CPL3 on this vCPU's own stack, below a gap; `flags` are the flags it starts with.
void user_call(void (*function)(uint64_t), uint64_t argument, struct user_context *context, uint64_t flags);
void user_return(void);

// For the guest to define: what happens if an instruction at `address` is invalid that is not ours.
_Noreturn void user_invalid_instruction(uint64_t address);

// It comes back by ud2 and not by syscall, whose target finds itself at CPL3 still where KVM is software (6.18).
asm(".text\n"
    "user_call:\n"
    "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "  sub $8, %rsp\n"
    "  mov %rsp, 60(%rdx)\n"  // RSP0 of the task state: where the processor puts the frame of ud2
    "  mov %rdi, %rax\n"
    "  mov %rsi, %rdi\n"
    "  lea -64(%rsp), %rdx\n"
    "  pushq $0x1b; push %rdx; push %rcx; pushq $0x23; pushq $1f\n"
    "  iretq\n"
    "1: call *%rax\n"
    "2: ud2\n"
    "user_return:\n"
    "  mov (%rsp), %rdi\n"
    "  cmp $2b, %rdi\n"
    "  jne user_invalid_instruction\n"
    "  add $48, %rsp\n"  // that frame, and the 8 bytes above
    "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "  ret\n");
_Static_assert(offsetof(struct user_context, task) + USER_RSP0 == 60, "as in user_call");

// To be called once on each vCPU that calls user_call(). Calls interrupts_init(); the gate of ud2 is taken then.
static void user_init(struct user_context *context) {
  enum { UNDEFINED_INSTRUCTION = 6 };
  struct {
    uint16_t limit;
    uint64_t base;
  } __attribute__((packed)) pointer = {sizeof context->descriptors - 1, (uint64_t)context->descriptors};
  uint64_t task = (uint64_t)context->task;
  context->descriptors[1] = 0x00af9b000000ffff;  // 0x08 and 0x10: as in start.asm
  context->descriptors[2] = 0x00cf93000000ffff;
  context->descriptors[3] = 0x00cff3000000ffff;  // 0x18: data, and 0x20: 64-bit code, both for CPL3
  context->descriptors[4] = 0x00affb000000ffff;
  context->descriptors[USER_TASK] =
      0x0000890000000000 | (sizeof context->task - 1) | (task & 0xffffff) << 16 | (task & 0xff000000) << 32;
  asm volatile("lgdt %0\n\tltr %w1" : : "m"(pointer), "r"(USER_TASK * 8) : "memory");
  interrupts_init();
  interrupt_gate(UNDEFINED_INSTRUCTION, (interrupt_handler *)(void *)user_return);
}

// Lets CPL3 use memory anywhere, and this image. Returns where that memory is: what lies beyond 4 GiB is seen through a
// window of 1 GiB, and null if it does not fit in there. To be called once, before other vCPUs start.
static uint8_t *user_map(uint64_t address, uint64_t size) {
  enum { LARGE_PAGE = 0x200000, LARGE = 0x80, ENTRIES = 512, PAGE_MASK = 0xfff };
  static const uint64_t gib = 1ull << 30, mapped_end = 4ull << 30;
  static uint64_t far_directory[ENTRIES] __attribute__((aligned(4096)));
  extern uint8_t image_end[];
  extern uint64_t page_map[];

  uint64_t *pointers = (uint64_t *)(page_map[0] & ~(uint64_t)PAGE_MASK), at = address;
  page_map[0] |= USER_BIT;
  for (unsigned i = 0; i < 4; i++) pointers[i] |= USER_BIT;
  if (address + size > mapped_end) {
    uint64_t start = address & -gib;
    if (address + size > start + gib) return NULL;
    for (unsigned i = 0; i < ENTRIES; i++) {
      far_directory[i] = (start + i * (uint64_t)LARGE_PAGE) | LARGE | USER_PAGE_FLAGS;
    }
    pointers[4] = (uint64_t)far_directory | USER_PAGE_FLAGS;
    at = mapped_end + (address - start);
  }
  for (unsigned part = 0; part < 2; part++) {
    uint64_t from = part ? at & -(uint64_t)LARGE_PAGE : 0, to = part ? at + size : (uint64_t)image_end;
    for (; from < to; from += LARGE_PAGE) {
      uint64_t *directory = (uint64_t *)(pointers[from / gib] & ~(uint64_t)PAGE_MASK);
      directory[from / LARGE_PAGE % ENTRIES] |= USER_BIT;
    }
  }
  asm volatile("mov %0, %%cr3" : : "r"(page_map) : "memory");
  return (uint8_t *)at;
}
