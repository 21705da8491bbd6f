/** Guests whose device models are other processes: modules under `dm`, and a program in C. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import { NOTIFICATION } from "../../src/ioreq/notification.ts";
import * as calls from "../../src/linux/calls.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import type { MemoryGrant } from "../../src/domain/grants.ts";
import { ANY_KVM, file, program, testWith } from "../support/capabilities.ts";
import { type Command, start } from "../support/command.ts";
import { GateClient } from "../domain/gate_client.ts";
import { DEAD } from "../support/models/kept_memory.ts";

const MODELS = "tests/support/models", UNHURRIED = { timeoutMs: 120_000 };
const WINDOW = 0xfd00_0000, WINDOW_BYTES = 0x2000;
const C_MODELS = "tests/dm/c_model", MODEL_C = `${C_MODELS}/model.c`, WINDOW_C = `${C_MODELS}/window.c`;
const C = [program("gcc", "gcc"), file("/usr/include/xen/hvm/ioreq.h", "libxen-dev")];

const KIB = 2 ** 10, MIB = 2 ** 20, PAGE = 4096;

/** A directory, and what is started in it. */
class Scene implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly directory = Deno.makeTempDirSync({ prefix: "xenolith-test-" });

  constructor() {
    this.#stack.defer(() => Deno.remove(this.directory, { recursive: true }));
  }

  socket(number = 1): string {
    return `${this.directory}/${number}.sock`;
  }

  /** `deno task dm` at a socket. */
  dm(model: string, configuration: unknown, number = 1): Command {
    const words = ["--socket", this.socket(number), "--configuration", JSON.stringify(configuration)];
    return this.#stack.use(start("dm", [`${MODELS}/${model}.ts`, ...words], { stdin: "null" }));
  }

  /** The C device model at socket 1. */
  async model(...words: string[]): Promise<Deno.ChildProcess> {
    return await this.program(MODEL_C, ...words);
  }

  /** A program in C that is given socket 1, and more. */
  async program(source: string, ...words: string[]): Promise<Deno.ChildProcess> {
    const binary = `${this.directory}/model`;
    const gcc = new Deno.Command("gcc", { args: ["-O2", "-Wall", "-Wextra", "-Werror", "-o", binary, source] });
    const { success, stderr } = await gcc.output();
    assert(success, new TextDecoder().decode(stderr));
    const child = new Deno.Command(binary, { args: [this.socket(), ...words], stdin: "null" }).spawn();
    this.#stack.defer(async () => {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has left.
      }
      await child.status;
    });
    return child;
  }

  /** Boots a guest with the device models at these sockets, which checks what it sees by itself. @returns what it said */
  async passes(guest: string, cmdline: string, options: BootOptions = {}, sockets = [1]): Promise<string> {
    const deviceModels = sockets.map((number) => ({ socket: this.socket(number) }));
    await using vm = await boot(`guests/${guest}.img`, { ...UNHURRIED, cmdline, deviceModels, ...options });
    const { status, reason } = await vm.exited;
    assertEquals(status, 0, `${reason}\n${vm.console.text}`);
    return vm.console.text.trimEnd().split("\n").at(-1)!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

testWith([ANY_KVM], "run and dm, two processes, in either order of starting", async () => {
  for (const modelFirst of [true, false]) {
    await using scene = new Scene();
    const startModel = () => scene.dm("memory", { address: WINDOW, size: WINDOW_BYTES });
    const early = modelFirst ? startModel() : undefined;
    const args = ["--timeout", "60", "--device-model", scene.socket(), "guests/ioreq-mmio.img"];
    await using run = start("run", args, { stdin: "null" });
    const model = early ?? startModel();
    const finished = await run.finished();
    assertEquals(finished.status, 0, finished.stderr);
    assert(finished.stdout.endsWith("ioreq-mmio: 1070 accesses, all as to memory\n"), finished.stdout);
    const { status, stdout, stderr } = await model.finished();
    assertEquals({ status, stdout, stderr }, { status: 0, stdout: "", stderr: "" });
  }
});

testWith([ANY_KVM], "ioreq-pio: ports in another process, string instructions too", async () => {
  await using scene = new Scene();
  scene.dm("memory", { port: 0x600, size: 16, queue: 0x620 });
  assertEquals(await scene.passes("ioreq-pio", "queue=0x620"), "ioreq-pio: 31888 accesses, all as to memory");
});

testWith([ANY_KVM], "buffered: thousands of writes in their order, by the ring", async () => {
  await using scene = new Scene();
  scene.dm("video", { port: 0x600 });
  assertEquals(await scene.passes("buffered", ""), "buffered: 5600 writes, all in order");
});

for (const [vcpus, options, sum] of [[4, {}, ""], [129, { carrier: "native" }, ""]] as const) {
  testWith([ANY_KVM], `ioreq-many: ${vcpus} vCPUs, each through its own slot, in another process`, async () => {
    await using scene = new Scene();
    scene.dm("answers", { address: WINDOW, vcpus });
    const line = await scene.passes("ioreq-many", sum, { vcpus, ...options });
    assert(line.startsWith(`ioreq-many: ${vcpus} vCPUs, 20 rounds, all right`), line);
  });
}

testWith([ANY_KVM], "two device models in processes of their own, and one in a Worker", async () => {
  await using scene = new Scene();
  const functions = [0, 3, 31].map((device) => ({ device, fn: 0, id: 0xabcd_0001 + device, class: 0xff_0000 }));
  scene.dm("pci", [functions[0]], 1);
  scene.dm("pci", [functions[1]], 2);
  const worker = { module: `${MODELS}/pci.ts`, configuration: [functions[2]] };
  const deviceModels = [{ socket: scene.socket(1) }, worker, { socket: scene.socket(2) }];
  assertEquals(await scene.passes("pci-scan", "", { deviceModels }), "pci-scan: 3 functions");
});

for (
  const [words, guest, line] of [
    [["memory", "0xfd000000", "0x2000"], "ioreq-mmio", "ioreq-mmio: 1070 accesses, all as to memory"],
    [["port", "0x600", "16"], "ioreq-pio", "ioreq-pio: 304 accesses, all as to memory"],
    [["memory", "0xa0000", "0x20000", "0x600"], "buffered", "buffered: 5600 writes, all in order"],
  ] as const
) {
  testWith(
    [ANY_KVM, ...C],
    `${guest}: a device model in C, from the protocol's document and Xen's header alone`,
    async () => {
      await using scene = new Scene();
      const child = await scene.model(...words);
      assertEquals(await scene.passes(guest, ""), line);
      assertEquals((await child.status).code, 0);
    },
  );
}

for (const [transport, kinds] of [["fault", 431], ["exit", 404]] as const) {
  testWith([ANY_KVM, ...C], `retry: a window of a device model in C, by ${transport}`, async () => {
    await using scene = new Scene();
    const child = await scene.program(WINDOW_C, "0xfd000000", "0x10000", "0x510", transport);
    const line = await scene.passes("retry", `size=0x10000 transport=${transport}`);
    assertEquals(line, `retry: ${kinds} kinds, all as on RAM`);
    assertEquals((await child.status).code, 0);
  });
}

testWith(C, "each C device model is under 350 lines, with what they have in common", async () => {
  const lines = async (name: string) => (await Deno.readTextFile(`${C_MODELS}/${name}`)).split("\n").length;
  for (const name of ["model.c", "window.c"]) assert(await lines(name) + await lines("client.h") <= 350);
});

testWith([ANY_KVM], "with hold the guest does not notice that a device model dies and another takes over", async () => {
  await using scene = new Scene();
  const configuration = { address: WINDOW, size: WINDOW_BYTES, deaths: [1, 2, 100, 3000, 6000] };
  let model = scene.dm("kept_memory", configuration);
  const deviceModels = [{ socket: scene.socket() }];
  await using vm = await boot("guests/ioreq-mmio.img", { ...UNHURRIED, deviceModels, hold: true });
  for (const _ of configuration.deaths) {
    assertEquals((await model.finished()).status, DEAD);
    model = scene.dm("kept_memory", configuration);
  }
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, `${reason}\n${vm.console.text}`);
  const { status: left, stderr } = await model.finished();
  assertEquals({ left, stderr }, { left: 0, stderr: "" });
});

