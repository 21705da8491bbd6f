; A disk that a PC's firmware boots: one sector loads the rest, which asks the firmware for what it has to offer.
;
; Everything goes through software interrupts: 10h text, 13h disk, 15h memory map, 16h keyboard, 1Ah clock.

bits 16
org 0x7c00

SECTOR           equ 512
STAGE2_SECTORS   equ 2
LAST_SECTOR      equ 1 + STAGE2_SECTORS ; counted from 0
BY_NUMBER        equ 0x9000             ; where the last sector is read to, once by its number
BY_CHS           equ 0x9200             ; and once by cylinder, head and sector
MAP_ENTRY        equ 0x9400
SMAP             equ 0x534d4150
TICK_POLLS       equ 1000000            ; a tick comes every 55 ms
EXIT_PORT        equ 0xf4

; ---- Sector 0: loaded at 0000:7c00 with the drive's number in dl

        jmp     0:stage1                ; some firmware enters at 07c0:0000
stage1:
        xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7c00
        sti
        cld
        mov     [drive], dl
        mov     si, text_stage1
        call    print

        mov     bx, stage2              ; read STAGE2_SECTORS from cylinder 0, head 0, sector 2
        mov     cl, 2
        mov     al, STAGE2_SECTORS
        call    read_chs
        jmp     stage2

; Reads al sectors from sector cl (counted from 1) of cylinder 0, head 0 to bx.
read_chs:
        mov     ah, 0x02
        mov     ch, 0
        mov     dh, 0
        mov     dl, [drive]
        int     0x13
        mov     si, text_no_chs
        jc      fail
        ret

; Prints the zero-terminated text at si and ends with status 1.
fail:
        call    print
        mov     al, 1
exit:
        out     EXIT_PORT, al
        cli
        hlt

; Prints the zero-terminated text at si.
print:
        lodsb
        test    al, al
        jz      .end
        call    print_character
        jmp     print
.end:   ret

print_character:
        push    si
        mov     ah, 0x0e                ; teletype
        mov     bx, 0x0007
        int     0x10
        pop     si
        ret

drive:          db 0
text_stage1:    db "bootsector: stage 1, loaded by the firmware", 10, 0
text_no_chs:    db "bootsector: int 13h, function 02h failed", 10, 0

        times   SECTOR - 2 - ($ - $$) db 0
        dw      0xaa55

; ---- Sectors 1 and 2

stage2:
        mov     si, text_stage2
        call    print

        ; The same sector, read in two ways.
        mov     ah, 0x41                ; are there extensions?
        mov     bx, 0x55aa
        mov     dl, [drive]
        int     0x13
        mov     si, text_no_extensions
        jc      fail
        cmp     bx, 0xaa55
        jne     fail
        mov     ah, 0x42
        mov     si, packet
        mov     dl, [drive]
        int     0x13
        mov     si, text_no_extended
        jc      fail
        mov     si, BY_NUMBER
        call    print
        mov     bx, BY_CHS
        mov     cl, LAST_SECTOR + 1
        mov     al, 1
        call    read_chs
        mov     si, BY_NUMBER
        mov     di, BY_CHS
        mov     cx, SECTOR / 2
        repe cmpsw
        mov     si, text_differs
        jne     fail

        ; The memory map, entry by entry; ebx is 0 before the first and after the last.
        xor     ebx, ebx
.entry: mov     eax, 0xe820
        mov     edx, SMAP
        mov     ecx, 20
        mov     di, MAP_ENTRY
        int     0x15
        mov     si, text_no_map
        jc      fail
        cmp     eax, SMAP
        jne     fail
        push    ebx
        call    print_entry
        pop     ebx
        test    ebx, ebx
        jnz     .entry

        ; The clock goes on.
        call    ticks
        mov     ebp, edx
        mov     edi, TICK_POLLS
.poll:  call    ticks
        cmp     edx, ebp
        jne     .ticked
        dec     edi
        jnz     .poll
        mov     si, text_no_ticks
        jmp     fail
.ticked:
        mov     si, text_ticks
        call    print

        ; Nobody has typed anything: ZF set.
        mov     ah, 0x01
        int     0x16
        mov     si, text_no_key
        jz      .no_key
        mov     si, text_key
.no_key:
        call    print

        mov     si, text_verdict
        call    print
        xor     al, al
        jmp     exit

; The number of ticks since midnight, in edx.
ticks:
        push    ebp
        push    edi
        mov     ah, 0x00
        int     0x1a
        movzx   edx, dx
        shl     ecx, 16
        or      edx, ecx                ; cx holds the upper half
        pop     edi
        pop     ebp
        ret

print_entry:
        mov     si, text_entry
        call    print
        mov     eax, [MAP_ENTRY + 4]
        call    print_hex
        mov     eax, [MAP_ENTRY]
        call    print_hex
        mov     si, text_size
        call    print
        mov     eax, [MAP_ENTRY + 12]
        call    print_hex
        mov     eax, [MAP_ENTRY + 8]
        call    print_hex
        mov     si, text_type
        call    print
        mov     al, [MAP_ENTRY + 16]
        add     al, '0'
        call    print_character
        mov     al, 10
        jmp     print_character

; Prints eax as eight hexadecimal digits.
print_hex:
        mov     cx, 8
.digit: rol     eax, 4
        push    eax
        push    cx
        and     al, 0x0f
        cmp     al, 10
        jb      .decimal
        add     al, 'a' - '0' - 10
.decimal:
        add     al, '0'
        call    print_character
        pop     cx
        pop     eax
        loop    .digit
        ret

        align   4
packet:
        db      16, 0                   ; size of this packet
        dw      1                       ; sectors
        dw      BY_NUMBER, 0            ; offset and segment
        dq      LAST_SECTOR

text_stage2:        db "bootsector: stage 2, read by cylinder, head and sector", 10, 0
text_no_extensions: db "bootsector: int 13h, function 41h knows no extensions", 10, 0
text_no_extended:   db "bootsector: int 13h, function 42h failed", 10, 0
text_differs:       db "bootsector: one sector, read in two ways, differs", 10, 0
text_no_map:        db "bootsector: int 15h, function e820h failed", 10, 0
text_entry:         db "memory map: 0x", 0
text_size:          db ", 0x", 0
text_type:          db " bytes, type ", 0
text_no_ticks:      db "bootsector: int 1ah, function 00h: the clock stands still", 10, 0
text_ticks:         db "bootsector: the clock ticks", 10, 0
text_no_key:        db "bootsector: no key is waiting", 10, 0
text_key:           db "bootsector: a key is waiting", 10, 0
text_verdict:       db "bootsector: the firmware answers", 10, 0

        times   SECTOR * LAST_SECTOR - ($ - $$) db 0

; ---- The last sector

        db      "bootsector: the last sector, read by its number", 10, 0
        times   SECTOR * (LAST_SECTOR + 1) - ($ - $$) db 0
