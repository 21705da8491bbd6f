; COM1, int 14h, and int 16h with COM1's input as the keyboard, through the buffer in the BIOS data area.

%define UART_INTERRUPTS 1
%define UART_FIFO 2
%define UART_LINE 3
%define UART_MODEM 4
%define UART_STATUS 5
%define UART_MODEM_STATUS 6

set_serial:
        mov dx, [com1_port]
        add dx, UART_LINE
        mov al, 0x80
        out dx, al
        sub dx, UART_LINE
        mov al, 1                       ; 115200 bits a second
        out dx, al
        inc dx
        xor al, al
        out dx, al
        add dx, UART_LINE - 1
        mov al, 3                       ; 8N1
        out dx, al
        dec dx
        mov al, 7                       ; FIFOs on and empty
        out dx, al
        add dx, UART_MODEM - UART_FIFO
        mov al, 3                       ; DTR, RTS
        out dx, al
        ret

; AL to COM1. Changes nothing.
serial_put:
        push dx
        push ax
        mov dx, [cs:com1_port]
        add dx, UART_STATUS
.wait:  in al, dx
        test al, 0x20
        jz .wait
        sub dx, UART_STATUS
        pop ax
        out dx, al
        pop dx
        ret

; A byte from COM1 in AL, or ZF set. Changes DX.
serial_get:
        mov dx, [com1_port]
        add dx, UART_STATUS
        in al, dx
        test al, 1
        jz .none
        sub dx, UART_STATUS
        in al, dx
        or dx, dx                       ; the port is not 0: ZF clear
.none:  ret

; Int 14h on COM1 alone: send, receive, status.
int14:
        ENTER_SERVICE
        or dx, dx
        jnz .absent
        FUNCTION 1, .send
        FUNCTION 2, .receive
        cmp ah, 3
        ja .absent
        mov dx, [com1_port]             ; 00h: the line's speed means nothing here, so that only the status is left
        add dx, UART_STATUS
        in al, dx
        mov [CALLER_AH], al
        inc dx
        in al, dx
        mov [CALLER_AL], al
        LEAVE_SERVICE
.send:  call serial_put
        mov byte [CALLER_AH], 0x60
        LEAVE_SERVICE
.receive:
        mov cx, 0xffff
.poll:  call serial_get
        jnz .received
        loop .poll
.absent:
        mov byte [CALLER_AH], 0x80      ; timed out
        LEAVE_SERVICE
.received:
        mov ah, 0
        mov [CALLER_AX], ax
        LEAVE_SERVICE

int16:
        ENTER_SERVICE
        FUNCTION 0x00, .read
        FUNCTION 0x10, .read
        FUNCTION 0x01, .look
        FUNCTION 0x11, .look
        FUNCTION 0x02, .shift
        FUNCTION 0x12, .shift
        FUNCTION 0x05, .store
        LEAVE_SERVICE

.read:  call fill_keys
        call next_key
        jnz .take
        call wait_for_key
.take:  mov [CALLER_AX], ax
        inc bx
        inc bx
        cmp bx, [es:0x82]
        jb .head
        mov bx, [es:0x80]
.head:  mov [es:0x1a], bx
        LEAVE_SERVICE

.look:  call fill_keys
        call next_key
        jz .empty
        mov [CALLER_AX], ax
        and byte [CALLER_FLAGS], ~ZERO
        LEAVE_SERVICE
.empty: or byte [CALLER_FLAGS], ZERO
        LEAVE_SERVICE

.shift: mov word [CALLER_AX], 0
        LEAVE_SERVICE

.store: mov ax, cx
        call put_key
        setc [CALLER_AL]
        LEAVE_SERVICE

; The key at the head: AX scan code and character, BX its offset in the data area; ZF set if there is none.
next_key:
        mov bx, [es:0x1a]
        mov ax, [es:bx]
        cmp bx, [es:0x1c]
        ret

; Puts AX at the tail; carry if there is no room. Changes BX, DI.
put_key:
        mov di, [es:0x1c]
        mov bx, di
        inc bx
        inc bx
        cmp bx, [es:0x82]
        jb .room
        mov bx, [es:0x80]
.room:  cmp bx, [es:0x1a]
        stc
        je .full
        mov [es:di], ax
        mov [es:0x1c], bx
        clc
.full:  ret

; Sleeps until there is a key. COM1's interrupt is on for the time of the sleep only: images that poll the port
; themselves must not lose input to us.
wait_for_key:
        mov dx, [com1_port]
        inc dx
        in al, dx
        mov [saved_interrupts], al
        add dx, UART_MODEM - UART_INTERRUPTS
        in al, dx
        mov [saved_modem], al
        or al, 8                        ; OUT2 lets the interrupt out of a PC's UART
        out dx, al
        in al, PIC_1 + 1
        mov [saved_mask], al
        and al, ~0x10
        out PIC_1 + 1, al
        mov dx, [com1_port]
        inc dx
        mov al, 1
        out dx, al