testWith([ANY_KVM], "without hold the rest of the guest's accesses are nobody's, and the guest goes on", async () => {
  await using scene = new Scene();
  const model = scene.dm("kept_memory", { address: WINDOW, size: WINDOW_BYTES, deaths: [1000] });
  await using vm = await boot("guests/ioreq-mmio.img", { ...UNHURRIED, deviceModels: [{ socket: scene.socket() }] });
  assertEquals((await model.finished()).status, DEAD);
  assertEquals((await vm.exited).status, 1, "the guest saw ones where memory was");
});

testWith([ANY_KVM], "a device model that never leaves does not keep the run from ending", async () => {
  await using scene = new Scene();
  const booting = boot("guests/null.img", { ...UNHURRIED, deviceModels: [{ socket: scene.socket() }] });
  using client = await GateClient.awaited(scene.socket());
  const { id } = (await client.do("create_ioreq_server", { handle_bufioreq: 0 })).out;
  await client.do("set_ioreq_server_state", { id, enabled: 1 });
  await using vm = await booting;
  assertEquals((await vm.exited).status, 0);
});

testWith([ANY_KVM], "a device model that does not come in time ends the run, with the socket named", async () => {
  await using scene = new Scene();
  const deviceModels = [{ socket: scene.socket() }];
  await using vm = await boot("guests/null.img", { deviceModels, deviceModelTimeoutMs: 100 });
  const { status, reason } = await vm.exited;
  assertEquals({ status, reason }, { status: 124, reason: `no device model at ${scene.socket()} within 0.1 s` });
});

