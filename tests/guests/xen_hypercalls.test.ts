/** guests/hypercalls and hypercalls32: every hypercall, from code of every width, on every carrier. */

import { assertEquals } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import { ANY_KVM, KVM, repetitions, testWith } from "../support/capabilities.ts";
import { PAGING_32, XEN_HVM } from "../support/kvm_capabilities.ts";

const UNHURRIED = { timeoutMs: 60_000 };

const COMMON = [
  "version, features and texts",
  "317 calls with good and bad arguments",
  "43 numbers that are no calls",
  "39 parameters",
  "ports bound and closed",
  "a multicall of 6",
];

/** By console_io, right before the end: nothing of it may be lost. */
const LAST = `by console_io, in pieces of 127 bytes: ${"0123456789 ".repeat(7).trimEnd()}; all as in Xen`;

async function expectLines(guest: string, lines: readonly string[], options: BootOptions): Promise<void> {
  await using vm = await boot(`guests/${guest}.img`, { ...UNHURRIED, ...options });
  const { status, reason } = await vm.exited;
  const said = lines.map((line) => `${guest}: ${line}\n`).join("");
  assertEquals({ status, said: vm.console.text }, { status: 0, said }, reason);
}

for (const [carrier, vcpus] of [["worker", 2], ["native", 1], ["native", 2]] as const) {
  const needs = carrier === "native" && vcpus === 2 ? ANY_KVM : KVM;
  testWith([needs], `all hypercalls answer 64-bit code as Xen does (${carrier}, ${vcpus} vCPUs)`, async () => {
    const lines = [
      "128 stubs",
      ...COMMON.toSpliced(3, 0, "upper halves"),
      "10 structures at good and bad pointers, with page tables",
      ...(vcpus > 1 ? ["a second vCPU"] : []),
      "8 calls from 32-bit code",
      "3 calls at CPL3",
      LAST,
    ];
    await expectLines("hypercalls", lines, { carrier, vcpus });
  });
}

testWith([KVM], "all hypercalls answer 32-bit code without paging as Xen does", async () => {
  await expectLines("hypercalls32", [...COMMON, "10 structures at good and bad pointers", LAST], {});
});

for (const paging of ["two-level", "pae"]) {
  testWith([KVM, PAGING_32], `all hypercalls answer 32-bit code as Xen does (page tables: ${paging})`, async () => {
    const lines = [...COMMON, "10 structures at good and bad pointers, with page tables", LAST];
    await expectLines("hypercalls32", lines, { cmdline: `paging=${paging}` });
  });
}

for (const instruction of ["vmcall", "vmmcall"]) {
  testWith([KVM, XEN_HVM], `${instruction} makes a hypercall where KVM tells of it`, async () => {
    await using vm = await boot("guests/hypercalls.img", { ...UNHURRIED, cmdline: `instruction=${instruction}` });
    const { status, reason } = await vm.exited;
    assertEquals(vm.console.text.split("\n")[0], "hypercalls: by an instruction", reason);
    assertEquals(status, 0, vm.console.text);
  });
}

testWith([KVM], "calls with any arguments give a number or an error, and the guest goes on", async () => {
  const count = repetitions(10_000), seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`seed ${seed}`);
  await using vm = await boot("guests/hypercalls.img", { ...UNHURRIED, cmdline: `random=${count} seed=${seed}` });
  const { status, reason } = await vm.exited;
  const said = vm.console.text, line = `hypercalls: ${count} calls with any arguments, seed ${seed}`;
  assertEquals({ status, said: said.includes(`\n${line}\n`) }, { status: 0, said: true }, `${reason}\n${said}`);
});
