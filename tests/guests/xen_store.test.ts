/** guests/xenstore: the store's answers on the ring, and a request to end by control/shutdown. */

import { assertEquals } from "@std/assert";
import { boot } from "xenolith/testing";
import { ANY_KVM, KVM, testWith } from "../support/capabilities.ts";

const UNHURRIED = { timeoutMs: 60_000 };

testWith([KVM], "the xenstore answers a guest as Xen's does", async () => {
  await using vm = await boot("guests/xenstore.img", { ...UNHURRIED, memory: "32M" });
  const { status, reason } = await vm.exited;
  const lines = [
    ...["name xenstore.img", "memory/target 32768", "nodes", "refusals", "watches", "transactions", "connected again"],
    "all answers right",
  ];
  const said = lines.map((line) => `xenstore: ${line}\n`).join("");
  assertEquals({ status, said: vm.console.text }, { status: 0, said }, reason);
});

testWith([KVM], "requestShutdown() has a guest power off that looks at control/shutdown", async () => {
  await using vm = await boot("guests/xenstore.img", { ...UNHURRIED, cmdline: "wait" });
  await vm.console.expect("waiting for control/shutdown\n");
  vm.requestShutdown();
  assertEquals(await vm.exited, { status: 0, reason: "the guest powered off" });
  assertEquals(vm.console.text, "xenstore: waiting for control/shutdown\nxenstore: told to poweroff\n");
});

testWith([ANY_KVM], "requestShutdown() reaches a guest that comes to look only later", async () => {
  await using vm = await boot("guests/xenstore.img", { ...UNHURRIED, cmdline: "wait" });
  vm.requestShutdown("reboot");
  assertEquals(await vm.exited, { status: 66, reason: "the guest asked for a reset" });
});
