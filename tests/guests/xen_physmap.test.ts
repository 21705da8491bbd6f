/** guests/physmap: what a guest places in its physical map, and what it grants itself. */

import { assertEquals } from "@std/assert";
import { boot } from "xenolith/testing";
import { KVM, testWith, USERFAULT } from "../support/capabilities.ts";

const SAID = [
  "the memory map and reservations",
  "shared_info",
  "RAM at other gfns",
  "the grant table",
  "grants mapped",
  "grants of memory that moved",
  "grants copied",
  "grants of version 2",
  "all as in Xen",
];

for (const carrier of ["worker", "native"] as const) {
  testWith([KVM, USERFAULT], `frames stand where the guest has placed them (${carrier})`, async () => {
    await using vm = await boot("guests/physmap.img", { carrier, vcpus: 2, timeoutMs: 60_000 });
    const { status, reason } = await vm.exited;
    const said = SAID.map((line) => `physmap: ${line}\n`).join("");
    assertEquals({ status, said: vm.console.text }, { status: 0, said }, reason);
  });
}

testWith([KVM, USERFAULT], "frames stand where the guest has placed them (RAM populated on demand)", async () => {
  await using vm = await boot("guests/physmap.img", { memory: "16M", populateOnDemand: true, timeoutMs: 60_000 });
  const { status, reason } = await vm.exited;
  assertEquals({ status, last: vm.console.text.trimEnd().split("\n").at(-1) }, {
    status: 0,
    last: "physmap: all as in Xen",
  }, `${reason}\n${vm.console.text}`);
});