.sleep: cli
        call fill_keys
        call next_key
        jnz .key
        sti
        hlt
        jmp .sleep
.key:   push ax
        mov dx, [com1_port]
        inc dx
        mov al, [saved_interrupts]
        out dx, al
        add dx, UART_MODEM - UART_INTERRUPTS
        mov al, [saved_modem]
        out dx, al
        mov al, [saved_mask]
        out PIC_1 + 1, al
        pop ax
        ret

saved_interrupts: db 0
saved_modem:    db 0
saved_mask:     db 0

; Turns COM1's input into keys while the buffer has room for the three that a broken escape sequence makes.
; Changes AX, BX, DX, SI, DI.
fill_keys:
        mov ax, [es:0x1a]
        sub ax, [es:0x1c]
        ja .free
        add ax, 32
.free:  cmp ax, 10
        jb .done
        call serial_get
        jz .pause
        call decode
        jmp fill_keys
.pause: cmp byte [sequence], 0          ; an escape with nothing behind it is the key itself
        jne put_sequence
.done:  ret

sequence:       db 0                    ; 1 after ESC, 2 after ESC [
was_return:     db 0

; One byte in AL.
decode:
        cmp byte [sequence], 1
        je .after_escape
        ja .after_bracket
        cmp al, 0x1b
        je .escape
.plain: cmp al, 10
        je .line_feed
        cmp al, 13
        sete [was_return]
        cmp al, 0x7f                    ; what terminals send for the backspace key
        jne .code
        mov al, 8
.code:  xor ah, ah
        cmp al, 0x80
        jae put_key
        mov si, ax
        mov ah, [scan_codes + si]
        jmp put_key
.line_feed:
        cmp byte [was_return], 0        ; the end of a line is one key, however it is written
        mov byte [was_return], 0
        jne .done
        mov ax, 0x1c0d
        jmp put_key
.escape:
        mov byte [sequence], 1
.done:  ret
.after_escape:
        cmp al, '['
        jne .broken
        mov byte [sequence], 2
        ret
.after_bracket:
        mov si, cursor_keys
.next:  mov ah, [si + 1]
        cmp al, [si]
        je .cursor_key
        add si, 2
        cmp byte [si], 0
        jne .next
.broken:
        push ax
        call put_sequence
        pop ax
        jmp .plain
.cursor_key:
        mov byte [sequence], 0
        mov al, 0
        jmp put_key

; The bytes held back as the keys that they are.
put_sequence:
        mov ax, 0x0100 + 0x1b
        call put_key
        cmp byte [sequence], 2
        mov byte [sequence], 0
        jne .done
        mov ax, 0x1a00 + '['
        call put_key
.done:  ret

cursor_keys:    db "A", 0x48, "B", 0x50, "C", 0x4d, "D", 0x4b, "H", 0x47, "F", 0x4f, 0

; The scan codes of a US keyboard (set 1) by character, 0 to 0x7f.
scan_codes:
        db 0x00, 0x1e, 0x30, 0x2e, 0x20, 0x12, 0x21, 0x22, 0x0e, 0x0f, 0x24, 0x25, 0x26, 0x1c, 0x31, 0x18
        db 0x19, 0x10, 0x13, 0x1f, 0x14, 0x16, 0x2f, 0x11, 0x2d, 0x15, 0x2c, 0x01, 0x2b, 0x1b, 0x07, 0x0c
        db 0x39, 0x02, 0x28, 0x04, 0x05, 0x06, 0x08, 0x28, 0x0a, 0x0b, 0x09, 0x0d, 0x33, 0x0c, 0x34, 0x35
        db 0x0b, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x27, 0x27, 0x33, 0x0d, 0x34, 0x35
        db 0x03, 0x1e, 0x30, 0x2e, 0x20, 0x12, 0x21, 0x22, 0x23, 0x17, 0x24, 0x25, 0x26, 0x32, 0x31, 0x18
        db 0x19, 0x10, 0x13, 0x1f, 0x14, 0x16, 0x2f, 0x11, 0x2d, 0x15, 0x2c, 0x1a, 0x2b, 0x1b, 0x07, 0x0c
        db 0x29, 0x1e, 0x30, 0x2e, 0x20, 0x12, 0x21, 0x22, 0x23, 0x17, 0x24, 0x25, 0x26, 0x32, 0x31, 0x18
        db 0x19, 0x10, 0x13, 0x1f, 0x14, 0x16, 0x2f, 0x11, 0x2d, 0x15, 0x2c, 0x1a, 0x2b, 0x1b, 0x29, 0x0e
