; The BIOS of boot sectors and flat images: its layout in segment 0xf000, and the parameters that bios_segments.ts fills in.
; `deno run tools/native.ts` assembles it and the parts in bios/ into bios.ts.
; Everything runs in real mode with the segment's own memory as variables; the console is COM1.

bits 16
cpu 686
org 0

%define BIOS_SEGMENT 0xf000
%define BDA 0x40                        ; segment of the BIOS data area
%define EBDA_SEGMENT 0x9fc0
%define E820_ENTRY_BYTES 20
%define E820_ENTRIES 16

; The header and parameters: offsets are known to bios_segments.ts.
header:
        dw start                        ; 0  where vCPU 0 begins
        dw E820_ENTRIES                 ; 2  room in the table below
com1_port:      dw 0                    ; 4
sleep_port:     dw 0                    ; 6  ACPI sleep control register
sleep_value:    db 0                    ; 8
boots_flat:     db 0                    ; 9  1: start at flat_entry; 0: read the boot sector
flat_entry:     dw 0, 0                 ; 10 offset, segment
drive_number:   db 0                    ; 14 0x80 hard disk, 0x00 diskette
diskette_type:  db 0                    ; 15 as CMOS and int 13h AH=08h number them; 0 for a hard disk
disk_address:   dd 0                    ; 16 physical
disk_sectors:   dd 0                    ; 20 0: no drive at all
disk_cylinders: dw 0                    ; 24
disk_heads:     dw 0                    ; 26
disk_track:     dw 0                    ; 28 sectors in a track
e820_count:     dw 0                    ; 30
below_16m:      dw 0                    ; 32 KiB of RAM from 1 MiB up to 16 MiB
above_16m:      dw 0                    ; 34 64 KiB blocks of RAM from 16 MiB on
e820_table:     times E820_ENTRIES * E820_ENTRY_BYTES db 0      ; 36

; A service saves everything, has DS = this segment and ES = the BDA, and finds its caller's registers at BP.
%macro ENTER_SERVICE 0
        cld
        pushad
        push ds
        push es
        mov bp, sp
        push cs
        pop ds
        push word BDA
        pop es
%endmacro

%define CALLER_ES bp + 0
%define CALLER_DS bp + 2
%define CALLER_DI bp + 4
%define CALLER_SI bp + 8
%define CALLER_BP bp + 12
%define CALLER_BX bp + 20
%define CALLER_DX bp + 24
%define CALLER_CX bp + 28
%define CALLER_AX bp + 32
%define CALLER_AL bp + 32
%define CALLER_AH bp + 33
%define CALLER_FLAGS bp + 40
%define CARRY 0x01
%define ZERO 0x40
%define INTERRUPTS 0x02                 ; in the flags' second byte

%macro LEAVE_SERVICE 0
        pop es
        pop ds
        popad
        iret
%endmacro

; if AH is %1, go to %2
%macro FUNCTION 2
        cmp ah, %1
        je near %2
%endmacro

leave_with_carry:
        or byte [CALLER_FLAGS], CARRY
        LEAVE_SERVICE
leave_without_carry:
        and byte [CALLER_FLAGS], ~CARRY
leave_as_is:
        LEAVE_SERVICE

%include "bios/start.asm"
%include "bios/interrupts.asm"
%include "bios/console.asm"
%include "bios/keyboard.asm"
%include "bios/disk.asm"
%include "bios/memory.asm"
%include "bios/system.asm"
