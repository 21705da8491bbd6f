/** guests/pvconsole: the PV console's ring is the guest's console, and how the guest ends reaches the outcome. */

import { assertEquals } from "@std/assert";
import { boot } from "xenolith/testing";
import { ANY_KVM, KVM, testWith } from "../support/capabilities.ts";

const UNHURRIED = { timeoutMs: 60_000 };

/** What the guest says of itself: lines of 64 bytes. */
function numbered(lines: number): string {
  return "pvconsole: by the ring\n" + Array.from({ length: lines }, (_, line) => {
    const digits = Array.from({ length: 57 }, (_, index) => (line + index + 6) % 10).join("");
    return `${String(line).padStart(5, "0")} ${digits}\n`;
  }).join("");
}

testWith([KVM], "nothing is lost on a PV console, with more output and input than its rings hold", async () => {
  await using vm = await boot("guests/pvconsole.img", UNHURRIED);
  await vm.console.expect("> ");
  const lines = Array.from({ length: 20 }, (_, index) => `line ${index} ${"abcdefghij".repeat(10)}`);
  vm.console.send(lines.map((line) => `${line}\n`).join("") + "quit=5\n");
  const { status, reason } = await vm.exited;
  const said = numbered(100) + lines.map((line) => `> echo: ${line}\n`).join("") + "> ";
  assertEquals({ status, said: vm.console.text }, { status: 5, said }, reason);
});

for (
  const [told, status, reason] of [
    ["poweroff", 0, "the guest powered off"],
    ["reboot", 66, "the guest asked for a reset"],
    ["crash", 125, 'the guest says that it crashed; it last said "> pvconsole: told to crash"'],
  ] as const
) {
  testWith([ANY_KVM], `SCHEDOP_shutdown for ${told} ends the run with ${status}, after the last words`, async () => {
    await using vm = await boot("guests/pvconsole.img", { ...UNHURRIED, cmdline: "lines=1" });
    vm.console.send(`${told}\n`);
    assertEquals(await vm.exited, { status, reason });
    assertEquals(vm.console.text, `${numbered(1)}> ${told === "crash" ? "pvconsole: told to crash\n" : ""}`);
  });
}
