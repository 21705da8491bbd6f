; Exceptions, interrupt lines that nobody serves, and the timer's tick.

; In real mode an exception that returns faults again for ever, so each is told in one line and ends the machine.
%assign number 0
%rep 8
exception_ %+ number:
        push word number
        jmp exception
        %assign number number + 1
%endrep

; Vectors 9 to 15 are lines 1 to 7 and exceptions both: a line is what the controller has in service.
%assign number 9
%rep 7
line_ %+ number:
        push word number
        jmp line_or_exception
        %assign number number + 1
%endrep

line_or_exception:
        push bp
        mov bp, sp
        push ax
        push cx
        mov al, 0x0b                    ; 8259A OCW3: the next read is the in-service register
        out PIC_1, al
        in al, PIC_1
        mov ah, al
        mov al, 0x0a                    ; back to the request register, the default
        out PIC_1, al
        mov cl, [bp + 2]
        sub cl, 8
        shr ah, cl
        test ah, 1
        jz .not_in_service
        mov al, END_OF_INTERRUPT
        out PIC_1, al
.return:
        pop cx
        pop ax
        pop bp
        add sp, 2
        iret
.not_in_service:
        cmp byte [bp + 2], 15           ; a spurious interrupt looks so
        je .return
        pop cx
        pop ax
        pop bp

; SP: number, IP, CS, flags
exception:
        cld
        mov bp, sp
        push cs
        pop ds
        push word BDA
        pop es
        call start_line
        mov si, exception_message
        call print
        mov ax, [bp]
        aam                             ; two decimal digits
        test ah, ah
        jz .units
        push ax
        mov al, ah
        call print_digit
        pop ax
.units: call print_digit
        mov si, at_message
        call print
        mov ax, [bp + 4]
        call print_hex
        mov al, ':'
        call serial_put
        mov ax, [bp + 2]
        call print_hex
        call end_line

; Ends the machine by a triple fault, which the hypervisor reports as a crash: an exception without a table to look in.
crash:
        cli
        o32 lidt [cs:no_vectors]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        xor cx, cx
        div cx
        hlt

no_vectors:     dw 0
                dd 0
exception_message: db "exception ", 0
at_message:     db " at ", 0

unused_vector:
        iret

second_line:
        push ax
        mov al, END_OF_INTERRUPT
        out PIC_2, al
        out PIC_1, al
        pop ax
        iret

%define TICKS_PER_DAY 0x1800b0

timer_tick:
        push eax
        push ds
        push word BDA
        pop ds
        mov eax, [0x6c]
        inc eax
        cmp eax, TICKS_PER_DAY
        jb .same_day
        xor eax, eax
        inc byte [0x70]
.same_day:
        mov [0x6c], eax
        int 0x1c
        mov al, END_OF_INTERRUPT
        out PIC_1, al
        pop ds
        pop eax
        iret
