/** Every guest of guests/ says and does what its README says. */

import { assertEquals, assertMatch } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import { KVM, testWith } from "../support/capabilities.ts";

interface Expectation {
  readonly options?: BootOptions;
  readonly console: string | RegExp;
  readonly status: number;
  readonly reason: RegExp;
}

const CHOSE_0 = { status: 0, reason: /^the guest chose status 0: vcpu=0$/ };
const UNHURRIED = { timeoutMs: 60_000 };
const MAP_64M = "memory map: 0x0000000000000000, 0x000000000009fc00 bytes, RAM\n" +
  "memory map: 0x000000000009fc00, 0x0000000000000400 bytes, reserved\n" +
  "memory map: 0x00000000000e0000, 0x0000000000020000 bytes, reserved\n" +
  "memory map: 0x0000000000100000, 0x0000000003f00000 bytes, RAM\n";
const REGION_1G = "memory map: 0x0000000080000000, 0x0000000040000000 bytes, unusable\n";

const GUESTS: Record<string, readonly Expectation[]> = {
  hello: [{ ...CHOSE_0, console: "Hello from Xenolith, in 64-bit long mode\n" }],
  hello16: [
    { ...CHOSE_0, console: /^Hello from 16 bits\r?\n$/ },
    { ...CHOSE_0, console: /^Hello from 16 bits\r?\n$/, options: { memory: "1M" } },
  ],
  bootsector: [{
    ...CHOSE_0,
    console: new RegExp(
      "^bootsector: stage 1, loaded by the firmware\n" +
        "bootsector: stage 2, read by cylinder, head and sector\n" +
        "bootsector: the last sector, read by its number\n" +
        "(memory map: 0x[0-9a-f]{16}, 0x[0-9a-f]{16} bytes, type [12]\n){4,}" +
        "bootsector: the clock ticks\nbootsector: no key is waiting\nbootsector: the firmware answers\n$",
    ),
  }],
  multiboot32: [{
    ...CHOSE_0,
    options: { cmdline: "a b", modules: [{ name: "m", bytes: new TextEncoder().encode("some module bytes") }] },
    console: new RegExp(
      "^memory: 639 KiB below 1 MiB, 64512 KiB above\n(memory map: .*\n){4}" +
        'command line: "a b"\nmodules: 1\nmodule 0: 17 bytes, sum 0x4fb6c2dd, command line ".*"\n' +
        "multiboot: loaded as specified\n$",
    ),
  }],
  memory: [
    { ...CHOSE_0, console: new RegExp(`^${MAP_64M}${REGION_1G}memory: 6[45]\\d{3} KiB tested\n$`) },
    {
      ...CHOSE_0,
      console: new RegExp(`^${MAP_64M}memory: 6[45]\\d{3} KiB tested\n$`),
      options: { memory: "64M", extendedRegions: false },
    },
    { ...CHOSE_0, console: /\nmemory: \d+ KiB tested\n$/, options: { memory: "2M" } },
  ],
  unclaimed: [{
    ...CHOSE_0,
    console: "unclaimed: port 0x500\nunclaimed: port 0xfff0\nunclaimed: memory 0xd0000\n" +
      "unclaimed: memory 0x4000000\nunclaimed: 38 accesses gave all ones\n",
  }],
  timer: [{ ...CHOSE_0, console: "timer: PIT 20 ticks\ntimer: PIT 20 ticks, local APIC 20 ticks\n" }],
  exit: [{ status: 7, reason: /^the guest chose status 7: vcpu=0$/, console: "exit: status 7\n" }],
  reset: [
    { status: 66, reason: /^the guest asked for a reset$/, console: "reset: by the keyboard controller\n" },
    {
      options: { cmdline: "acpi" },
      status: 66,
      reason: /^the guest asked for a reset$/,
      console: "reset: by ACPI's reset register\n",
    },
    {
      options: { cmdline: "poweroff" },
      status: 0,
      reason: /^the guest powered off$/,
      console: "reset: powering off by ACPI\n",
    },
  ],
  triplefault: [{
    status: 125,
    reason: /^triple fault: vcpu=0 rip=0x[0-9a-f]+(: ud2 \[0f 0b\])?$/,
    console: "triplefault: an invalid instruction without an interrupt table\n",
  }],
  hang: [
    {
      options: { timeoutMs: 3000 },
      status: 124,
      reason: /^time-out after 3000 ms$/,
      console: "hang: halted with interrupts off\n",
    },
    {
      options: { timeoutMs: 3000, cmdline: "spin" },
      status: 124,
      reason: /^time-out after 3000 ms$/,
      console: "hang: spinning\n",
    },
  ],
  exits: [
    ...[
      ["out", 1, "port=0x510", "port 0x510"],
      ["out", 2, "port=0x510", "port 0x510"],
      ["out", 4, "port=0x510", "port 0x510"],
      ["in", 1, "port=0x510", "port 0x510"],
      ["in", 4, "port=0x510", "port 0x510"],
      ["write", 8, "address=0xd0000", "address 0xd0000"],
      ["read", 8, "address=0xd0000", "address 0xd0000"],
      ["read", 1, "address=0xd0003", "address 0xd0003"],
    ].map(([op, width, where, place]) => ({
      ...CHOSE_0,
      options: { cmdline: `count=100 op=${op} width=${width} ${where}` },
      console: `exits: ${op} of ${width} bytes at ${place}, 100 times\nexits: 100 done\n`,
    })),
    ...[["call", 0xe8, "xen_version"], ["call", 0xea, "xen_version"], ["send", 0xe8, "event_channel_op"]].map((
      [op, port, name],
    ) => ({
      ...CHOSE_0,
      options: { cmdline: `count=100 op=${op} port=${port}` },
      console: `exits: ${name} by port 0x${port.toString(16)}, 100 times\nexits: 100 done\n`,
    })),
  ],
  balloon: [{
    ...CHOSE_0,
    console: "balloon: scattered and contiguous\nballoon: an extent of 2 MiB\nballoon: bad arguments\n" +
      "balloon: 256 pages out and in, 4 rounds\n",
  }],
  pod: [
    { ...CHOSE_0, console: /(^|\n)pod: 1280 pages touched\n$/ },
    { ...CHOSE_0, console: /(^|\n)pod: 1280 pages touched\n/, options: { memory: "16M", populateOnDemand: true } },
  ],
  null: [{ status: 0, reason: /^the guest chose status 0: vcpu=0$/, console: "" }],
};

