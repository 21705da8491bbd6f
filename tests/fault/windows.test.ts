/** Windows where device models do what they must not, and where things end at the wrong moment; nothing is left of them. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { boot, type BootOptions, type TestMachine } from "xenolith/testing";
import { RANGE, STATE } from "../../src/ioreq/abi.ts";
import { COMMAND, COMMAND_ENTRIES, COMMAND_RING_BYTES } from "../../src/ioreq/command_ring.ts";
import { NOTIFICATION } from "../../src/ioreq/notification.ts";
import * as calls from "../../src/linux/calls.ts";
import { pipe } from "../../src/linux/descriptor.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { openDescriptors } from "../linux/process.ts";
import { KVM, repetitions, testWith, USERFAULT } from "../support/capabilities.ts";
import { ROOT } from "../support/command.ts";
import { turn, WINDOW, WINDOW_GFN as GFN, WINDOW_PAGES } from "../support/directed.ts";
import { PlayedModel } from "../support/models/misbehaving.ts";
import { TRANSPORTS } from "../support/models/window_played.ts";
import { PORT_510 } from "../support/real_mode.ts";
import { garbage } from "../support/misbehaviours.ts";
import { BASE, endsWell, testRace } from "../support/window_scene.ts";

/** Boots a guest that asks a model at a socket for something; it answers "try again". */
async function triesAgain(image: Parameters<typeof boot>[0], range: Record<string, number>, options: BootOptions = {}) {
  const directory = Deno.makeTempDirSync({ prefix: "xenolith-test-" }), socket = `${directory}/1.sock`;
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  const booting = boot(image, { timeoutMs: 20_000, ...options, deviceModels: [{ socket }] });
  using model = await PlayedModel.attach(socket);
  const { type, first, last } = range;
  const claim = { id: model.id, type, start: BigInt(first), end: BigInt(last) };
  await model.client.do("map_io_range_to_ioreq_server", claim);
  await model.setEnabled(true);
  const vm: TestMachine = stack.use(await booting);
  let ended = false;
  void vm.exited.then(() => ended = true);
  while (!ended) {
    if (model.slots.state(0) === STATE.READY) model.put(0, STATE.IORESP_RETRY);
    await turn();
  }
  return await vm.exited;
}

testWith([KVM], '"try again" in answer to a port ends the run, and says why', async () => {
  const { status, reason } = await triesAgain(PORT_510, { type: RANGE.PORT, first: 0x510, last: 0x510 });
  assertEquals(status, 125, reason);
  assertMatch(reason, /^ioreq server 1 moved a request from state 1 to 4: vcpu=0 /);
});

testWith([KVM], '"try again" in answer to a PCI configuration register ends the run, and says why', async () => {
  const { status, reason } = await triesAgain("guests/pci-scan.img", { type: RANGE.PCI, first: 8, last: 8 });
  assertEquals(status, 125, reason);
  assertMatch(reason, /^ioreq server 1 moved a request from state 1 to 4: vcpu=0 /);
});

testWith([KVM], '"try again" for ever, where there is no window, ends the run and names server and gfn', async () => {
  const range = { type: RANGE.MEMORY, first: 0xd_0000, last: 0xd_0fff }, cmdline = "op=read address=0xd0000 count=1";
  const { status, reason } = await triesAgain("guests/exits.img", range, { cmdline });
  assertEquals(status, 125, reason);
  assertMatch(reason, /^ioreq server 1 answered 16 times that gfn 0xd0 is to be tried again, and has not mapped it/);
});

testRace(
  [KVM],
  "add_memory without a descriptor, and with what is none, is refused, and the model goes on",
  {},
  async (scene) => {
    const { windows } = scene.stage;
    using ends = pipe("a pipe").reader, small = MemoryFile.create("small", PAGE_SIZE);
    const unsealed = calls.memfdCreate(new TextEncoder().encode("unsealed\0"), 2);
    calls.ftruncate(unsealed, BigInt(PAGE_SIZE));
    assertEquals(await windows.addFile(PAGE_SIZE), "EBADF");
    assert(["EINVAL", "EBADF"].includes(String(await windows.addFile(PAGE_SIZE, ends.number))));
    assertEquals(await windows.addFile(PAGE_SIZE, unsealed), "EINVAL");
    assertEquals(await windows.addFile(2 * PAGE_SIZE, small.number), "EINVAL");
    assertEquals(await windows.addFile(2 ** 60, small.number), "EINVAL");
    assertEquals(await windows.addFile(PAGE_SIZE, small.number), 1);
    assertEquals(calls.close(unsealed), 0);
    await endsWell(scene);
  },
);

testRace(
  [KVM],
  "add_memory with more descriptors than one leaves none of them behind, and the guest goes on",
  {},
  async (scene) => {
    const { stage } = scene;
    using one = MemoryFile.create("surplus", PAGE_SIZE);
    const open = () => openDescriptors().filter((target) => target.startsWith("/memfd:surplus")).length;
    assertEquals(await stage.windows.addFile(PAGE_SIZE, one.number, one.number), 1);
    assertEquals(await stage.windows.addFile(PAGE_SIZE, one.number, one.number, one.number), 2);
    assertEquals(open(), 3, "ours, and those that are memory now");
    stage.windows.model[Symbol.dispose]();
    assertEquals(await (await stage.read(0)).done, 0xff);
    assertEquals(open(), 1);
    await endsWell(scene);
  },
);

