; The machine code that TypeScript cannot be: system calls that return -errno, the signal handler, vCPU threads.
; This file is a whole ELF shared object; `nasm -f bin` writes it and `deno task native` turns it into native.ts.
; Two loadable segments: the dynamic section must be writable (glibc relocates it in place), code must not be.

bits 64
org 0

%define PAGE 4096

ehdr:
        db 0x7f, "ELF", 2, 1, 1, 0
        times 8 db 0
        dw 3, 62                        ; ET_DYN, EM_X86_64
        dd 1
        dq 0, phdrs - ehdr, 0           ; entry, program headers, section headers
        dd 0
        dw 64, 56, 4, 0, 0, 0

phdrs:
        dd 1, 6                         ; PT_LOAD, RW
        dq 0, 0, 0, data_end - ehdr, data_end - ehdr, PAGE
        dd 1, 5                         ; PT_LOAD, R-X
        dq text - ehdr, text - ehdr, text - ehdr, text_end - text, text_end - text, PAGE
        dd 2, 6                         ; PT_DYNAMIC
        dq dynamic - ehdr, dynamic - ehdr, dynamic - ehdr, dynamic_end - dynamic, dynamic_end - dynamic, 8
        dd 0x6474e551, 6                ; PT_GNU_STACK: without it glibc makes every stack executable
        dq 0, 0, 0, 0, 0, 16

%macro symbol 1
        dd name_%1 - strings
        db 0x12, 0                      ; STB_GLOBAL, STT_FUNC
        dw 1                            ; any defined section
        dq xl_%1, 0
%endmacro

align 8
symbols:
        times 24 db 0
        symbol syscall
        symbol ioctl
        symbol ioctl_value
        symbol run
        symbol idle_run
        symbol clock
        symbol pause
        symbol start_thread
        symbol vcpu_enter
        symbol vcpu_left
        symbol madvise_each
        symbol handler
        symbol restorer
symbol_count equ ($ - symbols) / 24

strings:
        db 0
name_syscall:  db "xl_syscall", 0
name_ioctl:    db "xl_ioctl", 0
name_ioctl_value: db "xl_ioctl_value", 0
name_run:      db "xl_run", 0
name_idle_run: db "xl_idle_run", 0
name_clock:    db "xl_clock", 0
name_pause:    db "xl_pause", 0
name_start_thread: db "xl_start_thread", 0
name_vcpu_enter: db "xl_vcpu_enter", 0
name_vcpu_left: db "xl_vcpu_left", 0
name_madvise_each: db "xl_madvise_each", 0
name_handler:  db "xl_handler", 0
name_restorer: db "xl_restorer", 0
; tools/native.ts puts a digest of the object in place of the zeroes: the same name is the same code.
soname:        db "xenolith-native-0000000000000000", 0
strings_end:

align 8
hash:                                   ; one bucket whose chain holds every symbol
        dd 1, symbol_count, 1
        dd 0
%assign i 2
%rep symbol_count - 2
        dd i
%assign i i + 1
%endrep
        dd 0

align 8
dynamic:
        dq 4, hash                      ; DT_HASH
        dq 5, strings                   ; DT_STRTAB
        dq 6, symbols                   ; DT_SYMTAB
        dq 10, strings_end - strings    ; DT_STRSZ
        dq 11, 24                       ; DT_SYMENT
        dq 14, soname - strings         ; DT_SONAME: by it every isolate finds the one that is there
        dq 0, 0
dynamic_end:
data_end:

align PAGE
text:

; long xl_syscall(int nr, long a, long b, long c, long d, long e, long f): any system call, -errno on failure.
align 16
xl_syscall:
        mov eax, edi
        mov rdi, rsi
        mov rsi, rdx
        mov rdx, rcx
        mov r10, r8
        mov r8, r9
        mov r9, [rsp + 8]
        syscall
        ret

; int xl_ioctl_value(int fd, unsigned request, unsigned argument). A 32-bit parameter leaves the upper half of its
; register undefined (System V ABI), and ioctl's argument is 64 bits wide: it is extended here.
align 16
xl_ioctl_value:
        mov edx, edx