for (const [guest, expectations] of Object.entries(GUESTS)) {
  for (const { options, console, status, reason } of expectations) {
    const how = [options?.cmdline, options?.memory].filter((word) => word !== undefined).join(", ");
    testWith([KVM], `${guest} ${how === "" ? "" : `(${how}) `}ends with ${status} after its last line`, async () => {
      await using vm = await boot(`guests/${guest}.img`, { ...UNHURRIED, ...options });
      const exit = await vm.exited;
      assertEquals(exit.status, status, `${exit.reason}\n${vm.console.text}`);
      assertMatch(exit.reason, reason);
      if (typeof console === "string") assertEquals(vm.console.text, console);
      else assertMatch(vm.console.text, console);
    });
  }
}

testWith([], "every image in guests/ is in this catalogue or has a test of its own", () => {
  const ioreq = ["buffered", "ioreq-many", "ioreq-mmio", "ioreq-pio", "pci-scan"];
  const xen = [
    "clock",
    "evtchn",
    "hypercalls",
    "hypercalls32",
    "physmap",
    "pvconsole",
    "xenstore",
    "unpopulated",
    "ballooned",
    "virtio-bench",
    "virtio-blk",
    "virtio-console",
    "virtio-held",
    "virtio-net",
    "virtio-rng",
  ];
  const elsewhere = [
    "echo",
    "modules",
    "smp",
    "retry",
    "revoke",
    "touch",
    "upcall",
    "watch",
    "window",
    ...ioreq,
    ...xen,
  ];
  const images = Array.from(Deno.readDirSync("guests"), ({ name }) => name).filter((name) => name.endsWith(".img"));
  assertEquals(images.map((name) => name.slice(0, -4)).sort(), [...Object.keys(GUESTS), ...elsewhere].sort());
});

testWith([KVM], "triplefault's exit carries the vCPU and where it stood", async () => {
  await using vm = await boot("guests/triplefault.img", UNHURRIED);
  const { reason, vcpu, rip } = await vm.exited;
  assertEquals(vcpu, 0);
  assertEquals(reason.includes(`rip=0x${rip!.toString(16)}`), true, reason);
});
