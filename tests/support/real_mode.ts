/** Guests of a few bytes of 16-bit code, for what no guest in guests/ does. Entered in real mode at offset 0. */

interface Image {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Bytes of code in hexadecimal; what follows a semicolon is a comment. */
function code(name: string, text: string): Image {
  const digits = text.replaceAll(/;.*$/gm, "").replaceAll(/\s+/g, "");
  return { name, bytes: Uint8Array.from(digits.match(/../g)!, (byte) => parseInt(byte, 16)) };
}

function littleEndian(value: number, sizeBytes: number): string {
  return Array.from({ length: sizeBytes }, (_, index) => (value >>> (8 * index) & 0xff).toString(16).padStart(2, "0"))
    .join("");
}

/** Asks COM1's line status for input again and again, prints what comes, and ends with 5 at a "q". */
export const POLLING = code(
  "polling",
  `ba fd 03     ; start: mov dx, 0x3fd
   ec           ; wait:  in al, dx
   a8 01        ;        test al, 1
   74 fb        ;        jz wait
   ba f8 03 ec  ;        mov dx, 0x3f8; in al, dx
   3c 71 74 03  ;        cmp al, 'q'; je end
   ee           ;        out dx, al
   eb ed        ;        jmp start
   b0 05 e6 f4  ; end:   mov al, 5; out 0xf4, al`,
);

/** Prints "b", waits for a character, and resets the machine at an "r"; ends with status 9 at any other. */
export const REBOOTING = code(
  "rebooting",
  `b0 62 e6 e9        ;       mov al, 'b'; out 0xe9, al
   ba fd 03           ;       mov dx, 0x3fd
   ec a8 01 74 fb     ; wait: in al, dx; test al, 1; jz wait
   ba f8 03 ec        ;       mov dx, 0x3f8; in al, dx
   3c 72 75 06        ;       cmp al, 'r'; jne end
   b0 fe e6 64 eb fe  ;       mov al, 0xfe; out 0x64, al; jmp $
   b0 09 e6 f4        ; end:  mov al, 9; out 0xf4, al`,
);

/**
 * For tests/support/directed.ts: all vCPUs ask port 0x510 what to do, again and again. The answer is an offset from 0xd0000
 * in the low word, a value, and in the highest byte 0 (read there), 1 (write the value there) or more (end with the
 * value); the byte that was read or written goes to port 0x514.
 */
export const DIRECTED = code(
  "directed",
  `b8 00 d0 8e c0           ; start: mov ax, 0xd000; mov es, ax
   66 b9 1b 00 00 00 0f 32  ;        mov ecx, 0x1b; rdmsr
   f6 c4 01 74 1e           ;        test ah, 1; jz next: only the first vCPU starts the others
   80 cc 0c 0f 30           ;        or ah, 0xc; wrmsr: x2APIC
   66 b9 30 08 00 00        ;        mov ecx, 0x830
   66 31 d2                 ;        xor edx, edx
   66 b8 00 45 0c 00 0f 30  ;        mov eax, 0xc4500; wrmsr: INIT
   66 b8 10 46 0c 00 0f 30  ;        mov eax, 0xc4610; wrmsr: SIPI, to 0x10000
   ba 10 05 66 ed           ; next:  mov dx, 0x510; in eax, dx
   89 c3 66 c1 e8 10        ;        mov bx, ax; shr eax, 16
   80 fc 01 72 0b 77 12     ;        cmp ah, 1; jb read; ja end
   26 88 07                 ;        mov [es:bx], al
   ba 14 05 ee eb e5        ;        mov dx, 0x514; out dx, al; jmp next
   26 8a 07                 ; read:  mov al, [es:bx]
   ba 14 05 ee eb dc        ;        mov dx, 0x514; out dx, al; jmp next
   e6 f4                    ; end:   out 0xf4, al`,
);

/** Prints the byte at port 0x510, which a device model may claim, and ends with it as status. */
export const PORT_510 = code("port 0x510", "ba 10 05 ec e6 e9 e6 f4");

/** Writes 0x12345678 to memory at 0xd0000, increments its byte 1, and ends with that byte's low six bits: 0x17. */
export const REGISTERS_D0000 = code(
  "registers at 0xd0000",
  `b8 00 d0 8e d8              ;      mov ax, 0xd000; mov ds, ax
   66 c7 06 00 00 78 56 34 12  ;      mov dword [0], 0x12345678
   fe 06 01 00                 ;      inc byte [1]
   66 a1 00 00                 ;      mov eax, [0]
   66 3d 78 57 34 12 75 05     ;      cmp eax, 0x12345778; jne bad
   a0 01 00 e6 f4              ;      mov al, [1]; out 0xf4, al
   b0 01 e6 f4                 ; bad: mov al, 1; out 0xf4, al`,
);

/** Bytes of {@linkcode spouting}'s output are a multiple of this. */
export const SPOUT_BYTES = 32 << 10;

/** Prints itself and what follows it in memory, `SPOUT_BYTES` each time, on the debug console. @returns the output, too */
export function spouting(times: number, fill: Uint8Array): { image: Image; output: Uint8Array } {
  const { name, bytes: program } = code(
    "spouting",
    `bb ${littleEndian(times, 2)} ba e9 00 fc  ;       mov bx, times; mov dx, 0xe9; cld
     31 f6 b9 00 80                            ; next: xor si, si; mov cx, 0x8000
     f3 6e                                     ;       rep outsb
     4b 75 f6                                  ;       dec bx; jnz next
     b0 00 e6 f4                               ;       mov al, 0; out 0xf4, al`,
  );
  const bytes = new Uint8Array(SPOUT_BYTES);
  bytes.set(fill.subarray(0, SPOUT_BYTES));
  bytes.set(program);
  const output = new Uint8Array(times * SPOUT_BYTES);
  for (let index = 0; index < times; index++) output.set(bytes, index * SPOUT_BYTES);
  return { image: { name, bytes }, output };
}

/** Takes `count` bytes that are not zero from COM1 and prints {@linkcode hash} of them in four bytes. */
export function swallowing(count: number): Image {
  return code(
    "swallowing",
    `ba f9 03 b0 01 ee           ;       mov dx, 0x3f9; mov al, 1; out dx, al: the interrupt makes the UART listen
     ba fa 03 b0 01 ee           ;       mov dx, 0x3fa; mov al, 1; out dx, al: FIFOs on
     ba f8 03 66 31 db           ;       mov dx, 0x3f8; xor ebx, ebx
     66 b9 ${littleEndian(count, 4)}  ;  mov ecx, count
     ec 84 c0 74 fb              ; next: in al, dx; test al, al; jz next
     66 c1 c3 05 30 c3           ;       rol ebx, 5; xor bl, al
     66 49 75 f1                 ;       dec ecx; jnz next
     66 89 1e 00 80 be 00 80     ;       mov [0x8000], ebx; mov si, 0x8000
     b9 04 00 ba e9 00 fc f3 6e  ;       mov cx, 4; mov dx, 0xe9; cld; rep outsb
     b0 00 e6 f4                 ;       mov al, 0; out 0xf4, al`,
  );
}

/** What {@linkcode swallowing} makes of its input. */
export function hash(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => ((sum << 5 | sum >>> 27) ^ byte) >>> 0, 0);
}