; int xl_ioctl(int fd, unsigned request, void *argument)
xl_ioctl:
        mov eax, 16
        syscall
        ret

; int xl_run(int vcpu_fd, struct clock *clock): KVM_RUN, and the time-stamp ticks spent in it and outside it.
; clock: 0 ticks in the guest, 8 ticks outside, 16 time stamp at the last return (0: never returned).
align 16
xl_run:
        push rbx
        mov rbx, rsi
        mov edi, edi
        rdtsc
        shl rdx, 32
        or rax, rdx
        mov rcx, [rbx + 16]
        test rcx, rcx
        jz .first
        mov rdx, rax
        sub rdx, rcx
        add [rbx + 8], rdx
.first: mov [rbx + 16], rax
        mov esi, 0xae80                 ; KVM_RUN
        xor edx, edx
        mov eax, 16
        syscall
        mov ecx, eax
        rdtsc
        shl rdx, 32
        or rax, rdx
        mov rdx, rax
        sub rdx, [rbx + 16]
        add [rbx], rdx
        mov [rbx + 16], rax
        mov eax, ecx
        pop rbx
        ret

; int xl_idle_run(int vcpu_fd, struct clock *clock): xl_run without the guest; measures our own share of an exit.
align 16
xl_idle_run:
        rdtsc
        shl rdx, 32
        or rax, rdx
        mov rdx, rax
        sub rdx, [rsi + 16]
        add [rsi + 8], rdx
        mov [rsi + 16], rax
        rdtsc
        shl rdx, 32
        or rax, rdx
        mov rdx, rax
        sub rdx, [rsi + 16]
        add [rsi], rdx
        mov [rsi + 16], rax
        xor eax, eax
        ret

; double xl_clock(void): the time-stamp counter, exact up to 2^53 ticks (a month at 3 GHz).
align 16
xl_clock:
        rdtsc
        shl rdx, 32
        or rax, rdx
        cvtsi2sd xmm0, rax
        ret

; void xl_pause(void): tells the processor that this is a spinning wait.
align 16
xl_pause:
        pause
        ret

; int xl_madvise_each(const struct iovec *ranges, unsigned count, unsigned advice): madvise for each range, one after the
; other, for kernels whose process_madvise does not take the advice. 0, or -errno of the first that failed.
align 16
xl_madvise_each:
        push rbx
        push rbp
        push r12
        mov rbx, rdi
        mov ebp, esi
        mov r12d, edx
        xor eax, eax
.next:  sub ebp, 1
        jb .done
        mov rdi, [rbx]
        mov rsi, [rbx + 8]
        mov edx, r12d
        mov eax, 28                     ; madvise
        syscall
        add rbx, 16
        test eax, eax
        jz .next
.done:  pop r12
        pop rbp
        pop rbx
        ret

; struct thread, as in native_thread.ts: one cache line.
struc thread
.descriptor:    resd 1                  ; the vCPU's
.tid:           resd 1                  ; 0 as soon as the thread touches nothing any more
.word:          resd 1
.result:        resd 1                  ; of the last KVM_RUN
.clock:         resq 3                  ; xl_run's
.flag:          resq 1                  ; address of a word of the waiter's wake board (events/wake_board.ts)
.flag_bit:      resd 1                  ; the vCPU's bit in it
.doorbell:      resd 1                  ; the waiter's eventfd
.asleep:        resq 1                  ; address of the waiter's byte in the board
endstruc

; Values of the word. EXITED to WAITING, RESUME to RUNNING and RUNNING to EXITED are the thread's moves.
EXITED  equ 0                           ; out of the guest, wakes the waiter
WAITING equ 1                           ; out of the guest, sleeps at the word
RESUME  equ 2                           ; told to enter
RUNNING equ 3                           ; in the guest, or about to be
                                        ; all else: told to leave

