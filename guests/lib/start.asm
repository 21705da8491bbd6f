; The way from PVH's 32-bit entry to main() in 64-bit code, and the tables that both the first and later vCPUs use.

%include "long_mode.inc"

PRESENT     equ 1 << 0
WRITABLE    equ 1 << 1
LARGE       equ 1 << 7
STACK_BYTES equ 16384

        extern  main, exit
        global  start32, gdt, page_map, start_info

; XEN_ELFNOTE_PHYS32_ENTRY: the loader enters here in 32-bit mode without paging, ebx holding the start information.
section .note.Xen note alloc noexec nowrite align=4
        dd      4, 8, 18                ; name size, value size, type
        db      "Xen", 0
        dq      start32

section .text.start progbits alloc exec nowrite align=16
bits 32
start32:
        lgdt    [gdt_pointer]
        mov     eax, CR4_PAE            ; PVH enters with cr4 = 0
        mov     cr4, eax
%assign gib 0
%rep 4
        mov     dword [page_pointers + gib * 8], page_directories + gib * 4096 + (PRESENT | WRITABLE)
%assign gib gib + 1
%endrep
        mov     eax, page_map
        mov     dword [eax], page_pointers + (PRESENT | WRITABLE)
        mov     cr3, eax
        mov     ecx, EFER
        rdmsr
        or      eax, EFER_LME
        wrmsr
        mov     eax, cr0
        or      eax, CR0_PG
        mov     cr0, eax
        jmp     CODE64:start64

bits 64
start64:
        mov     eax, DATA               ; iretq reloads ss from this table, so it must be a selector of this table
        mov     ss, eax
        mov     ds, eax
        mov     es, eax
        mov     esp, stack_top
        mov     [start_info], rbx
        xor     ebp, ebp
        call    main
        mov     edi, eax
        call    exit

section .data align=4096
; The first 4 GiB, one to one in 2 MiB pages. They are data in the image and not a loop at the start, because 2048
; entries at four instructions each take 6 ms where an emulator needs most of a microsecond for every one of them.
page_directories:
%assign address 0
%rep 2048
        dq      address | PRESENT | WRITABLE | LARGE
%assign address address + 0x200000
%endrep

gdt:
        dq      0
        dq      0x00af9b000000ffff      ; CODE64: L, present, execute and read, accessed
        dq      0x00cf93000000ffff      ; DATA: flat, present, read and write, accessed
gdt_end:
gdt_pointer:
        dw      gdt_end - gdt - 1
        dd      gdt

section .bss align=4096
page_map:
        resq    512
page_pointers:
        resq    512
        resb    STACK_BYTES
stack_top:
start_info:
        resq    1
