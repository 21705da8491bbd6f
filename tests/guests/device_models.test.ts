/** Device models of a test's own: modules that are given to boot(). */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { boot } from "xenolith/testing";
import { KVM, testWith } from "../support/capabilities.ts";
import { PORT_510, REGISTERS_D0000 } from "../support/real_mode.ts";

const MODELS = "tests/support/models";
const UNHURRIED = { timeoutMs: 60_000 };

testWith([KVM], "a device model answers a port, and gets its configuration", async () => {
  const model = { module: `${MODELS}/port_counter.ts`, configuration: { port: 0x510, first: 42 } };
  await using vm = await boot(PORT_510, { ...UNHURRIED, deviceModels: [model] });
  assertEquals((await vm.exited).status, 42);
  assertEquals(vm.console.text, "*");
  assertEquals(vm.statistics.servers.find(({ id }) => id === 1)?.requests, 1);
});

testWith([KVM], "without the device model nobody answers", async () => {
  await using vm = await boot(PORT_510, UNHURRIED);
  assertEquals((await vm.exited).status, 63);
});

testWith([KVM], "the later one of two device models is asked first", async () => {
  const deviceModels = [7, 9].map((first) => ({
    module: new URL("../support/models/port_counter.ts", import.meta.url),
    configuration: { port: 0x510, first },
  }));
  await using vm = await boot(PORT_510, { ...UNHURRIED, deviceModels });
  assertEquals((await vm.exited).status, 9);
});

testWith([KVM], "a device model answers registers in memory, in every width", async () => {
  const model = { module: `${MODELS}/register_file.ts`, configuration: { address: 0xd0000 } };
  await using vm = await boot(REGISTERS_D0000, { ...UNHURRIED, deviceModels: [model] });
  assertEquals((await vm.exited).status, 0x57 & 63);
});

testWith([KVM], "a device model powers the machine off with the access that is its occasion", async () => {
  const configuration = { port: 0x500, value: 0x5a, count: 250 };
  const deviceModels = [{ module: `${MODELS}/tally.ts`, configuration }];
  await using vm = await boot("guests/exits.img", { ...UNHURRIED, deviceModels, cmdline: "count=100000" });
  const { status, reason } = await vm.exited;
  assertEquals({ status, reason }, { status: 0, reason: "the guest powered off" });
  assertEquals(vm.statistics.ports.find(({ port }) => port === 0x500)?.exits, 250);
});

/** Each fault, and what the reason says of it after "device model 1 failed: ". */
const FAULTS: Record<string, RegExp> = {
  "throws when it is written to": /^RangeError: no such register: 0x500 \(at .*faulty\.ts:\d+:\d+\)+$/,
  "throws at once": /^Error: nothing works \(at .*faulty\.ts:\d+:\d+\)+$/,
  "rejects": /^Error: nothing will work \(at .*faulty\.ts:\d+:\d+\)+$/,
  "claims a range twice": /^DmOpError: map_io_range_to_ioreq_server.*EEXIST/,
  "claims no range": /^DmOpError: map_io_range_to_ioreq_server.*EINVAL/,
  "wants too much state": /^RangeError: server 1 has no 1073741824 bytes of device state left/,
};

for (const [fault, pattern] of Object.entries(FAULTS)) {
  testWith([KVM], `a device model that ${fault} ends the run with 70 and one line that says so`, async () => {
    const deviceModels = [{ module: `${MODELS}/faulty.ts`, configuration: { fault } }];
    await using vm = await boot("guests/exits.img", { ...UNHURRIED, deviceModels, cmdline: "count=10" });
    const { status, reason } = await vm.exited;
    assertEquals(status, 70, reason);
    assertEquals(reason.includes("\n"), false, reason);
    const start = "device model 1 failed: ";
    assert(reason.startsWith(start), reason);
    assertMatch(reason.slice(start.length), pattern);
  });
}

for (
  const [what, module, pattern] of [
    ["does not exist", `${MODELS}/missing.ts`, /models\/missing\.ts/],
    ["has no default function", `${MODELS}/shapeless.ts`, /shapeless\.ts has no default export that is a function/],
  ] as const
) {
  testWith([KVM], `a device model whose module ${what} ends the run with 70 and one line that names it`, async () => {
    await using vm = await boot("guests/hello.img", { ...UNHURRIED, deviceModels: [module] });
    const { status, reason } = await vm.exited;
    assertEquals({ status, lines: reason.split("\n").length, console: vm.console.text }, {
      status: 70,
      lines: 1,
      console: "",
    });
    assertMatch(reason, pattern);
  });
}

testWith([KVM], "more device models than a domain has ioreq servers are refused", async () => {
  const deviceModels = Array.from({ length: 8 }, () => `${MODELS}/port_counter.ts`);
  await assertRejects(() => boot("guests/hello.img", { deviceModels }), Error, "8 device models: at most 7");
});