testWith([ANY_KVM], "a device model that does not answer in time ends the run", async () => {
  await using scene = new Scene();
  const deviceModels = [{ socket: scene.socket() }];
  const booting = boot("guests/ioreq-mmio.img", { deviceModels, deviceModelTimeoutMs: 500 });
  using client = await GateClient.awaited(scene.socket());
  const { id } = (await client.do("create_ioreq_server", { handle_bufioreq: 0 })).out;
  const range = { id, type: 1, start: BigInt(WINDOW), end: BigInt(WINDOW + WINDOW_BYTES - 1) };
  await client.do("map_io_range_to_ioreq_server", range);
  await client.do("acquire_resource", { id, frame: 1, nr_frames: 1 });
  await client.do("set_ioreq_server_state", { id, enabled: 1 });
  await using vm = await booting;
  const { status, reason } = await vm.exited;
  assertEquals(status, 125);
  assertMatch(reason, /ioreq server 1 has not answered vCPU 0's access to 0xfd00[0-9a-f]{4} for 0\.5 s/);
});

testWith([ANY_KVM], "a device model that fills its doorbell, and says that it sleeps, blocks nobody", async () => {
  await using scene = new Scene();
  const deviceModels = [{ socket: scene.socket() }];
  const booting = boot("guests/ioreq-mmio.img", { deviceModels, deviceModelTimeoutMs: 300 });
  using client = await GateClient.awaited(scene.socket());
  const { id } = (await client.do("create_ioreq_server", { handle_bufioreq: 0 })).out;
  await client.do("map_io_range_to_ioreq_server", { id, type: 1, start: BigInt(WINDOW), end: BigInt(WINDOW) + 0xfffn });
  await client.do("acquire_resource", { id, frame: 1, nr_frames: 1 });
  const { out: { bytes }, descriptors: [area, doorbell] } = await client.do("server_memory", { id });
  using mapping = Mapping.file(area, bytes);
  calls.write(doorbell.number, new BigUint64Array([2n ** 64n - 2n]), 8n);
  Atomics.store(new Int32Array(mapping.buffer), NOTIFICATION.asleep / 4, 1);
  await client.do("set_ioreq_server_state", { id, enabled: 1 });
  await using vm = await booting;
  assertEquals((await vm.exited).status, 125);
});

/** What each grant gives of 64 MiB: pieces as [address, bytes], and the size of the files that they are in. */
const GRANTS: [memory: MemoryGrant, pieces: [number, number][], filesBytes: number][] = [
  ["none", [], 0],
  // The domain's one bank; behind the hole for video memory and firmware it has pages that nobody uses.
  ["all", [[0, 640 * KIB], [896 * KIB, 64 * MIB - 896 * KIB]], 64 * MIB],
  [[{ first: 16 * MIB, last: 16 * MIB + PAGE - 1 }], [[16 * MIB, PAGE]], PAGE],
  [
    [{ first: 32 * MIB, last: 40 * MIB - 1 }, { first: 2 * MIB, last: 2 * MIB + 3 * PAGE - 1 }],
    [[2 * MIB, 3 * PAGE], [32 * MIB, 8 * MIB]],
    8 * MIB + 3 * PAGE,
  ],
];

for (const [memory, pieces, filesBytes] of GRANTS) {
  testWith(
    [ANY_KVM],
    `a device model granted ${JSON.stringify(memory)} gets that, and its descriptors hold nothing else`,
    async () => {
      await using scene = new Scene();
      const deviceModels = [{ socket: scene.socket(), memory }];
      const booting = boot("guests/null.img", { ...UNHURRIED, deviceModels });
      using client = await GateClient.awaited(scene.socket());
      const { out, list, descriptors } = await client.do("guest_memory", { first: 0 });
      const word = (index: number) => Number(list.getBigUint64(index * 8, true));
      const got = descriptors.map(({ number }, index) => {
        const [address, sizeBytes, offset] = [0, 1, 2].map((field) => word(index * 3 + field));
        return { address, sizeBytes, offset, file: Deno.statSync(`/proc/self/fd/${number}`) };
      }).sort((one, other) => one.address - other.address);
      assertEquals(out.nr_ranges, got.length);
      assertEquals(merged(got), pieces);
      // Whatever the entries say: the files behind the descriptors have not a byte more than was granted.
      const files = new Map(got.map(({ file }) => [file.ino, file.size]));
      assertEquals([...files.values()].reduce((sum, size) => sum + size, 0), filesBytes);
      const { id } = (await client.do("create_ioreq_server", { handle_bufioreq: 0 })).out;
      await client.do("set_ioreq_server_state", { id, enabled: 1 });
      await using vm = await booting;
      client[Symbol.dispose]();
      assertEquals((await vm.exited).status, 0);
    },
  );
}

function merged(pieces: readonly { address: number; sizeBytes: number }[]): [number, number][] {
  const result: [number, number][] = [];
  for (const { address, sizeBytes } of pieces) {
    const last = result.at(-1);
    if (last !== undefined && last[0] + last[1] === address) last[1] += sizeBytes;
    else result.push([address, sizeBytes]);
  }
  return result;
}
