; The header by which a Multiboot 1 loader knows the image, and the few instructions from its entry to main().

MAGIC       equ 0x1badb002
FLAGS       equ 1 << 0 | 1 << 1         ; modules on page boundaries, and memory information
STACK_BYTES equ 16384

        extern  main, exit
        global  start32

section .multiboot progbits alloc noexec nowrite align=4
        dd      MAGIC, FLAGS, -(MAGIC + FLAGS)

section .text.start progbits alloc exec nowrite align=16
bits 32
start32:
        mov     esp, stack_top
        xor     ebp, ebp
        push    ebx                     ; main(magic, information)
        push    eax
        call    main
        push    eax
        call    exit

section .bss nobits align=16
        resb    STACK_BYTES
stack_top:
