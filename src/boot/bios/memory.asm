; Copies by physical address, and the services of int 15h about memory.

%define FLAT_DATA 0x10

; ECX bytes from physical ESI to EDI. Interrupts are off. Protected mode is entered for the copy alone; its 4 GiB limits
; stay behind in DS and ES, as "unreal" loaders who call us expect to find them.
copy_physical:
        push ds
        push es
        o32 sgdt [cs:caller_gdt]
        o32 lgdt [cs:gdt_pointer]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp 0x08:.protected
.protected:
        mov ax, FLAT_DATA
        mov ds, ax
        mov es, ax
        mov eax, ecx
        shr ecx, 2
        a32 rep movsd
        mov ecx, eax
        and ecx, 3
        a32 rep movsb
        mov eax, cr0
        and al, 0xfe
        mov cr0, eax
        jmp BIOS_SEGMENT:.real
.real:  o32 lgdt [cs:caller_gdt]
        pop es
        pop ds
        ret

        align 8
gdt:    dq 0
        dq 0x00009b0f0000ffff           ; 08: this segment, 16-bit code
        dq 0x00cf93000000ffff           ; 10: 4 GiB of data
gdt_pointer:
        dw gdt_pointer - gdt - 1
        dd (BIOS_SEGMENT << 4) + gdt
caller_gdt:
        dw 0
        dd 0

; AH=87h: CX words between the addresses in the third and fourth descriptor at the caller's ES:SI
block_move:
        push es
        mov es, [CALLER_ES]
        movzx ecx, cx
        add ecx, ecx
        mov bx, si
        add bx, 0x10
        call .base
        mov esi, edi
        add bx, 8
        call .base
        pop es
        call copy_physical
        mov byte [CALLER_AH], 0
        jmp leave_without_carry
.base:  mov edi, [es:bx + 2]
        and edi, 0x00ffffff
        movzx eax, byte [es:bx + 7]
        shl eax, 24
        or edi, eax
        ret

; AH=88h: KiB above 1 MiB in 16 bits
extended_memory:
        mov ax, [above_16m]
        cmp ax, (0xffff - 0x3c00) >> 6
        jb .fits
        mov ax, (0xffff - 0x3c00) >> 6
.fits:  shl ax, 6
        add ax, [below_16m]
        mov [CALLER_AX], ax
        jmp leave_without_carry

; AX=E801h: KiB up to 16 MiB in AX and CX, 64 KiB blocks above it in BX and DX
memory_sizes:
        mov ax, [below_16m]
        mov [CALLER_AX], ax
        mov [CALLER_CX], ax
        mov ax, [above_16m]
        mov [CALLER_BX], ax
        mov [CALLER_DX], ax
        jmp leave_without_carry

; AX=E820h: entry EBX of the memory map to ES:DI (ACPI 6.5, 15.1)
memory_map:
        cmp edx, 'PAMS'                 ; "SMAP" with its first letter in the highest byte
        jne near unsupported
        cmp ecx, E820_ENTRY_BYTES
        jb near unsupported
        movzx eax, word [e820_count]
        cmp ebx, eax
        jae near unsupported
        push es
        mov es, [CALLER_ES]
        mov si, bx
        imul si, si, E820_ENTRY_BYTES
        add si, e820_table
        mov cx, E820_ENTRY_BYTES
        rep movsb
        pop es
        inc ebx
        cmp ebx, eax
        jb .more
        xor ebx, ebx
.more:  mov [CALLER_BX], ebx
        mov [CALLER_AX], edx
        mov dword [CALLER_CX], E820_ENTRY_BYTES
        jmp leave_without_carry
