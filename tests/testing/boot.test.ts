/** boot(): what a test can rely on, whatever happens in it. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { boot } from "xenolith/testing";
import { ANY_KVM, testWith } from "../support/capabilities.ts";

const UNHURRIED = { timeoutMs: 60_000 };

testWith([ANY_KVM], "boot() takes a path, a URL, or bytes", async () => {
  const url = new URL("../../guests/exit.img", import.meta.url);
  for (const image of ["guests/exit.img", url, { name: "exit", bytes: Deno.readFileSync(url) }]) {
    await using vm = await boot(image, UNHURRIED);
    assertEquals(await vm.exited, { status: 7, reason: "the guest chose status 7: vcpu=0", vcpu: 0 });
  }
});

testWith([ANY_KVM], "when exited resolves, all output has arrived", async () => {
  await using vm = await boot("guests/hello.img", UNHURRIED);
  await vm.exited;
  assertEquals(vm.console.text, "Hello from Xenolith, in 64-bit long mode\n");
  await vm.console.ended;
});

testWith([ANY_KVM], "an image that cannot be booted rejects boot()", async () => {
  await assertRejects(() => boot("missing.img"), Error, "image missing.img: no such file");
  await assertRejects(() => boot({ name: "x", bytes: new Uint8Array() }), Error, "image x: empty");
});

testWith([ANY_KVM], "a run that is stopped by leaving its block has status 0", async () => {
  let exited;
  {
    await using vm = await boot("guests/hang.img");
    exited = vm.exited;
  }
  assertEquals(await exited, { status: 0, reason: "stopped from outside" });
});

testWith([ANY_KVM], "the first ending stands", async () => {
  await using vm = await boot("guests/exit.img", UNHURRIED);
  await vm.exited;
  await vm[Symbol.asyncDispose]();
  assertEquals((await vm.exited).status, 7);
});

testWith(
  [ANY_KVM],
  "what is asked of a machine that is gone does nothing, or throws: it never kills the process",
  async () => {
    const vm = await boot("guests/echo.img");
    const waiting = assertRejects(() => vm.console.expect("never said"), Error, "the guest ended");
    await vm.console.expect("> ");
    await vm[Symbol.asyncDispose]();
    await waiting;
    await vm[Symbol.asyncDispose]();
    vm.kick();
    vm.resume();
    await vm.pause();
    vm.console.send("hello");
    vm.console.endInput();
    vm.console.close();
    assertThrows(() => vm.statistics, ReferenceError, "was disposed");
    const error = await assertRejects(() => vm.console.expect("x"), Error);
    assertEquals(error.message.endsWith("\nvCPUs: 0 stopped"), true, error.message);
  },
);

testWith([ANY_KVM], "two disposals at once are one", async () => {
  const vm = await boot("guests/hang.img", { cmdline: "spin" });
  await Promise.all([vm[Symbol.asyncDispose](), vm[Symbol.asyncDispose](), vm.pause()]);
  assertEquals((await vm.exited).status, 0);
});

testWith([ANY_KVM], "a guest may end while it is paused", async () => {
  const vm = await boot("guests/hang.img", { timeoutMs: 50 });
  await vm.pause();
  assertEquals((await vm.exited).status, 124);
  await vm.pause();
  vm.resume();
  await vm[Symbol.asyncDispose]();
});

testWith([ANY_KVM], "a guest whose output nobody reads yet loses none of it", async () => {
  await using vm = await boot("guests/memory.img", UNHURRIED);
  await vm.exited;
  await vm.console.expect(/^memory map: /);
  await vm.console.expect(/memory: \d+ KiB tested\n$/);
});