SIG_SETMASK equ 2
FUTEX_WAIT_PRIVATE equ 128
; CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, PARENT_SETTID, CHILD_CLEARTID
CLONE_FLAGS equ 0x350f00

; int xl_start_thread(struct thread *thread, void *stack_end): a thread that enters the vCPU whenever the word says so.
; Returns its id or -errno; the kernel puts the id into .tid, too, and 0 when the thread has ended.
; The thread has no thread-local storage of its own (its fs is its creator's), so nothing but this code may run on it:
; it begins with every signal blocked but the kick.
align 16
xl_start_thread:
        push rbx
        push rbp
        push rax                        ; room for the mask
        mov rbx, rdi
        mov rbp, rsi
        mov edi, SIG_SETMASK
        lea rsi, [rel all_but_kick]
        mov rdx, rsp
        mov r10d, 8
        mov eax, 14                     ; rt_sigprocmask
        syscall
        mov edi, CLONE_FLAGS
        mov rsi, rbp
        lea rdx, [rbx + thread.tid]
        mov r10, rdx
        xor r8d, r8d
        mov eax, 56                     ; clone
        syscall
        test eax, eax
        jz vcpu_thread
        mov ebp, eax
        mov edi, SIG_SETMASK
        mov rsi, rsp
        xor edx, edx
        mov r10d, 8
        mov eax, 14                     ; rt_sigprocmask
        syscall
        mov eax, ebp
        pop rdx
        pop rbp
        pop rbx
        ret

; The loop of a vCPU's thread, whose turns a payload may replace: xl_vcpu_enter enters the guest, xl_vcpu_left is where it
; goes on when that is left. Both are jumped to, with rbx: struct thread, eax: what KVM_RUN returned.
xl_vcpu_enter equ vcpu_thread.enter
xl_vcpu_left equ vcpu_thread.left

; rbx: struct thread. It does not spin before it sleeps: its processor is what the dispatcher, or another vCPU's thread,
; is waiting for (two processors, exits that a device model answers: 16 us without spinning, 33 us with it).
vcpu_thread:
        jmp .told

.enter: mov edi, [rbx + thread.descriptor]
        lea rsi, [rbx + thread.clock]
        call xl_run
.left:  mov [rbx + thread.result], eax
        mov eax, RUNNING
        mov ecx, EXITED
        lock cmpxchg [rbx + thread.word], ecx
        jne .leave
        ; WakeBoard.wake(): the word before the bit, the bit before the look whether anybody sleeps.
        mov rax, [rbx + thread.flag]
        mov ecx, [rbx + thread.flag_bit]
        lock or [rax], ecx
        mov rax, [rbx + thread.asleep]
        xor ecx, ecx
        xchg [rax], cl
        cmp cl, 1
        jne .sleep
        mov edi, [rbx + thread.doorbell]
        lea rsi, [rel one]
        mov edx, 8
        mov eax, 1                      ; write
        syscall

.sleep: mov eax, EXITED
        mov ecx, WAITING
        lock cmpxchg [rbx + thread.word], ecx
        jne .told
.again: lea rdi, [rbx + thread.word]    ; whoever moves the word from WAITING wakes; a move before this is seen here
        mov esi, FUTEX_WAIT_PRIVATE
        mov edx, WAITING
        xor r10d, r10d
        mov eax, 202                    ; futex
        syscall
        cmp dword [rbx + thread.word], WAITING
        je .again

.told:  mov eax, RESUME
        mov ecx, RUNNING
        lock cmpxchg [rbx + thread.word], ecx
        je .enter
.leave: xor edi, edi
        mov eax, 60                     ; exit
        syscall

align 8
one:    dq 1
all_but_kick:                           ; signal 42, as in signal.ts
        dq ~(1 << (42 - 1))

; void xl_handler(int): the kick's signal handler. It only returns: what counts is that KVM_RUN was left.
align 16
xl_handler:
        ret

; The return from a signal handler (SA_RESTORER): rt_sigreturn.
align 16
xl_restorer:
        mov eax, 15
        syscall
align 16
text_end:
