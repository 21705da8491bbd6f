/** smp: every vCPU comes up, whatever their number, and whatever carries them. */

import { assertEquals } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import { ANY_KVM, KVM, testWith } from "../support/capabilities.ts";

/** 40: two dispatchers, where there are two processors. One number of each is enough for another KVM. */
const COUNTS: [carrier: NonNullable<BootOptions["carrier"]>, counts: number[], inLane: number][] = [
  ["worker", [1, 2, 4, 8], 2],
  ["native", [1, 2, 4, 8, 40], 8],
  ["auto", [9], 9],
];

for (const [carrier, counts, inLane] of COUNTS) {
  for (const vcpus of counts) {
    testWith([vcpus === inLane ? KVM : ANY_KVM], `smp (${carrier}): ${vcpus} vCPUs come up, each once`, async () => {
      await using vm = await boot("guests/smp.img", { vcpus, carrier, timeoutMs: 60_000 });
      assertEquals((await vm.exited).status, 0, vm.console.text);
      const lines = vm.console.text.trimEnd().split("\n");
      assertEquals(lines.at(-1), `all ${vcpus} vCPUs are up`);
      const each = Array.from({ length: vcpus }, (_, vcpu) => `vCPU ${vcpu} of ${vcpus} up`);
      assertEquals(lines.slice(0, -1).toSorted(), each.toSorted());
    });
  }
}

for (const carrier of ["worker", "native"] as const) {
  testWith(
    [carrier === "native" ? KVM : ANY_KVM],
    `a crash on one of several vCPUs ends them all (${carrier})`,
    async () => {
      await using vm = await boot("guests/triplefault.img", { vcpus: 4, carrier, timeoutMs: 60_000 });
      const { status, vcpu, rip } = await vm.exited;
      assertEquals({ status, vcpu, rip: rip !== undefined }, { status: 125, vcpu: 0, rip: true });
    },
  );
}
