/** console_io: a domU writes, and is refused all else. */

import { assertEquals } from "@std/assert";
import { CONSOLEIO } from "../../src/hypercall/abi/console.ts";
import { type ConsoleDomain, consoleIo } from "../../src/hypercall/console_io.ts";
import { EFAULT, EPERM } from "../../src/linux/errno.ts";
import { assertAnswersAnything, TestCaller, WIDTHS } from "./calls.ts";

function scene() {
  const pieces: string[] = [];
  const domain = {
    isEnding: false as boolean,
    writeDebugConsole: (bytes: DataView, count: number) =>
      void pieces.push(new TextDecoder().decode(new Uint8Array(bytes.buffer, 0, count))),
  } satisfies ConsoleDomain;
  return { domain, pieces };
}

for (const bits of WIDTHS) {
  Deno.test(`console_io prints what is there, ${bits} bits`, () => {
    const caller = new TestCaller(bits), text = Array.from({ length: 50 }, (_, line) => `line ${line}\n`).join("");
    new Uint8Array(caller.data.buffer).set(new TextEncoder().encode(text), 4000);
    for (const count of [0, 1, 127, 128, text.length]) {
      const { domain, pieces } = scene();
      assertEquals(consoleIo(domain, caller.with(CONSOLEIO.write, count, caller.pointer(4000))), 0);
      assertEquals(pieces.join(""), text.slice(0, count));
      assertEquals(pieces.includes(""), false);
    }
  });

  Deno.test(`console_io prints up to a page that is missing, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, pieces } = scene();
    new Uint8Array(caller.data.buffer).fill(0x61);
    assertEquals(consoleIo(domain, caller.with(CONSOLEIO.write, 1000, caller.missing(300))), -EFAULT);
    assertEquals(consoleIo(domain, caller.with(CONSOLEIO.write, 0xffff_ffff, caller.missing(127))), -EFAULT);
    assertEquals(pieces, new Array(3).fill("a".repeat(127)));
    assertEquals(consoleIo(domain, caller.with(CONSOLEIO.write, 1, caller.missing())), -EFAULT);
    assertEquals(consoleIo(domain, caller.with(CONSOLEIO.write, 0, caller.missing())), 0);
  });

  Deno.test(`console_io refuses to read, and anything else, ${bits} bits`, () => {
    const caller = new TestCaller(bits), { domain, pieces } = scene();
    for (const subop of [CONSOLEIO.read, 2, 0xffff_ffff]) {
      assertEquals(consoleIo(domain, caller.with(subop, 10, caller.pointer())), -EPERM);
    }
    assertEquals(pieces, []);
  });
}

Deno.test("console_io answers anything", () => {
  const { domain } = scene();
  assertAnswersAnything(Object.values(CONSOLEIO), (call) => consoleIo(domain, call));
});

Deno.test("console_io prints no more once the run has ended", () => {
  const caller = new TestCaller(64), { domain, pieces } = scene();
  domain.isEnding = true;
  assertEquals(consoleIo(domain, caller.with(CONSOLEIO.write, 0xffff_ffff, caller.pointer(0))), 0);
  assertEquals(pieces, []);
});
