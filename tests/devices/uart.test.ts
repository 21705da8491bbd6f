import { assertEquals } from "@std/assert";
import { Console } from "../../src/devices/console.ts";
import { Uart } from "../../src/devices/uart.ts";
import type { DeviceModelHost } from "../../src/dm/host.ts";
import { FakeMachine, INPUT, OUTPUT, testScripts } from "./fake_host.ts";

function uart(host: DeviceModelHost, machine: FakeMachine): void {
  new Uart(host, new Console(host, machine.descriptors, { input: INPUT, output: OUTPUT, escape: null }));
}

// DATA 3f8, IER 3f9, IIR/FCR 3fa, LCR 3fb, MCR 3fc, LSR 3fd, MSR 3fe, SCR 3ff; the interrupt is gsi 4.
testScripts(uart, [
  [
    "Uart after reset has the data sheet's values",
    `
    in 0x3f9 -> 0; in 0x3fa -> 0x01; in 0x3fb -> 0; in 0x3fc -> 0; in 0x3fd -> 0x60; in 0x3fe -> 0xb0; in 0x3ff -> 0;
    irq 4 -> 0`,
  ],
  ["Uart prints what is written to THR", `out 0x3f8 0x41; in 0x3fd -> 0x60; out 0x3f8 0x42; sleep; printed -> "AB"`],
  ["Uart prints without any set-up, and with 5-bit words", `out 0x3fb 0; out 0x3f8 0x7a; sleep; printed -> "z"`],

  // registers
  ["IER keeps four bits", `out 0x3f9 0xff; in 0x3f9 -> 0x0f; out 0x3f9 0x05; in 0x3f9 -> 0x05`],
  ["MCR keeps five bits", `out 0x3fc 0xff; in 0x3fc -> 0x1f; out 0x3fc 0; in 0x3fc -> 0`],
  ["LCR keeps eight bits", `out 0x3fb 0xff; in 0x3fb -> 0xff; out 0x3fb 0x1b; in 0x3fb -> 0x1b`],
  ["SCR keeps eight bits", `out 0x3ff 0xa5; in 0x3ff -> 0xa5`],
  ["LSR and MSR cannot be written", `out 0x3fd 0xff; in 0x3fd -> 0x60; out 0x3fe 0xff; in 0x3fe -> 0xb0`],
  [
    "DLAB turns the first two ports into the divisor latch",
    `
    out 0x3f9 0x02; out 0x3fb 0x83; out 0x3f8 0x0c; out 0x3f9 0x34; in 0x3f8 -> 0x0c; in 0x3f9 -> 0x34;
    out 0x3fb 0x03; in 0x3f9 -> 0x02; sleep; printed -> "";
    out 0x3fb 0x80; in 0x3f8 -> 0x0c; in 0x3f9 -> 0x34`,
  ],
  ["the divisor latch is never 0 at first", `out 0x3fb 0x80; inw 0x3f8 -> 1`],
  [
    "DLAB leaves IIR, FCR, LSR and MSR alone",
    `
    out 0x3fb 0x80; out 0x3fa 0x01; in 0x3fa -> 0xc1; in 0x3fd -> 0x60; in 0x3fe -> 0xb0`,
  ],
  [
    "IIR's upper bits say whether the FIFOs are enabled",
    `
    out 0x3fa 0x01; in 0x3fa -> 0xc1; out 0x3fa 0xc7; in 0x3fa -> 0xc1; out 0x3fa 0; in 0x3fa -> 0x01`,
  ],
  ["FCR without the enable bit is not programmed", `out 0x3fa 0xc6; in 0x3fa -> 0x01`],
  ["a 16-bit write is two writes", `out 0x3fb 0x80; outw 0x3f8 0x1234; in 0x3f8 -> 0x34; in 0x3f9 -> 0x12`],
  [
    "a 32-bit write is four writes",
    `
    outl 0x3fc 0x5a00000f; in 0x3fc -> 0x0f; in 0x3ff -> 0x5a; inl 0x3fc -> 0x5ab0600f`,
  ],
  [
    "outw to THR prints the low byte, and the high byte goes to IER",
    `
    outw 0x3f8 0x0141; sleep; printed -> "A"; in 0x3f9 -> 1`,
  ],

  // reception
  [
    "an enabled receiver shows a byte in LSR and RBR",
    `
    out 0x3f9 1; type "ab"; sleep; in 0x3fd -> 0x61; in 0x3f8 -> 0x61; in 0x3fd -> 0x61; in 0x3f8 -> 0x62;
    in 0x3fd -> 0x60; in 0x3f8 -> 0`,
  ],
  [
    "a guest that polls LSR gets its input",
    `
    type "ab"; in 0x3fd -> 0x60; sleep; in 0x3fd -> 0x60; sleep; in 0x3fd -> 0x61; in 0x3f8 -> 0x61; in 0x3fd -> 0x61;
    in 0x3f8 -> 0x62; in 0x3fd -> 0x60`,
  ],
  [
    "a guest that prints between its looks at LSR gets its input, too",
    `
    type "a"; in 0x3fd -> 0x60; out 0x3f8 0x2e; in 0x3fd -> 0x60; sleep; out 0x3f8 0x2e; in 0x3fd -> 0x61;
    in 0x3f8 -> 0x61`,
  ],
  [
    "a driver's set-up throws no input away",
    `
    type "abc"; sleep;
    in 0x3f9 -> 0; out 0x3f9 0; out 0x3fa 1; out 0x3fa 7; out 0x3fa 0; in 0x3fd -> 0x60; sleep; in 0x3f8 -> 0; in 0x3fa -> 1;
    in 0x3fe -> 0xb0; in 0x3fd -> 0x60; sleep; out 0x3fb 3; out 0x3fc 8; in 0x3fd -> 0x60; sleep; out 0x3f9 2;
    in 0x3fd -> 0x60; in 0x3fa -> 2; out 0x3f9 0; in 0x3fd -> 0x60; in 0x3f8 -> 0; in 0x3fa -> 1; in 0x3fe -> 0xb0;
    out 0x3f9 5; sleep; irq 4 -> 1; out 0x3fa 0x01; out 0x3fa 0x81; sleep;
    in 0x3f8 -> 0x61; in 0x3f8 -> 0x62; in 0x3f8 -> 0x63`,
  ],
  [
    "resetting the FIFO empties it; unread input arrives again when the model is idle",
    `
    out 0x3fa 1; out 0x3f9 1; type "xyz"; sleep; in 0x3f8 -> 0x78; out 0x3fa 3; in 0x3fd -> 0x60; sleep; in 0x3fd -> 0x61;
    in 0x3f8 -> 0x79; in 0x3f8 -> 0x7a; in 0x3fd -> 0x60`,
  ],
  [
    "switching the FIFOs on or off empties the receiver",
    `
    out 0x3fc 0x10; out 0x3f8 1; in 0x3fd -> 0x61; out 0x3fa 1; in 0x3fd -> 0x60; out 0x3f8 2; in 0x3fd -> 0x61;
    out 0x3fa 0; in 0x3fd -> 0x60`,
  ],
  [
    "enabling enabled FIFOs again keeps what is in them",
    `
    out 0x3fc 0x10; out 0x3fa 1; out 0x3f8 7; out 0x3fa 0x81; in 0x3fd -> 0x61; in 0x3f8 -> 7`,
  ],

  // interrupts
  ["without OUT2 there is no interrupt", `out 0x3f9 2; irq 4 -> 0; out 0x3fc 8; irq 4 -> 1; out 0x3fc 0; irq 4 -> 0`],
  [
    "THRE is asked for when it is enabled, and told once",
    `
    out 0x3fc 8; out 0x3f9 2; irq 4 -> 1; in 0x3fa -> 2; irq 4 -> 0; in 0x3fa -> 1`,
  ],
  [
    "THRE is not asked for again by enabling what is enabled",
    `
    out 0x3fc 8; out 0x3f9 2; in 0x3fa -> 2; out 0x3f9 2; in 0x3fa -> 1; out 0x3f9 3; in 0x3fa -> 1; irq 4 -> 0`,
  ],
  [
    "THRE is asked for again after it was disabled",
    `
    out 0x3fc 8; out 0x3f9 2; in 0x3fa -> 2; out 0x3f9 0; out 0x3f9 2; irq 4 -> 1; in 0x3fa -> 2`,
  ],
  ["disabling THRE takes the request back", `out 0x3fc 8; out 0x3f9 2; out 0x3f9 0; irq 4 -> 0; in 0x3fa -> 1`],
  [
    "writing THR ends THRE, and being empty again asks anew: an edge a byte",
    `
    out 0x3fc 8; out 0x3f9 2; edges 4 -> 1; out 0x3f8 0x41; edges 4 -> 01; in 0x3fa -> 2; edges 4 -> 0; out 0x3f8 0x42;
    edges 4 -> 1; sleep; printed -> "AB"`,
  ],
  ["writing THR asks for nothing while THRE is disabled", `out 0x3fc 8; out 0x3f8 1; in 0x3fa -> 1; edges 4 -> `],
  [
    "reading another reason leaves THRE pending",
    `
    out 0x3fc 8; out 0x3f9 3; type "a"; sleep; in 0x3fa -> 4; in 0x3fa -> 4; in 0x3f8 -> 0x61; in 0x3fa -> 2; irq 4 -> 0;
    in 0x3fa -> 1`,
  ],
  [
    "without FIFO every byte asks, with an edge each",
    `
    out 0x3fc 8; out 0x3f9 1; type "ab"; sleep; edges 4 -> 1; in 0x3fa -> 4; in 0x3f8 -> 0x61; edges 4 -> 01;
    in 0x3fa -> 4; in 0x3f8 -> 0x62; edges 4 -> 0; in 0x3fa -> 1`,
  ],
  [
    "fewer bytes than the trigger level are a character time-out",
    `
    out 0x3fc 8; out 0x3fa 0x41; out 0x3f9 1; type "abc"; sleep; in 0x3fa -> 0xcc; type "d"; sleep; in 0x3fa -> 0xc4;
    edges 4 -> 1; in 0x3f8 -> 0x61; edges 4 -> 01; in 0x3fa -> 0xcc; in 0x3f8 -> 0x62; in 0x3f8 -> 0x63; in 0x3f8 -> 0x64;
    in 0x3fa -> 0xc1; edges 4 -> 01010`,
  ],
  [
    "the trigger levels are 1, 4, 8 and 14",
    `
    out 0x3f9 1; out 0x3fa 0x01; type "a"; sleep; in 0x3fa -> 0xc4; out 0x3fa 0x41; in 0x3fa -> 0xcc; type "bcd"; sleep;
    in 0x3fa -> 0xc4; out 0x3fa 0x81; in 0x3fa -> 0xcc; type "efgh"; sleep; in 0x3fa -> 0xc4; out 0x3fa 0xc1;
    in 0x3fa -> 0xcc; type "ijklm"; sleep; in 0x3fa -> 0xcc; type "n"; sleep; in 0x3fa -> 0xc4`,
  ],
  [
    "received data masks THRE, and line status masks both",
    `
    out 0x3fc 0x18; out 0x3f9 7; out 0x3f8 1; out 0x3f8 2; in 0x3fa -> 6; in 0x3fd -> 0x63; in 0x3fa -> 4; in 0x3f8 -> 2;
    in 0x3fa -> 2; in 0x3fa -> 1; irq 4 -> 0`,
  ],
  [
    "modem status comes last",
    `
    out 0x3fc 0x18; out 0x3f9 0x0a; in 0x3fa -> 2; in 0x3fa -> 0; irq 4 -> 1; in 0x3fe -> 0x83; irq 4 -> 0; in 0x3fa -> 1`,
  ],
  [
    "the interrupt can be tested with data looped back",
    `
    out 0x3fc 0x18; out 0x3f9 1; irq 4 -> 0; out 0x3f8 0x55; irq 4 -> 1; in 0x3fa -> 4; in 0x3f8 -> 0x55; irq 4 -> 0;
    sleep; printed -> ""`,
  ],

  // loop-back
  [
    "loop-back returns a byte and prints nothing",
    `
    out 0x3fb 3; out 0x3fc 0x1e; out 0x3f8 0xae; in 0x3f8 -> 0xae; out 0x3fc 0x0f; out 0x3f8 0x21; sleep; printed -> "!"`,
  ],
  [
    "loop-back returns the modem outputs",
    `
    out 0x3fc 0x10; in 0x3fe -> 0x0b; out 0x3fc 0x11; in 0x3fe -> 0x22; out 0x3fc 0x12; in 0x3fe -> 0x13; out 0x3fc 0x14;
    in 0x3fe -> 0x41; out 0x3fc 0x18; in 0x3fe -> 0x8c; out 0x3fc 0x1f; in 0x3fe -> 0xf3; in 0x3fe -> 0xf0`,
  ],
  [
    "RI is reported when it ends, not when it begins",
    `
    out 0x3fc 0x10; in 0x3fe -> 0x0b; out 0x3fc 0x14; in 0x3fe -> 0x40; out 0x3fc 0x10; in 0x3fe -> 0x04`,
  ],
  [
    "changes add up until MSR is read",
    `
    out 0x3fc 0x10; out 0x3fc 0x00; in 0x3fe -> 0xbb; in 0x3fe -> 0xb0`,
  ],
  [
    "the 17th unread byte is an overrun and is lost, as FreeBSD counts the FIFO",
    `
    out 0x3fc 0x13; out 0x3fa 0x07; ${"out 0x3f8 1; ".repeat(16)} in 0x3fd -> 0x61; out 0x3f8 2; in 0x3fd -> 0x63;
    in 0x3fd -> 0x61; ${"in 0x3f8 -> 1; ".repeat(16)} in 0x3fd -> 0x60`,
  ],
  [
    "without FIFO an overrun replaces the byte",
    `
    out 0x3fc 0x10; out 0x3f8 1; out 0x3f8 2; in 0x3fd -> 0x63; in 0x3f8 -> 2; in 0x3fd -> 0x60`,
  ],
  [
    "no input arrives in loop-back, and none is lost",
    `
    out 0x3fc 0x18; out 0x3f9 1; type "a"; sleep; in 0x3fd -> 0x60; in 0x3fd -> 0x60; sleep; in 0x3fd -> 0x60;
    out 0x3f8 1; out 0x3fc 0x08; in 0x3f8 -> 1; sleep; in 0x3f8 -> 0x61`,
  ],
  [
    "input in RBR that is overrun by loop-back is not lost",
    `
    out 0x3f9 1; type "a"; sleep; out 0x3fc 0x10; out 0x3f8 1; in 0x3fd -> 0x63; out 0x3fc 0; in 0x3f8 -> 1; in 0x3f8 -> 0x61`,
  ],

  // what Linux looks for in 8250_port.c's autoconfig() to tell the chips apart
  [
    "Linux's probe finds a 16550A and nothing more",
    `
    out 0x3f9 0; in 0x3f9 -> 0; out 0x3f9 0x0f; in 0x3f9 -> 0x0f; out 0x3f9 0; out 0x3fc 0x1a; in 0x3fe -> 0x92; out 0x3fc 0;
    out 0x3fb 0xbf; out 0x3fa 0; out 0x3fb 0; out 0x3fa 1; in 0x3fa -> 0xc1; out 0x3fb 0x80; in 0x3fa -> 0xc1;
    out 0x3fb 0xbf; in 0x3fa -> 0xc1; out 0x3fb 0; out 0x3fa 0x21; in 0x3fa -> 0xc1; out 0x3fb 0x80; out 0x3fa 0x21;
    in 0x3fa -> 0xc1; out 0x3fb 0; out 0x3f9 0x40; in 0x3f9 -> 0`,
  ],
]);

Deno.test("Uart takes no more input than it can hold, and gives it in order", () => {
  const machine = new FakeMachine(uart);
  machine.run(`out 0x3fa 0x01; out 0x3f9 1`);
  const text = Array.from({ length: 20_000 }, (_, index) => 32 + (index * 7) % 95);
  machine.descriptors.typed.push(...text);
  const received: number[] = [];
  while (received.length < text.length) {
    machine.sleep();
    while (machine.in(0x3fd) & 1) received.push(machine.in(0x3f8));
  }
  assertEquals(received, text);
});

Deno.test("Uart leaves input unread that nobody listens for", () => {
  const machine = new FakeMachine(uart);
  machine.run(`type "abc"; sleep; out 0x3f8 0x3f; in 0x3fd; sleep`);
  assertEquals(machine.descriptors.typed.length, 3);
});
