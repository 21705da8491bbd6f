; Int 13h: the image in memory above 1 MiB as the one drive, by cylinder, head and sector and by block number.

%define SECTOR_SHIFT 9
%define STATUS es:0x74                  ; BDA; diskettes have theirs at 0x41

%define BAD_COMMAND 0x01
%define SECTOR_NOT_FOUND 0x04

int13:
        ENTER_SERVICE
        FUNCTION 0x01, .last_status
        cmp dl, [drive_number]
        jne .bad_command
        cmp dword [disk_sectors], 0
        je .bad_command
        FUNCTION 0x02, .read
        FUNCTION 0x03, .write
        FUNCTION 0x42, .extended_read
        FUNCTION 0x43, .extended_write
        FUNCTION 0x08, .parameters
        FUNCTION 0x48, .extended_parameters
        FUNCTION 0x41, .extensions
        FUNCTION 0x15, .type
        FUNCTION 0x04, .verify
        FUNCTION 0x44, .extended_verify
        FUNCTION 0x47, .extended_verify
        FUNCTION 0x00, .done            ; resets, seeks and tests have nothing to do
        FUNCTION 0x0c, .done
        FUNCTION 0x0d, .done
        FUNCTION 0x10, .done
        FUNCTION 0x11, .done
        FUNCTION 0x16, .done            ; the diskette has not been changed
.bad_command:
        mov ah, BAD_COMMAND
.failed:
        mov [STATUS], ah
        mov [es:0x41], ah
        mov [CALLER_AH], ah
        jmp leave_with_carry
.done:  mov byte [STATUS], 0
        mov byte [es:0x41], 0
        mov byte [CALLER_AH], 0
        jmp leave_without_carry

.last_status:
        mov ah, [STATUS]
        mov [CALLER_AH], ah
        or ah, ah
        jnz leave_with_carry
        jmp leave_without_carry

.verify:
        call locate
        jc .not_found
        jmp .done
.not_found:
        mov byte [CALLER_AL], 0         ; sectors done
        mov ah, SECTOR_NOT_FOUND
        jmp .failed

.read:  call locate
        jc .not_found
        call caller_buffer
        call copy_physical
        jmp .done

.write: call locate
        jc .not_found
        call caller_buffer
        xchg esi, edi
        call copy_physical
        jmp .done

.extended_read:
        call locate_packet
        jc .packet_failed
        call copy_physical
        jmp .done

.extended_write:
        call locate_packet
        jc .packet_failed
        xchg esi, edi
        call copy_physical
        jmp .done

.extended_verify:
        call locate_packet
        jnc .done
.packet_failed:
        or ah, ah                       ; the call itself is not one of this drive's
        jnz .failed
        push es
        mov es, [CALLER_DS]
        mov si, [CALLER_SI]
        mov word [es:si + 2], 0         ; blocks done
        pop es
        mov ah, SECTOR_NOT_FOUND
        jmp .failed

; CH, CL last cylinder and sector, DH last head, DL drives; a diskette's type in BL and table at ES:DI
.parameters:
        mov cx, [disk_cylinders]
        dec cx
        xchg ch, cl
        shl cl, 6
        or cl, [disk_track]
        mov [CALLER_CX], cx
        mov dh, [disk_heads]
        dec dh
        mov dl, 1
        mov [CALLER_DX], dx
        mov word [CALLER_AX], 0
        cmp byte [drive_number], 0x80
        jae .done
        mov al, [diskette_type]
        xor ah, ah
        mov [CALLER_BX], ax
        mov word [CALLER_DI], diskette_table
        mov [CALLER_ES], cs
        jmp .done

; AH 3 and CX:DX sectors for a hard disk, AH 1 for a diskette drive that cannot tell a change
.type:  cmp byte [drive_number], 0x80
        jae .hard_disk
        mov byte [CALLER_AH], 1
        jmp leave_without_carry
.hard_disk:
        mov ax, [disk_sectors]
        mov [CALLER_DX], ax
        mov ax, [disk_sectors + 2]
        mov [CALLER_CX], ax
        mov byte [CALLER_AH], 3
        jmp leave_without_carry

