/** Guests that check for themselves what they see of windows: guests/retry and guests/revoke, on both transports. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import { ANY_KVM, KVM, LANE, repetitions, testWith, USERFAULT } from "../support/capabilities.ts";
import { finish, start } from "../support/command.ts";
import { carriersFor } from "../support/window_scene.ts";

const MODELS = "tests/support/models", UNHURRIED = { timeoutMs: 120_000 };
const WINDOW = 0xfd00_0000, ABOVE_4_GIB = 0x1_4000_0000, BYTES = 0x1_0000;
const TRANSPORTS = ["fault", "exit"] as const;
type Transport = (typeof TRANSPORTS)[number];

/** How many instruction kinds the guest knows, by transport (guests/retry/README.md). */
const KINDS = { fault: 431, exit: 404 }, ALL = /^retry: \d+ kinds, all as on RAM$/;

function needs(transport: Transport, kvm = KVM) {
  return transport === "fault" ? [kvm, USERFAULT] : [kvm];
}

/** Boots a guest with a model in a Worker. @returns its last line */
async function lastLine(guest: string, module: string, configuration: unknown, options: BootOptions): Promise<string> {
  const deviceModels = [{ module: `${MODELS}/${module}.ts`, configuration }];
  await using vm = await boot(`guests/${guest}.img`, { ...UNHURRIED, ...options, deviceModels });
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, `${reason}\n${vm.console.text}`);
  return vm.console.text.trimEnd().split("\n").at(-1)!;
}

/** The same with the model and the hypervisor in processes of their own. */
async function lastLineOfTwo(guest: string, module: string, configuration: unknown, words: readonly string[]) {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" }), socket = `${directory}/1.sock`;
  try {
    const text = JSON.stringify(configuration);
    const dm = [`${MODELS}/${module}.ts`, "--socket", socket, "--configuration", text];
    await using model = start("dm", dm, { stdin: "null", patienceMs: 120_000 });
    const run = ["--timeout", "100", "--device-model", socket, ...words, `guests/${guest}.img`];
    const { status, stdout, stderr } = await finish("run", run, { patienceMs: 120_000 });
    assertEquals(status, 0, `${stderr}\n${stdout}\n${model.stderr.text}`);
    const left = await model.finished();
    assertEquals([left.status, left.stderr], [0, ""]);
    return stdout.trimEnd().split("\n").at(-1)!;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

for (const transport of TRANSPORTS) {
  const all = `retry: ${KINDS[transport]} kinds, all as on RAM`;
  for (const carrier of carriersFor(transport)) {
    testWith(
      needs(transport),
      `retry: every instruction on missing pages is as on RAM (${transport}, ${carrier})`,
      async () => {
        const half = LANE ? " cpl=3" : "", cmdline = `transport=${transport}${half}`;
        const line = await lastLine("retry", "window", { transport }, { carrier, cmdline });
        if (LANE) assertMatch(line, ALL);
        else assertEquals(line, all);
      },
    );
  }

  testWith(
    needs(transport, ANY_KVM),
    `retry: the same with a device model in another process (${transport})`,
    async () => {
      const words = ["--cmdline", `transport=${transport}${LANE ? " cpl=0" : ""}`];
      assertMatch(await lastLineOfTwo("retry", "window", { transport }, words), ALL);
    },
  );

  testWith(needs(transport), `retry: above 4 GiB, at CPL3, with pages mapped ahead (${transport})`, async () => {
    const configuration = { transport, address: ABOVE_4_GIB, sizeBytes: BYTES, ahead: 3 };
    const cmdline = `transport=${transport} address=0x${ABOVE_4_GIB.toString(16)} size=0x${BYTES.toString(16)} cpl=3`;
    assertMatch(await lastLine("retry", "window", configuration, { cmdline }), ALL);
  });

  // By exit KVM's emulator reads and then writes: with several vCPUs no locked instruction is that on a page that goes.
  for (const vcpus of transport === "fault" ? [2, 4].slice(0, repetitions(2)) : [1]) {
    for (const carrier of carriersFor(transport)) {
      const name = `revoke: ${vcpus} vCPUs lose nothing while pages come, go and move (${transport}, ${carrier})`;
      testWith(needs(transport), name, async () => {
        const configuration = { address: WINDOW, sizeBytes: BYTES, port: 0x510, transport, ahead: 1 };
        const cmdline = `rounds=${repetitions(2000)}`;
        const line = await lastLine("revoke", "window_revoker", configuration, { carrier, vcpus, cmdline });
        const visits = vcpus * repetitions(2000);
        assertMatch(line, new RegExp(`^revoke: ${vcpus} vCPUs?, ${visits} visits, nothing lost, stale or torn$`));
      });
    }
  }

  testWith(
    needs(transport, ANY_KVM),
    `revoke: the same with a device model in another process (${transport})`,
    async () => {
      const configuration = { address: WINDOW, sizeBytes: BYTES, port: 0x510, transport, ahead: 2 };
      const vcpus = transport === "fault" ? 3 : 1, visits = vcpus * repetitions(1000);
      const words = ["--vcpus", `${vcpus}`, "--cmdline", `rounds=${repetitions(1000)}`];
      const line = await lastLineOfTwo("revoke", "window_revoker", configuration, words);
      assertMatch(line, new RegExp(`^revoke: ${vcpus} vCPUs?, ${visits} visits, nothing lost, stale or torn$`));
    },
  );
}

testWith(
  [ANY_KVM], // 60000 requests, one after another: minutes in the lane
  "retry: a device model that emulates the window, and maps nothing, passes without fetches",
  async () => {
    const configuration = { address: WINDOW, sizeBytes: 0x8000 };
    const line = await lastLine("retry", "window_emulated", configuration, {
      cmdline: "transport=exit no-fetch cpl=3",
    });
    assertMatch(line, /^retry: \d+ kinds, all as on RAM$/);
  },
);

testWith(
  [KVM, USERFAULT],
  "a device model gets no page of another's window by its guest memory, and is told why",
  async () => {
    for (const transport of TRANSPORTS) {
      const configuration = { address: 0xd_0000, transport };
      const snoop = { module: `${MODELS}/window_snoop.ts`, configuration, memory: "all" as const };
      await using vm = await boot("guests/exits.img", {
        ...UNHURRIED,
        cmdline: "count=5 op=read width=4 address=0xd0000",
        deviceModels: [snoop],
      });
      const { status, reason } = await vm.exited;
      assertEquals(status, 0, `${reason}\n${vm.console.text}`);
      assert(vm.console.text.includes("5 done"), vm.console.text);
    }
  },
);
