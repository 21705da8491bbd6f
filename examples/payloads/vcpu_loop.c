/* The turn of a vCPU thread's loop, in place of src/linux/native.asm's: it counts how often the guest is entered. */

#include "livepatch.h"

/* rbx is the struct thread: its vCPU's descriptor is at 0, its clock at 16. */
void enter(void);
asm(".globl enter\n"
    ".type enter, @function\n"
    "enter: lock incq entries(%rip)\n"
    "mov (%rbx), %edi\n"
    "lea 16(%rbx), %rsi\n"
    "call xl_run\n"
    "jmp xl_vcpu_left\n"
    ".size enter, . - enter");

long entries;

REPLACE(enter, "xl_vcpu_enter", 11, .new_addr = enter);
