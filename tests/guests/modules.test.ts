/** modules: command line, initrd and modules reach the guest, byte for byte. */

import { assertEquals } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import { KVM, testWith } from "../support/capabilities.ts";
import { printedSeed, randomBytes } from "../support/random.ts";

const text = new TextEncoder();

async function output(options: BootOptions): Promise<string> {
  await using vm = await boot("guests/modules.img", { timeoutMs: 60_000, ...options });
  assertEquals((await vm.exited).status, 0, vm.console.text);
  return vm.console.text;
}

/** The guest's line for a module. */
function line(index: number, bytes: Uint8Array, cmdline: string): string {
  const words = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  words.set(bytes);
  const sum = new Uint32Array(words.buffer).reduce((total, word) => (total + word) >>> 0, 0);
  const start = Array.from(
    bytes.subarray(0, 32),
    (byte) => byte >= 32 && byte <= 126 ? String.fromCharCode(byte) : ".",
  );
  return `module ${index}: ${bytes.length} bytes, sum 0x${sum.toString(16).padStart(8, "0")}, ` +
    `command line "${cmdline}", text "${start.join("")}"\n`;
}

for (const cmdline of ["", "a=b c", "  two  spaces ", 'quotes " and \\', "ümläute", "x".repeat(4000)]) {
  testWith([KVM], `modules: the command line ${JSON.stringify(cmdline.slice(0, 20))} arrives`, async () => {
    assertEquals(await output({ cmdline }), `command line: "${cmdline}"\nmodules: 0\nmodules: all read\n`);
  });
}

testWith([KVM], "modules: initrd and modules arrive in their order, with their command lines", async () => {
  const seed = printedSeed();
  const initrd = randomBytes(70_001, seed),
    first = text.encode("some module bytes"),
    second = randomBytes(4096, seed + 1);
  const said = await output({
    cmdline: "a=b",
    initrd: { name: "initrd", bytes: initrd },
    modules: [
      { name: "first", bytes: first },
      { file: { name: "second", bytes: second }, cmdline: "with a line" },
    ],
  });
  assertEquals(
    said,
    `command line: "a=b"\nmodules: 3\n${line(0, initrd, "")}${line(1, first, "")}${line(2, second, "with a line")}` +
      "modules: all read\n",
  );
});

testWith([KVM], "modules: a file is read from its path", async () => {
  const bytes = Deno.readFileSync("guests/null.img");
  const said = await output({ modules: ["guests/null.img", { file: "guests/null.img", cmdline: "again" }] });
  assertEquals(
    said,
    `command line: ""\nmodules: 2\n${line(0, bytes, "")}${line(1, bytes, "again")}modules: all read\n`,
  );
});
