import { assertEquals, assertStringIncludes } from "@std/assert";
import { boot } from "xenolith/testing";
import { KVM, testWith } from "../support/capabilities.ts";

testWith([KVM], "echo answers each line, halts when idle, and ends with the status that it is told", async () => {
  await using vm = await boot("guests/echo.img", { timeoutMs: 20_000 });
  await vm.console.expect("> ");
  vm.console.send("hello\n");
  await vm.console.expect("echo: hello");
  vm.console.send("quit 5\n");
  const exit = await vm.exited;
  assertEquals(exit.status, 5);
  assertStringIncludes(vm.console.text, "echo: hello");
});
