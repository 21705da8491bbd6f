; Int 11h, 12h, 15h, 17h and 1Ah: what the machine is, waits, power, and the clock.

int11:
        ENTER_SERVICE
        mov ax, [es:0x10]
        mov [CALLER_AX], ax
        LEAVE_SERVICE

int12:
        ENTER_SERVICE
        mov ax, [es:0x13]
        mov [CALLER_AX], ax
        LEAVE_SERVICE

; There is no printer: it times out.
int17:
        ENTER_SERVICE
        mov byte [CALLER_AH], 1
        LEAVE_SERVICE

int15:
        ENTER_SERVICE
        cmp ax, 0xe820
        je memory_map
        cmp ax, 0xe801
        je memory_sizes
        FUNCTION 0x88, extended_memory
        FUNCTION 0x87, block_move
        FUNCTION 0x86, wait_microseconds
        FUNCTION 0x53, power
        FUNCTION 0x24, a20_gate
        FUNCTION 0xc0, configuration
        FUNCTION 0xc1, ebda_segment
unsupported:
        mov byte [CALLER_AH], 0x86
        jmp leave_with_carry

; The A20 line cannot be masked: enabling it works, and it is on.
a20_gate:
        cmp al, 1
        je .done
        cmp al, 3
        je .ways
        cmp al, 2
        jne unsupported
        mov byte [CALLER_AL], 1
.done:  mov byte [CALLER_AH], 0
        jmp leave_without_carry
.ways:  mov word [CALLER_BX], 0         ; neither by the keyboard controller nor by port 92h
        jmp .done

configuration:
        mov [CALLER_ES], cs
        mov word [CALLER_BX], configuration_table
        mov byte [CALLER_AH], 0
        jmp leave_without_carry

configuration_table:
        dw 8
        db 0xfc, 0, 1                   ; AT, submodel, revision
        db 0x64                         ; second 8259A, clock, EBDA
        db 0, 0, 0, 0

ebda_segment:
        mov word [CALLER_ES], EBDA_SEGMENT
        jmp leave_without_carry

%define PIT_HZ 1193182
%define LONGEST_WAIT_US 3000000000      ; what the quotient below has room for

; AH=86h: CX:DX microseconds, on the timer's counter, which counts down by one through 65536
wait_microseconds:
        mov ax, cx
        shl eax, 16
        mov ax, dx
        cmp eax, LONGEST_WAIT_US
        jbe .fits
        mov eax, LONGEST_WAIT_US
.fits:  mov edx, PIT_HZ
        mul edx
        mov ecx, 1000000
        div ecx
        mov ecx, eax                    ; ECX counts to go
        call .count
        mov bx, ax
        test byte [CALLER_FLAGS + 1], INTERRUPTS
        jz .poll
        sti
.poll:  call .count
        sub bx, ax
        movzx edx, bx
        mov bx, ax
        sub ecx, edx
        ja .poll
        jmp leave_without_carry
.count: mov al, 0                       ; latch channel 0
        out PIT_COMMAND, al
        in al, PIT_CHANNEL_0
        mov ah, al
        in al, PIT_CHANNEL_0
        xchg al, ah
        ret

; AH=53h: as much APM 1.2 as it takes to be switched off
power:
        cmp al, 0x07
        je .set_state
        cmp al, 0x00
        je .check
        cmp al, 0x0e
        je .version
        cmp al, 0x01
        je .done
        cmp al, 0x04
        je .done
        cmp al, 0x08
        je .done
        cmp al, 0x0d
        je .done
        cmp al, 0x0f
        je .done
        jmp unsupported
.check: mov word [CALLER_AX], 0x0102
        mov word [CALLER_BX], 0x504d  ; "PM"
        mov word [CALLER_CX], 0         ; real mode only
.done:  jmp leave_without_carry
.version:
        mov word [CALLER_AX], 0x0102
        jmp leave_without_carry
.set_state:
        cmp bx, 1                       ; all devices
        jne unsupported
        cmp cx, 3                       ; off
        jne .done
        mov dx, [sleep_port]
        mov al, [sleep_value]
        out dx, al
        jmp .done

%define CMOS_INDEX 0x70
%define CMOS_DATA 0x71

int1a:
        ENTER_SERVICE
        FUNCTION 0, .get_ticks
        FUNCTION 1, .set_ticks
        FUNCTION 2, .get_time
        FUNCTION 4, .get_date
        jmp leave_with_carry
.get_ticks:
        mov ax, [es:0x6c]
        mov [CALLER_DX], ax
        mov ax, [es:0x6e]
        mov [CALLER_CX], ax
        mov al, [es:0x70]
        mov byte [es:0x70], 0           ; midnights since the last call
        mov ah, 0
        mov [CALLER_AX], ax
        jmp leave_without_carry
.set_ticks:
        mov [es:0x6c], dx
        mov [es:0x6e], cx
        mov byte [es:0x70], 0
        jmp leave_without_carry
.get_time:
        call read_time
        mov [CALLER_CX], cx
        mov dl, 0                       ; no daylight saving
        mov [CALLER_DX], dx
        jmp leave_without_carry
.get_date:
        call settle_clock
        mov al, 0x32
        call read_clock
        or al, al
        jnz .century
        mov al, 0x20
.century:
        mov ch, al
        mov al, 0x09
        call read_clock
        mov cl, al
        mov al, 0x08
        call read_clock
        mov dh, al
        mov al, 0x07
        call read_clock
        mov dl, al
        mov [CALLER_CX], cx
        mov [CALLER_DX], dx
        jmp leave_without_carry

; CH hours, CL minutes, DH seconds as BCD. Changes AX, BX.
read_time:
        call settle_clock
        mov al, 0x04
        call read_clock
        mov ch, al
        mov al, 0x02
        call read_clock
        mov cl, al
        mov al, 0x00
        call read_clock
        mov dh, al
        ret

; Waits out an update in progress (MC146818: register A, bit 7), but not for ever. Changes AX, BX.
settle_clock:
        mov bx, 4000
.next:  mov al, 0x0a
        out CMOS_INDEX, al
        in al, CMOS_DATA
        test al, 0x80
        jz .done
        dec bx
        jnz .next
.done:  ret

; Register AL as BCD, also if the clock counts in binary (register B, bit 2). Changes AX.
read_clock:
        out CMOS_INDEX, al
        in al, CMOS_DATA
        push ax
        mov al, 0x0b
        out CMOS_INDEX, al
        in al, CMOS_DATA
        test al, 4
        pop ax
        jz .done
        aam
        shl ah, 4
        or al, ah
.done:  ret

; The tick counter begins at the time of day: seconds * PIT_HZ / 65536.
set_tick_count:
        call read_time
        mov al, ch
        call .binary
        mov bx, 60
        mul bx
        mov bx, ax                      ; BX minutes of the hours
        mov al, cl
        call .binary
        add ax, bx
        movzx eax, ax
        imul ebx, eax, 60
        mov al, dh
        call .binary
        movzx eax, ax
        add eax, ebx
        mov ecx, PIT_HZ
        mul ecx
        shrd eax, edx, 16
        push word BDA
        pop es
        mov [es:0x6c], eax
        ret
.binary:
        mov ah, al
        shr ah, 4
        and al, 15
        aad
        ret
