; From the first instruction to the image's: interrupt vectors, data area, interrupt controllers, timer, then the boot.

%define BOOT_ADDRESS 0x7c00
%define PIC_1 0x20
%define PIC_2 0xa0
%define PIT_CHANNEL_0 0x40
%define PIT_COMMAND 0x43
%define END_OF_INTERRUPT 0x20

start:
        cli
        cld
        xor ax, ax
        mov ss, ax
        mov sp, BOOT_ADDRESS
        push cs
        pop ds
        call set_vectors
        call set_data_area
        call set_controllers
        call set_serial
        call set_tick_count
        sti
        cmp byte [boots_flat], 0
        je int19
        jmp start_flat

set_vectors:
        xor di, di
        mov es, di
        mov cx, 256
.every: mov ax, unused_vector
        stosw
        mov ax, cs
        stosw
        loop .every
        mov si, vectors
.next:  lodsb
        xor ah, ah
        mov di, ax
        shl di, 2
        lodsw
        mov [es:di], ax
        cmp si, vectors_end
        jb .next
        ret

%macro VECTOR 2
        db %1
        dw %2
%endmacro

vectors:
%assign number 0
%rep 8
        VECTOR number, exception_ %+ number
        %assign number number + 1
%endrep
        VECTOR 0x08, timer_tick
%assign number 9
%rep 7
        VECTOR number, line_ %+ number
        %assign number number + 1
%endrep
        VECTOR 0x10, int10
        VECTOR 0x11, int11
        VECTOR 0x12, int12
        VECTOR 0x13, int13
        VECTOR 0x14, int14
        VECTOR 0x15, int15
        VECTOR 0x16, int16
        VECTOR 0x17, int17
        VECTOR 0x18, int18
        VECTOR 0x19, int19
        VECTOR 0x1a, int1a
        VECTOR 0x1e, diskette_table
%assign number 0x70
%rep 8
        VECTOR number, second_line
        %assign number number + 1
%endrep
vectors_end:

; Fields of the BIOS data area as every PC has them, and the size that an EBDA begins with.
set_data_area:
        mov ax, BDA
        mov es, ax
        xor di, di
        xor ax, ax
        mov cx, 128
        rep stosw
        mov ax, [com1_port]
        mov [es:0x00], ax
        mov word [es:0x0e], EBDA_SEGMENT
        mov ax, 0x0222                  ; one serial port, 80x25 text, x87
        cmp dword [disk_sectors], 0
        je .no_drive
        cmp byte [drive_number], 0
        jne .hard_disk
        or al, 1
        jmp .no_drive
.hard_disk:
        mov byte [es:0x75], 1
.no_drive:
        mov [es:0x10], ax
        mov word [es:0x13], 639
        mov word [es:0x1a], 0x1e        ; keyboard buffer: head, tail, start, end
        mov word [es:0x1c], 0x1e
        mov word [es:0x80], 0x1e
        mov word [es:0x82], 0x3e
        mov byte [es:0x49], 3           ; video mode, columns, size of a page, cursor's shape, CRTC, last row, font
        mov word [es:0x4a], 80
        mov word [es:0x4c], 4096
        mov word [es:0x60], 0x0607
        mov word [es:0x63], 0x3d4
        mov byte [es:0x84], 24
        mov word [es:0x85], 16
        mov byte [es:0x7c], 1           ; time-out of COM1
        mov ax, EBDA_SEGMENT
        mov es, ax
        mov byte [es:0], 1
        ret

; 8259A: vectors 08h and 70h, cascade at 2, only the timer open. 8254: channel 0 counts 65536, that is 18.2 Hz; mode 2
; rather than 3, so that the counter goes by ones and int 15h AH=86h can measure with it.
set_controllers:
        mov al, 0x11
        out PIC_1, al
        out PIC_2, al
        mov al, 0x08
        out PIC_1 + 1, al
        mov al, 0x70
        out PIC_2 + 1, al
        mov al, 4
        out PIC_1 + 1, al
        mov al, 2
        out PIC_2 + 1, al
        mov al, 1
        out PIC_1 + 1, al
        out PIC_2 + 1, al
        mov al, 0xfa
        out PIC_1 + 1, al
        mov al, 0xff
        out PIC_2 + 1, al
        mov al, 0x34
        out PIT_COMMAND, al
        xor al, al
        out PIT_CHANNEL_0, al
        out PIT_CHANNEL_0, al
        ret

; Registers are cleared so that nothing of ours is taken for a parameter.
%macro CLEAR_REGISTERS 0
        xor eax, eax
        mov ebx, eax
        mov ecx, eax
        mov edx, eax
        mov esi, eax
        mov edi, eax
        mov ebp, eax
%endmacro

; The image's only segment is everything; interrupts stay off, as nothing is there yet that expects one.
start_flat:
        cli
        mov ax, [flat_entry + 2]
        mov es, ax
        mov ss, ax
        mov esp, 0
        push es                         ; the entry for the far return, which leaves SP at 0 again
        push word [flat_entry]
        mov ds, ax
        CLEAR_REGISTERS
        retf

; Int 19h: reads the first sector and enters it.
int19:
        cli
        cld
        xor ax, ax
        mov ss, ax
        mov esp, BOOT_ADDRESS
        push cs
        pop ds
        cmp dword [disk_sectors], 0
        je int18
        mov esi, [disk_address]
        mov edi, BOOT_ADDRESS
        mov ecx, 512
        call copy_physical
        xor ax, ax
        mov es, ax
        cmp word [es:BOOT_ADDRESS + 510], 0xaa55
        jne int18
        CLEAR_REGISTERS
        mov dl, [drive_number]
        mov ds, ax
        sti
        jmp 0:BOOT_ADDRESS

; Int 18h: nothing to boot, or the image gave up.
int18:
        cli
        push cs
        pop ds
        push word BDA
        pop es
        mov si, no_boot_message
        call print_line
        jmp crash

no_boot_message: db "nothing left to boot", 0
