/** TestConsole: expectations, met and not met. */

import { assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { boot, ExpectError } from "xenolith/testing";
import { ANY_KVM, testWith } from "../support/capabilities.ts";

testWith([ANY_KVM], "expect() consumes up to the end of the match, and returns it", async () => {
  await using vm = await boot("guests/echo.img");
  await vm.console.expect("> ");
  vm.console.send("one\ntwo\n");
  assertEquals((await vm.console.expect(/echo: (\w+)\n/))[1], "one");
  assertEquals((await vm.console.expect(/echo: (\w+)\n/g))[1], "two");
  await vm.console.expect("> ");
  assertEquals(vm.console.text, "> one\necho: one\n> two\necho: two\n> ");
});

testWith([ANY_KVM], "a string is expected as it is, not as a regular expression", async () => {
  await using vm = await boot("guests/echo.img");
  await vm.console.expect("> ");
  vm.console.send("a.c (x)* [y] $\n");
  await vm.console.expect("echo: a.c (x)* [y] $\n");
});

testWith([ANY_KVM], "output that came before it was expected is found", async () => {
  await using vm = await boot("guests/memory.img");
  await vm.exited;
  await vm.console.expect("reserved\n");
  await vm.console.expect("reserved\n");
  await assertRejects(() => vm.console.expect("reserved\n"), ExpectError, "the guest ended");
});

testWith(
  [ANY_KVM],
  "an expectation that is not met in time says what was expected, what came, and what the vCPUs do",
  async () => {
    await using vm = await boot("guests/echo.img", { vcpus: 2 });
    await vm.console.expect("> ");
    vm.console.send("hello\n");
    await vm.console.expect("echo: ");
    await vm.console.expect("hello\n");
    await vm.console.expect("> ");
    const error = await assertRejects(() => vm.console.expect(/nev+er/, { timeoutMs: 50 }), ExpectError);
    assertEquals(error.message, "console: expected /nev+er/: nothing within 50 ms\n  | \nvCPUs: 0 running, 1 running");
  },
);

testWith([ANY_KVM], "an expectation that the guest's end leaves unmet fails at once, with the last lines", async () => {
  await using vm = await boot("guests/hello.img");
  const error = await assertRejects(() => vm.console.expect("never", { timeoutMs: 60_000 }));
  assertInstanceOf(error, ExpectError);
  assertMatch(
    error.message,
    /^console: expected "never": the guest ended\n {2}\| Hello from Xenolith, in 64-bit long mode\n {2}\| \nvCPUs: 0 /,
  );
});

testWith([ANY_KVM], "input for a guest that has ended is dropped", async () => {
  await using vm = await boot("guests/hello.img");
  await vm.exited;
  vm.console.send("x".repeat(100_000));
  vm.console.endInput();
});

testWith([ANY_KVM], "text beyond ASCII passes in both directions", async () => {
  await using vm = await boot("guests/echo.img");
  await vm.console.expect("> ");
  vm.console.send("grüße, 世界\n");
  await vm.console.expect("echo: grüße, 世界\n");
});
