; Int 10h on a serial terminal. Text goes out as it is written; a cursor set elsewhere becomes line feeds and spaces
; downwards and relative escape sequences otherwise, so that plain output stays plain text. Colours and pages are dropped.

%define CURSOR es:0x50                  ; BDA: column, row
%define COLUMNS 80
%define ROWS 25

terminal:       dw 0                    ; where the terminal stands: column, row of the screen that the guest believes in

int10:
        ENTER_SERVICE
        FUNCTION 0x0e, .teletype
        FUNCTION 0x13, .write_string
        FUNCTION 0x02, .set_cursor
        FUNCTION 0x09, .write_repeated
        FUNCTION 0x0a, .write_repeated
        FUNCTION 0x03, .get_cursor
        FUNCTION 0x06, .scroll_up
        FUNCTION 0x07, .scroll_down
        FUNCTION 0x08, .read_character
        FUNCTION 0x00, .set_mode
        FUNCTION 0x01, .set_shape
        FUNCTION 0x0f, .get_mode
        FUNCTION 0x1a, .display_code
        LEAVE_SERVICE                   ; 05h and all that only graphics has

.teletype:
        call write_character
        LEAVE_SERVICE

; ES:BP text of CX characters, DX where; AL bit 0: the cursor moves along, bit 1: each is followed by an attribute
.write_string:
        push word [CURSOR]
        mov [CURSOR], dx
        mov si, [CALLER_BP]
        jcxz .string_end
.next:  push ds
        mov ds, [CALLER_ES]
        lodsb
        pop ds
        test byte [CALLER_AL], 2
        jz .plain
        inc si
.plain: push cx
        push si
        call write_character
        pop si
        pop cx
        loop .next
.string_end:
        pop ax
        test byte [CALLER_AL], 1
        jnz .moved
        mov [CURSOR], ax
.moved: LEAVE_SERVICE

.set_cursor:
        mov [CURSOR], dx
        LEAVE_SERVICE

.get_cursor:
        mov ax, [CURSOR]
        mov [CALLER_DX], ax
        mov ax, [es:0x60]
        mov [CALLER_CX], ax
        LEAVE_SERVICE

.set_shape:
        mov [es:0x60], cx
        LEAVE_SERVICE

; CX times AL, the cursor stays. Blanks that fill lines are how screens are cleared: they are not worth printing.
.write_repeated:
        jcxz .repeated
        cmp al, ' '
        ja .visible
        mov al, ' '
        cmp cx, COLUMNS
        jae .repeated
.visible:
        push ax
        push cx
        call move_terminal
        pop cx
        pop ax
.again: call serial_put
        call advance_terminal
        loop .again
.repeated:
        LEAVE_SERVICE

; AL lines (0: all) of the window CX..DX. Only whole screens mean something to a terminal.
.scroll_up:
        or cx, cx
        jnz .scrolled
        cmp dh, ROWS - 1
        jb .scrolled
        cmp al, 0
        je .clear
        cmp al, ROWS
        jae .clear
        sub [terminal + 1], al          ; the line that the terminal is in has moved up
        jae .scrolled
        mov byte [terminal + 1], 0
.scrolled:
        LEAVE_SERVICE
.scroll_down:
        cmp al, 0
        je .scroll_up
        LEAVE_SERVICE
.clear: call start_line
        mov word [terminal], 0
        LEAVE_SERVICE

; Whatever mode is asked for, the screen stays a terminal, which AH=0Fh says.
.set_mode:
        call start_line
        mov word [terminal], 0
        mov word [CURSOR], 0
        LEAVE_SERVICE

.get_mode:
        mov word [CALLER_AX], (COLUMNS << 8) | 3
        mov byte [CALLER_BX + 1], 0
        LEAVE_SERVICE

; Nothing is read back from a terminal: a blank.
.read_character:
        mov word [CALLER_AX], 0x0720
        LEAVE_SERVICE

.display_code:
        cmp al, 0
        jne .scrolled
        mov byte [CALLER_AL], 0x1a
        mov word [CALLER_BX], 0         ; no display
        LEAVE_SERVICE

; AL at the cursor, as AH=0Eh does it. Changes AX, CX, DX.
write_character:
        push ax
        call move_terminal
        pop ax
        cmp al, 7
        je serial_put
        cmp al, 8
        je .backspace
        cmp al, 10
        je .line_feed
        cmp al, 13
        je .return
        or al, al
        jnz .visible
        mov al, ' '
.visible:
        call serial_put
        call advance_terminal
        jmp .follow
.backspace:
        cmp byte [terminal], 0
        je .follow
        dec byte [terminal]
        call serial_put
        jmp .follow
.line_feed:
        call serial_put
        call next_row
        jmp .follow
.return:
        call serial_put
        mov byte [terminal], 0
.follow:
        mov ax, [terminal]
        mov [CURSOR], ax
        ret

; One column on. At the last one the terminal itself wraps, or is wider and needs not to.
advance_terminal:
        inc byte [terminal]
        cmp byte [terminal], COLUMNS
        jb next_row.done
        mov byte [terminal], 0
next_row:
        cmp byte [terminal + 1], ROWS - 1
        jae .done
        inc byte [terminal + 1]
.done:  ret

; Takes the terminal to the cursor. Changes AX, CX, DX.
move_terminal:
        mov cx, [CURSOR]                ; CH row, CL column
        mov dx, [terminal]
        mov [terminal], cx
        cmp ch, dh
        je .column
        ja .down
        mov ah, dh
        sub ah, ch
        mov al, 'A'
        call print_escape
        jmp .column
.down:  mov al, 13
        call serial_put
        mov al, 10
.line:  call serial_put
        inc dh
        cmp dh, ch
        jb .line
        xor dl, dl
        mov al, ' '
.space: cmp dl, cl
        jae .done
        call serial_put
        inc dl
        jmp .space
.column:
        cmp cl, dl
        je .done
        ja .right
        mov al, 13
        or cl, cl
        jz serial_put
        mov ah, dl
        sub ah, cl
        mov al, 'D'
        jmp print_escape
.right: mov ah, cl
        sub ah, dl
        mov al, 'C'
        jmp print_escape
.done:  ret

; ESC [ AH AL (ECMA-48, 8.3). Changes AX.
print_escape:
        push ax
        mov al, 0x1b
        call serial_put
        mov al, '['
        call serial_put
        mov al, ah
        aam
        push ax
        mov al, ah
        call print_digit
        pop ax
        call print_digit
        pop ax
        jmp serial_put

print_digit:
        add al, '0'
        jmp serial_put

; AX as four digits.
print_hex:
        mov cx, 4
.next:  rol ax, 4
        push ax
        and al, 15
        cmp al, 10
        jb .digit
        add al, 'a' - '0' - 10
.digit: call print_digit
        pop ax
        loop .next
        ret

; The text at SI. Changes AX, SI.
print:
        lodsb
        or al, al
        jz print_done
        call serial_put
        jmp print

print_line:
        call start_line
        call print
end_line:
        mov al, 13
        call serial_put
        mov al, 10
        jmp serial_put

; To the beginning of a line, if the terminal is not at one. Changes AX.
start_line:
        cmp byte [terminal], 0
        jne end_line
print_done:
        ret
