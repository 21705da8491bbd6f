/** Console input: by interrupt, by polling, and in several machines at once. */

import { assertEquals } from "@std/assert";
import { boot, type TestMachine } from "xenolith/testing";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { POLLING } from "../support/real_mode.ts";

const UNHURRIED = { timeoutMs: 60_000 };

async function converse(vm: TestMachine, lines: readonly string[]): Promise<void> {
  await vm.console.expect("> ");
  for (const line of lines) {
    vm.console.send(`${line}\n`);
    await vm.console.expect(`echo: ${line}\n> `);
  }
}

testWith([ANY_KVM], "echo: an idle vCPU is halted and makes no exits", async () => {
  await using vm = await boot("guests/echo.img", UNHURRIED);
  await converse(vm, ["hello"]);
  const before = vm.statistics.exits;
  await using other = await boot("guests/timer.img", UNHURRIED); // time that passes: 40 ticks of its clocks
  assertEquals((await other.exited).status, 0);
  assertEquals(vm.statistics.exits, before);
  vm.console.send("quit 3\n");
  assertEquals((await vm.exited).status, 3);
});

testWith([ANY_KVM], "echo: the end of the input leaves the guest running", async () => {
  await using vm = await boot("guests/echo.img", UNHURRIED);
  await vm.console.expect("> ");
  vm.console.send("last words\n");
  vm.console.endInput();
  await vm.console.expect("echo: last words\n> ");
  await vm.pause();
  vm.resume();
  vm.kick();
  assertEquals(vm.console.text, "> last words\necho: last words\n> ");
});

testWith([ANY_KVM], "six guests hold six conversations at once", async () => {
  const talks = Array.from({ length: 6 }, async (_, guest) => {
    await using vm = await boot("guests/echo.img", UNHURRIED);
    const lines = Array.from({ length: 10 }, (_, line) => `guest ${guest}, line ${line}`);
    await converse(vm, lines);
    vm.console.send(`quit ${guest + 1}\n`);
    const { status } = await vm.exited;
    assertEquals(vm.console.text, `> ${lines.map((line) => `${line}\necho: ${line}\n> `).join("")}quit ${guest + 1}\n`);
    return status;
  });
  assertEquals(await Promise.all(talks), [1, 2, 3, 4, 5, 6]);
});

testWith([ANY_KVM], "a guest that polls the line status gets its input although its requests never stop", async () => {
  await using vm = await boot(POLLING, UNHURRIED);
  for (const word of ["a", "bc", "x".repeat(100)]) {
    vm.console.send(word);
    await vm.console.expect(word);
  }
  vm.console.send("q");
  assertEquals((await vm.exited).status, 5);
});