; Enhanced Disk Drive specification 1.1: version 2.1, packets only
.extensions:
        cmp bx, 0x55aa
        jne .bad_command
        cmp byte [drive_number], 0x80
        jb .bad_command
        mov word [CALLER_BX], 0xaa55
        mov byte [CALLER_AH], 0x21
        mov word [CALLER_CX], 1
        jmp leave_without_carry

.extended_parameters:
        cmp byte [drive_number], 0x80
        jb .bad_command
        mov es, [CALLER_DS]
        mov di, [CALLER_SI]
        cmp word [es:di], 26
        jb .buffer_too_small
        mov ax, 26
        stosw
        mov ax, 2                       ; the geometry is valid
        stosw
        movzx eax, word [disk_cylinders]
        stosd
        movzx eax, word [disk_heads]
        stosd
        movzx eax, word [disk_track]
        stosd
        mov eax, [disk_sectors]
        stosd
        xor eax, eax
        stosd
        mov ax, 1 << SECTOR_SHIFT
        stosw
        push word BDA
        pop es
        jmp .done
.buffer_too_small:
        push word BDA
        pop es
        jmp .bad_command

; AL sectors from cylinder CH/CL, sector CL, head DH. ESI where on the disk, ECX bytes; carry if not all are on it.
locate:
        movzx esi, al
        movzx eax, cl
        shl ax, 2
        mov al, ch                      ; AX cylinder
        and cl, 0x3f
        jz .bad
        cmp ax, [disk_cylinders]
        jae .bad
        movzx dx, dh
        cmp dx, [disk_heads]
        jae .bad
        movzx ecx, cl
        cmp cx, [disk_track]
        ja .bad
        dec cx
        mov bx, dx
        mul word [disk_heads]
        add ax, bx
        adc dx, 0
        shl edx, 16
        mov dx, ax                      ; EDX tracks before this one
        movzx eax, word [disk_track]
        imul eax, edx
        add eax, ecx
        mov ecx, esi
        or ecx, ecx
        jnz locate_blocks
.bad:   stc
        ret

; ECX blocks from block EAX. ESI where on the disk, ECX bytes, AH 0; carry if not all are on it.
locate_blocks:
        mov edx, [disk_sectors]
        cmp eax, edx
        cmc
        jc .bad
        sub edx, eax
        cmp edx, ecx
        jc .bad
        shl ecx, SECTOR_SHIFT
        shl eax, SECTOR_SHIFT
        add eax, [disk_address]
        mov esi, eax
        clc
.bad:   mov ah, 0
        ret

; The disk address packet at the caller's DS:SI: also EDI, the buffer. Carry with AH 0 or the status.
locate_packet:
        mov ah, BAD_COMMAND
        cmp byte [drive_number], 0x80
        jb .bad                         ; that compare has set carry
        push ds
        mov ds, [CALLER_DS]
        mov si, [CALLER_SI]
        cmp byte [si], 16
        jb .unlock
        movzx edi, word [si + 6]
        shl edi, 4
        movzx edx, word [si + 4]
        add edi, edx
        cmp dword [si + 4], 0xffffffff  ; EDD 3.0: then a 64-bit physical address follows
        jne .buffer
        cmp byte [si], 24
        jb .unlock
        mov edi, [si + 16]
.buffer:
        movzx ecx, word [si + 2]
        mov eax, [si + 8]
        cmp dword [si + 12], 1          ; carry if the upper half is 0
        cmc
        pop ds
        jnc locate_blocks
        mov ah, 0
        ret
.unlock:
        pop ds
.bad:   ret

; EDI, the physical address of the caller's ES:BX.
caller_buffer:
        movzx edi, word [CALLER_ES]
        shl edi, 4
        movzx eax, word [CALLER_BX]
        add edi, eax
        ret

; The table that int 1Eh points at: step rate, motor, 512-byte sectors, the track's last, gaps, fill, settle, start.
diskette_table: db 0xaf, 0x02, 0x25, 0x02, 18, 0x1b, 0xff, 0x6c, 0xf6, 0x0f, 0x08
