/** `doctor`: what the host offers, and what an image is. */

import { assertEquals, assertMatch } from "@std/assert";
import { KVM, testWith } from "../support/capabilities.ts";
import { assertOneLine, finish } from "../support/command.ts";

testWith([KVM], "doctor says what the host offers, and that guests run here", async () => {
  const { status, stdout, stderr } = await finish("doctor", []);
  assertEquals({ status, stderr }, { status: 0, stderr: "" });
  assertMatch(stdout, /^deno +\d+\.\d+\.\d+$/m);
  assertMatch(stdout, /^\/dev\/kvm +opens; \d+ vCPUs and \d+ memory slots a VM$/m);
  assertMatch(stdout, /^guests run here$/m);
});

testWith([KVM], "doctor --json is one object on stdout", async () => {
  const { status, stdout } = await finish("doctor", ["--json"]);
  const host = JSON.parse(stdout);
  assertEquals({ status, missing: host.missing, deno: host.deno }, { status: 0, missing: [], deno: Deno.version.deno });
  assertEquals([host.maxVcpus > 0, host.memorySlots > 0, host.processors > 0], [true, true, true]);
});

for (
  const [image, format, entry] of [
    ["hello", /^format +ELF64 .*PVH/m, /^entry +0x[0-9a-f]+ in protected mode rbx=0x/m],
    ["null", /^format +ELF.*PVH/m, /^entry +0x[0-9a-f]+ in protected mode/m],
    ["multiboot32", /^format +.*Multiboot/m, /^entry +0x[0-9a-f]+ in protected mode rax=0x2badb002/m],
    ["bootsector", /^format +.*boot sector/m, /in real mode/],
    ["hello16", /^format +flat real-mode image/m, /in real mode/],
  ] as const
) {
  testWith([], `doctor says what ${image}.img is and where it goes`, async () => {
    const { status, stdout, stderr } = await finish("doctor", [`guests/${image}.img`]);
    assertEquals({ status, stderr }, { status: 0, stderr: "" });
    assertMatch(stdout, format);
    assertMatch(stdout, entry);
    assertMatch(stdout, /^segment +0x/m);
    assertMatch(stdout, /^memory map +0x/m);
  });
}

testWith([], "doctor --json IMAGE has format, entry, segments and memory map, by the options given", async () => {
  const args = ["--json", "--memory", "5G", "--vcpus", "3", "--cmdline", "x", "--initrd", "guests/null.img"];
  const { status, stdout } = await finish("doctor", [...args, "guests/hello.img"]);
  const { format, entry, segments, memoryMap } = JSON.parse(stdout);
  assertEquals({ status, mode: entry.mode }, { status: 0, mode: "protected" });
  assertMatch(format, /PVH/);
  assertEquals(segments.find(({ what }: { what: string }) => what === "initrd").sizeBytes, 142);
  assertEquals(memoryMap.slice(-2), [
    { address: 2 ** 32, sizeBytes: 2 * 2 ** 30, type: 1, name: "RAM" },
    { address: 32 * 2 ** 30, sizeBytes: 5 * 2 ** 30, type: 5, name: "UNUSABLE" },
  ]);
});

for (
  const [args, line] of [
    [["missing.img"], /^xenolith: image missing\.img: no such file$/],
    [["deno.json"], /^xenolith: /],
    [["--memory", "1M", "guests/hello.img"], /^xenolith: kernel segment 0 at .* lies outside RAM/],
    [["guests/hello.img", "guests/exit.img"], /^xenolith: doctor takes one image, not 2$/],
    [["--timeout", "1", "guests/hello.img"], /^xenolith: unknown option --timeout/],
  ] as const
) {
  testWith([], `doctor ${args.join(" ")}: one line and status 64`, async () => {
    const finished = await finish("doctor", args);
    assertOneLine(finished, 64, line);
    assertEquals(finished.stdout, "");
  });
}
