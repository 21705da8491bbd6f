; The oldest way to start: a flat image of 16-bit code, loaded at 0x10000 and entered at 1000:0000.

bits 16
org 0

TRANSMIT          equ 0x3f8             ; COM1
LINE_STATUS       equ 0x3fd
TRANSMITTER_EMPTY equ 0x20
EXIT_PORT         equ 0xf4

        mov     ax, cs                  ; the image is all in one segment, the one it was entered in
        mov     ds, ax
        mov     si, text
        cld
next:   lodsb
        test    al, al
        jz      done
        mov     ah, al
        mov     dx, LINE_STATUS
wait_:  in      al, dx
        test    al, TRANSMITTER_EMPTY
        jz      wait_
        mov     al, ah
        mov     dx, TRANSMIT
        out     dx, al
        jmp     next

done:   xor     al, al
        out     EXIT_PORT, al
        cli
        hlt

text:   db      "Hello from 16 bits", 10, 0
