; Where a further vCPU begins after its SIPI: in 16-bit code below 1 MiB, and from there into 64-bit code in one step.

%include "long_mode.inc"

STACK_BYTES equ 1024                    ; as in smp.c

        extern  gdt, page_map, vcpu_stacks, vcpu_tickets, vcpu_main
        global  trampoline, trampoline_end

section .rodata.trampoline progbits alloc noexec nowrite align=16
; Copied to a page of its own: cs is that page, so every address here is an offset from the start.
bits 16
trampoline:
        cli
        o32 lgdt [cs:gdt_pointer - trampoline]
        mov     eax, CR4_PAE
        mov     cr4, eax
        mov     eax, page_map
        mov     cr3, eax
        mov     ecx, EFER
        mov     eax, EFER_LME
        xor     edx, edx
        wrmsr
        mov     eax, CR0_PG | CR0_NE | CR0_ET | CR0_PE  ; long mode at once, without a stop in 32-bit code
        mov     cr0, eax
        jmp     dword CODE64:vcpu_start
gdt_pointer:
        dw      23                      ; three descriptors, see start.asm
        dd      gdt
trampoline_end:

section .text.vcpu_start progbits alloc exec nowrite align=16
bits 64
vcpu_start:
        mov     eax, DATA
        mov     ss, eax
        mov     ds, eax
        mov     es, eax
        mov     eax, 1                  ; a ticket for a stack: all vCPUs may come through here at once
        lock xadd [vcpu_tickets], eax
        inc     eax
        imul    eax, STACK_BYTES
        lea     esp, [rax + vcpu_stacks]
        xor     ebp, ebp
        call    vcpu_main