testRace([KVM], "garbage in the command ring is refused, and the window serves on", {}, async (scene) => {
  const { stage, memory } = scene, { windows } = stage, { model } = windows;
  const ring = model.areaBytes.subarray(NOTIFICATION.commands, NOTIFICATION.commands + COMMAND_RING_BYTES);
  const words = new Int32Array(ring.buffer, ring.byteOffset, 2);
  for (let salt = 0; salt < 50; salt++) {
    ring.set(garbage(ring.length, salt));
    windows.wakePager();
    await turn();
  }
  for (const jump of [0, -1, 2 ** 31 - 1, COMMAND_ENTRIES, 1]) {
    Atomics.store(words, 0, jump);
    windows.wakePager();
    await turn();
  }
  await windows.taken();
  const gfns = [0, GFN - 1, GFN + WINDOW_PAGES, 2 ** 29, 2 ** 52, 2 ** 63, 0xfee00, 0x10];
  for (const gfn of gfns) {
    for (const op of [COMMAND.MAP, COMMAND.REVOKE]) {
      assertEquals(await windows.do({ op, gfn, memory: memory.id }), ["ENOENT"], `${op} of ${gfn}`);
    }
  }
  const bad = await windows.do(
    { op: COMMAND.MAP, gfn: GFN, count: 2 ** 32 - 1, memory: memory.id },
    { op: COMMAND.REVOKE, gfn: GFN, count: 2 ** 32 - 1 },
    { op: COMMAND.MAP, gfn: GFN, count: 0, memory: memory.id },
    { op: COMMAND.MAP, gfn: GFN, memory: 65535 },
    { op: COMMAND.MAP, gfn: GFN, memory: memory.id + 1 },
    { op: COMMAND.MAP, gfn: GFN, memory: memory.id, frame: 2 ** 32 - 1 },
    { op: 77, gfn: GFN },
  );
  assertEquals(bad, ["EINVAL", "EINVAL", "EINVAL", "ENOENT", "ENOENT", "EINVAL", "EINVAL"]);
  await windows.revoke(GFN, WINDOW_PAGES);
  assertEquals(await windows.map(GFN, memory, 3), [""]);
  memory.bytes[3 * PAGE_SIZE] = BASE;
  assertEquals(await (await stage.read(0)).done, BASE);
  await endsWell(scene);
});

testRace([KVM], "garbage in the slots of violations hurts nobody but the window", {}, async (scene) => {
  const { stage } = scene, { windows } = stage;
  const read = await stage.read(0);
  await stage.violated(GFN);
  for (let slot = 0; slot < 128; slot++) windows.area.faults.setState(slot, STATE.NONE);
  windows.wakePager();
  assertEquals(await read.done, 0xff, "an answer of nothing is ones");
  for (let slot = 0; slot < 128; slot++) windows.area.faults.setState(slot, 9);
  const again = await stage.read(PAGE_SIZE);
  for (let count = 0; count < 20; count++) await turn();
  assertEquals(again.isDone, false);
  windows.model[Symbol.dispose]();
  assertEquals(await again.done, 0xff);
  await endsWell(scene);
}, ["fault"]);

testRace(
  [KVM],
  "memory that goes while the pager maps it is refused in the middle, again and again",
  {},
  async (scene) => {
    const { stage } = scene, { windows } = stage, { client, id } = windows.model, pages = 1 << 14, gfn = 0x10_0000;
    await windows.mapWindow(gfn * PAGE_SIZE, pages, scene.transport);
    for (let round = 0; round < repetitions(12); round++) {
      const memory = await windows.addMemory(pages);
      for (let count = 0; count < 8; count++) {
        windows.push({ op: COMMAND.MAP, gfn, count: pages, memory: memory.id });
      }
      windows.wakePager();
      await turn();
      await client.do("remove_memory", { id, memory: memory.id });
      await windows.taken();
    }
    await endsWell(scene);
  },
  ["fault"],
);

testWith([KVM, USERFAULT], "a time-out ends the run of a vCPU that waits, while gfn pages are asked for", async () => {
  const TMPDIR = Deno.makeTempDirSync({ prefix: "xenolith-test-" }); // it just exits
  await using _ = { [Symbol.asyncDispose]: () => Deno.remove(TMPDIR, { recursive: true }) };
  const args = ["run", "--allow-all", "--no-check", "tests/support/window_slots.ts"], env = { TMPDIR };
  const child = new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env, stdout: "piped", stderr: "piped" }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), 60_000);
  const { stdout, stderr, signal } = await child.output();
  clearTimeout(timer);
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assertEquals([signal, said.trim().split("\n").at(-1)], [null, "time-out after 20 ms"], said);
});

for (const transport of TRANSPORTS) {
  testWith(
    [KVM, USERFAULT],
    `a model in a Worker that fails while vCPUs wait for it ends the run (${transport})`,
    async () => {
      for (const carrier of ["worker", "native"] as const) {
        const module = "tests/support/models/window_failing.ts", configuration = { address: WINDOW, transport };
        const cmdline = "op=read address=0xd0000 count=1";
        await using vm = await boot("guests/exits.img", {
          timeoutMs: 20_000,
          carrier,
          cmdline,
          deviceModels: [{ module, configuration }],
        });
        const { status, reason } = await vm.exited;
        assertEquals(status, 70, reason);
        assertMatch(reason, /^device model 1 failed: Error: no page today/);
      }
    },
  );
}
