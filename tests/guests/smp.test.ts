/** smp: every vCPU comes up, whatever their number. */

import { assertEquals } from "@std/assert";
import { boot } from "xenolith/testing";
import { KVM, testWith } from "../support/capabilities.ts";

for (const vcpus of [1, 2, 4, 8]) {
  testWith([KVM], `smp: ${vcpus} vCPUs come up, each once`, async () => {
    await using vm = await boot("guests/smp.img", { vcpus, timeoutMs: 60_000 });
    assertEquals((await vm.exited).status, 0, vm.console.text);
    const lines = vm.console.text.trimEnd().split("\n");
    assertEquals(lines.at(-1), `all ${vcpus} vCPUs are up`);
    const each = Array.from({ length: vcpus }, (_, vcpu) => `vCPU ${vcpu} of ${vcpus} up`);
    assertEquals(lines.slice(0, -1).toSorted(), each.toSorted());
  });
}

testWith([KVM], "a crash on one of several vCPUs ends them all", async () => {
  await using vm = await boot("guests/triplefault.img", { vcpus: 4, timeoutMs: 60_000 });
  const { status, vcpu } = await vm.exited;
  assertEquals({ status, vcpu }, { status: 125, vcpu: 0 });
});
