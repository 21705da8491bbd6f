/** Pause, resume and kick: no access of the guest is lost or done twice by them. */

import { assertEquals } from "@std/assert";
import { boot, type TestMachine } from "xenolith/testing";
import { ANY_KVM, KVM, testWith } from "../support/capabilities.ts";

const UNHURRIED = { timeoutMs: 60_000 };
const COUNT = 20_000;

const CARRIERS = ["worker", "native"] as const;
type Carrier = (typeof CARRIERS)[number];

/** A guest that writes `COUNT` bytes to a device model that counts them. */
function writer(carrier: Carrier): Promise<TestMachine> {
  const model = { module: "tests/support/models/tally.ts", configuration: { port: 0x500, value: 0x5a } };
  return boot("guests/exits.img", { ...UNHURRIED, carrier, deviceModels: [model], cmdline: `count=${COUNT}` });
}

/** Does `step` again and again, one turn of the event loop apart, until the guest has ended. */
async function meanwhile(vm: TestMachine, step: () => void | Promise<void>): Promise<number> {
  let ended = false, steps = 0;
  vm.exited.then(() => ended = true);
  for (; !ended; steps++) {
    await step();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return steps;
}

async function assertNothingLost(vm: TestMachine): Promise<void> {
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, reason);
  assertEquals(vm.console.text.endsWith(`exits: ${COUNT} done\n`), true, vm.console.text);
  assertEquals(vm.statistics.servers.find(({ id }) => id === 1)?.requests, COUNT);
  assertEquals(vm.statistics.ports.find(({ port }) => port === 0x500)?.exits, COUNT);
}

for (const carrier of CARRIERS) {
  const needs = [carrier === "native" ? KVM : ANY_KVM]; // a Worker makes the same calls

  testWith(needs, `a guest that is kicked while it writes loses no write and repeats none (${carrier})`, async () => {
    await using vm = await writer(carrier);
    const kicks = await meanwhile(vm, () => vm.kick());
    await assertNothingLost(vm);
    assertEquals(kicks > 20, true, `only ${kicks} kicks`);
  });

  testWith(
    needs,
    `a guest that is paused and resumed while it writes loses and repeats none (${carrier})`,
    async () => {
      await using vm = await writer(carrier);
      const pauses = await meanwhile(vm, async () => {
        await vm.pause();
        vm.resume();
      });
      await assertNothingLost(vm);
      assertEquals(pauses > 10, true, `only ${pauses} pauses`);
    },
  );

  testWith(needs, `while a guest is paused it makes no exits, and it goes on where it was (${carrier})`, async () => {
    await using vm = await writer(carrier);
    await vm.console.expect("times\n");
    await vm.pause();
    const before = vm.statistics.exits;
    await using other = await boot("guests/timer.img", UNHURRIED); // time that passes: 40 ticks of its clocks
    assertEquals((await other.exited).status, 0);
    assertEquals(vm.statistics.exits, before);
    vm.resume();
    await assertNothingLost(vm);
  });

  for (const cmdline of ["", "spin"]) {
    const how = cmdline === "" ? "is halted" : "spins";
    testWith(needs, `a guest that ${how} can be paused, kicked and stopped (${carrier})`, async () => {
      await using vm = await boot("guests/hang.img", { ...UNHURRIED, carrier, cmdline });
      await vm.console.expect("hang: ");
      await vm.pause();
      vm.kick();
      await vm.pause();
      vm.resume();
      vm.resume();
      vm.kick();
      await vm.pause();
      await vm[Symbol.asyncDispose]();
      assertEquals(await vm.exited, { status: 0, reason: "stopped from outside" });
    });
  }

  testWith(needs, `several vCPUs are paused together (${carrier})`, async () => {
    await using vm = await boot("guests/smp.img", { ...UNHURRIED, carrier, vcpus: carrier === "native" ? 16 : 4 });
    const pauses = await meanwhile(vm, async () => {
      await vm.pause();
      const before = vm.statistics.exits.IO; // not INTR: the guest may have ended, which kicks the others
      await new Promise((resolve) => setTimeout(resolve, 0));
      assertEquals(vm.statistics.exits.IO, before);
      vm.resume();
    });
    assertEquals((await vm.exited).status, 0, vm.console.text);
    assertEquals(pauses > 0, true);
  });
}
