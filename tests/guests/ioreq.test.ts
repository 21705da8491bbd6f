/** Guests that do every kind of access, against device models in Workers. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import { pciGsi } from "../../src/domain/interrupt_lines.ts";
import { ANY_KVM, KVM, REAL_TIME, testWith } from "../support/capabilities.ts";
import type { AnswersConfiguration } from "../support/models/answers.ts";
import type { MemoryConfiguration } from "../support/models/memory.ts";
import type { PciFunction } from "../support/models/pci.ts";

const WINDOW = 0xfd00_0000;
const UNHURRIED = { timeoutMs: 120_000 };

function model(name: string, configuration: unknown) {
  return { module: `tests/support/models/${name}.ts`, configuration };
}

/** Boots a guest, which checks what it sees by itself. @returns what it said */
async function passes(guest: string, cmdline: string, options: BootOptions): Promise<string> {
  await using vm = await boot(`guests/${guest}.img`, { ...UNHURRIED, cmdline, ...options });
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, `${reason}\n${vm.console.text}`);
  return vm.console.text;
}

function lastLine(text: string): string | undefined {
  return text.split("\n").at(-2);
}

for (const [address, size] of [[WINDOW, 0x2000], [WINDOW, 0x1ffd], [WINDOW + 0x123, 0x2345]]) {
  const where = `address=0x${address.toString(16)} size=0x${size.toString(16)}`;
  testWith(
    [address === WINDOW ? ANY_KVM : KVM],
    `ioreq-mmio (${where}): every width, alignment and instruction`,
    async () => {
      const configuration: MemoryConfiguration = { address, size };
      const text = await passes("ioreq-mmio", where, { deviceModels: [model("memory", configuration)] });
      assertEquals(lastLine(text), "ioreq-mmio: 1070 accesses, all as to memory");
    },
  );
}

testWith([KVM], "ioreq-pio: every width, string instructions, over the range's end", async () => {
  const configuration: MemoryConfiguration = { port: 0x600, size: 16, queue: 0x620 };
  const text = await passes("ioreq-pio", "queue=0x620", { deviceModels: [model("memory", configuration)] });
  assertEquals(lastLine(text), "ioreq-pio: 31888 accesses, all as to memory");
});

/** How many vCPUs, on which carriers, and the sum that the guest prints. */
const MANY: [vcpus: number, sum: string, carriers: ("worker" | "native")[]][] = [
  [1, "0x000000be", ["worker", "native"]],
  [8, "0x195a3920", ["worker", "native"]],
  [128, "0x9ada6a00", ["native"]],
  [129, "0xc59b54be", ["native"]], // the second page begins
  [300, "0x7c742610", ["native"]], // APIC ids beyond a byte
  [1024, "0x639f5000", ["native"]],
];

for (
  const [vcpus, sum, carrier] of MANY.flatMap(([vcpus, sum, kinds]) => kinds.map((kind) => [vcpus, sum, kind] as const))
) {
  // The lane's one processor takes minutes for a thousand.
  const needs = vcpus > 129 ? [ANY_KVM, REAL_TIME] : [vcpus === 129 ? KVM : ANY_KVM];
  testWith(needs, `ioreq-many (${carrier}): ${vcpus} vCPUs, each through its own slot`, async () => {
    const configuration: AnswersConfiguration = { address: WINDOW, vcpus };
    const options = { vcpus, carrier, deviceModels: [model("answers", configuration)] };
    const text = await passes("ioreq-many", "", options);
    assertEquals(lastLine(text), `ioreq-many: ${vcpus} vCPUs, 20 rounds, all right, sum ${sum}`);
  });
}

testWith([KVM], "buffered: thousands of writes in their order, without a request each", async () => {
  await using vm = await boot("guests/buffered.img", {
    ...UNHURRIED,
    deviceModels: [model("video", { port: 0x600 })],
  });
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, `${reason}\n${vm.console.text}`);
  assertEquals(lastLine(vm.console.text), "buffered: 5600 writes, all in order");
  const { requests } = vm.statistics.servers.find(({ id }) => id === 1)!;
  assert(requests < 1000, `${requests} of the writes were requests`);
});

const FUNCTIONS: readonly PciFunction[] = [
  { device: 0, fn: 0, id: 0x1234_0001, class: 0x06_0000 },
  {
    device: 3,
    fn: 0,
    id: 0xabcd_1234,
    class: 0xff_0000,
    bars: [{ value: 0xc000_0000, writable: 0xffff_f000 }, { value: 0xc001, writable: 0xffff_ffe0 }],
    pin: 1,
  },
  { device: 31, fn: 7, id: 0x1001_1af4, class: 0x02_0000 },
];

testWith([KVM], "pci-scan: functions of two servers, BARs, and an interrupt by INTA", async () => {
  const irq = pciGsi(3, 0);
  const text = await passes("pci-scan", `irq=${irq}`, {
    deviceModels: [model("pci", FUNCTIONS.slice(0, 2)), model("pci", FUNCTIONS.slice(2))],
  });
  for (
    const line of ["00:00.0 0001:1234 class 060000", "00:03.0 1234:abcd class ff0000", "00:1f.7 1af4:1001 class 020000"]
  ) {
    assert(text.includes(`pci-scan: ${line}\n`), text);
  }
  assertMatch(text, new RegExp(`00:03.0 interrupt ${irq}: raised 3 times`));
  assertEquals(lastLine(text), "pci-scan: 3 functions");
});

testWith([KVM], "pci-scan: where nobody claims anything there is nothing", async () => {
  assertEquals(await passes("pci-scan", "", {}), "pci-scan: 0 functions\n");
});
