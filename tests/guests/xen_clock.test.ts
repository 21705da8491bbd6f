/** guests/clock: the clocks and timers that Xen gives a guest. */

import { assertEquals } from "@std/assert";
import { boot } from "xenolith/testing";
import { ANY_KVM, KVM, testWith } from "../support/capabilities.ts";

const SAID = [
  "system time",
  "the time of day",
  "a timer that fires once",
  "a periodic timer",
  "polls",
  "a block",
  "runstates",
  "a time area",
];

for (const [carrier, vcpus, needs] of [["worker", 1, KVM], ["native", 3, KVM], ["worker", 3, ANY_KVM]] as const) {
  testWith([needs], `a guest's clocks and timers are Xen's (${carrier}, ${vcpus} vCPUs)`, async () => {
    const cmdline = `now=${Math.floor(Date.now() / 1000)}`;
    await using vm = await boot("guests/clock.img", { carrier, vcpus, cmdline, timeoutMs: 60_000 });
    const { status, reason } = await vm.exited;
    const several = vcpus > 1 ? [`${vcpus} vCPUs with one time`] : [];
    const lines = [...SAID, ...several, "vcpu_info at another place", "all as in Xen"];
    const said = lines.map((line) => `clock: ${line}\n`).join("");
    assertEquals({ status, said: vm.console.text }, { status: 0, said }, reason);
  });
}
