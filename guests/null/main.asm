; The shortest life of a guest: a whole ELF file in 142 bytes, entered by PVH in 32-bit mode, whose one act is to exit
; with status 0. What a run of it costs is what Xenolith itself costs.

bits 32
org 0x100000

EXIT_PORT equ 0xf4

file:
        ; ELF header (System V ABI, chapter 4): 32-bit, little-endian, executable, 80386
        db      0x7f, "ELF", 1, 1, 1, 0
        times   8 db 0
        dw      2, 3
        dd      1, start, segments - file, 0, 0
        dw      segments - file, 32, 2, 40, 0, 0

segments:
        ; PT_LOAD: the whole file where it was assembled for; read and execute
        dd      1, 0, file, file, file_size, file_size, 5, 0x1000
        ; PT_NOTE
        dd      4, note - file, note, note, note_size, note_size, 4, 4

note:   dd      4, 4, 18                ; XEN_ELFNOTE_PHYS32_ENTRY
        db      "Xen", 0
        dd      start
note_size equ $ - note

start:  xor     eax, eax
        out     EXIT_PORT, al
        cli
        hlt
file_size equ $ - file
