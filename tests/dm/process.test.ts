/** Device models in a process of their own: `dm` against a fake domain in this one. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { encodeRefusal } from "../../src/dm/protocol.ts";
import { EOPNOTSUPP } from "../../src/linux/errno.ts";
import { PacketListener } from "../../src/linux/socket.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { FakeGate, type FakeOptions } from "../domain/fake_gate_domain.ts";
import { GateClient } from "../domain/gate_client.ts";
import { testWith } from "../support/capabilities.ts";
import { assertOneLine, type Command, finish, start } from "../support/command.ts";
import { FakeVcpus } from "./fake_vcpus.ts";

const MODELS = "tests/support/models", WORKBENCH = `${MODELS}/workbench.ts`;
const PORT = 0x700;

/** `dm` on its way. */
function dm(module: string, socket: string, configuration: unknown = { port: PORT }): Command {
  const args = [module, "--socket", socket, "--configuration", JSON.stringify(configuration)];
  return start("dm", args, { stdin: "null" });
}

/** A domain with a device model that serves it. */
async function served(stack: AsyncDisposableStack, module: string, configuration?: unknown, options?: FakeOptions) {
  const fake = stack.use(new FakeGate(1, options));
  const command = stack.use(dm(module, fake.path(), configuration));
  await fake.gate.ready;
  return { fake, command, vcpus: new FakeVcpus(fake.domain) };
}

testWith([], "a device model in another process answers, and leaves with 0 when the domain has ended", async () => {
  await using stack = new AsyncDisposableStack();
  const { fake, command, vcpus } = await served(stack, `${MODELS}/port_counter.ts`, { port: 0x510, first: 42 });
  for (const expected of [42, 43, 44]) assertEquals(await vcpus.inb(0x510), expected);
  fake.domain.servers.release();
  const { status, stdout, stderr } = await command.finished();
  assertEquals({ status, stdout, stderr }, { status: 0, stdout: "", stderr: "" });
  await fake.gate.empty;
});

testWith([], "either may be started first: a device model waits for its socket", async () => {
  await using stack = new AsyncDisposableStack();
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  const workbench = new URL("../support/models/workbench.ts", import.meta.url);
  const module = `console.log("loaded"); export { default } from "${workbench}";`;
  const command = stack.use(dm(`data:application/typescript,${encodeURIComponent(module)}`, `${directory}/1.sock`));
  await command.stdout.expect("loaded");
  const fake = stack.use(new FakeGate(1, { directory }));
  await fake.gate.ready;
  assertEquals(await new FakeVcpus(fake.domain).inb(PORT + 8), fake.domain.vcpus);
});

testWith([], "accesses of every width reach the handlers, for memory and for 300 vCPUs of three waiters", async () => {
  await using stack = new AsyncDisposableStack();
  const address = 0x1_fed0_0000;
  const { vcpus } = await served(stack, `${MODELS}/register_file.ts`, { address }, { vcpus: 300, vcpusPerWaiter: 128 });
  await vcpus.ask({ type: "memory", address: address + 8, size: 8, value: 0x8877665544332211n, vcpu: 299 });
  for (const [size, expected] of [[1, 0x11n], [2, 0x2211n], [4, 0x44332211n], [8, 0x8877665544332211n]] as const) {
    assertEquals(await vcpus.ask({ type: "memory", address: address + 8, size, vcpu: 128 + size }), expected);
  }
});

testWith([], "interrupts, messages and the end of the domain go through the socket", async () => {
  await using stack = new AsyncDisposableStack();
  const { fake, vcpus } = await served(stack, WORKBENCH);
  await vcpus.out(PORT + 8, 1);
  await vcpus.out(PORT + 9, 1);
  await vcpus.out(PORT + 10, 0x41);
  await vcpus.out(PORT + 11, 0);
  assertEquals(fake.domain.asked, [
    ["irq", 5, true],
    ["intx", 0, 0, 3, 1, true],
    ["msi", 0xfee0_0000n, 0x41],
    ["shutdown", "reset"],
  ]);
});

testWith([], "buffered writes arrive in their order before the next access", async () => {
  await using stack = new AsyncDisposableStack();
  const { vcpus } = await served(stack, WORKBENCH);
  for (let value = 1; value <= 200; value++) {
    vcpus.send({ type: "port", address: PORT + 16 + value % 8, size: 1, value: BigInt(value) });
    if (value % 50 === 0) assertEquals([await vcpus.inb(PORT + 24), await vcpus.inb(PORT + 25)], [value, value]);
  }
});

testWith([], "a device model sees the memory that it was granted, wherever it lies, and nothing else", async () => {
  await using stack = new AsyncDisposableStack();
  const fake = stack.use(new FakeGate());
  const bank = fake.domain.allocate("guest memory", 4), bytes = new Uint8Array(bank.directmap.buffer);
  for (let page = 0; page < 4; page++) bytes.fill(0x10 + page, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  const descriptor = bank.file.number;
  fake.domain.granted.set(1, [
    { address: 0x10000, sizeBytes: PAGE_SIZE, descriptor, offset: 2 * PAGE_SIZE },
    { address: 0x8000_0000, sizeBytes: 2 * PAGE_SIZE, descriptor, offset: 0 },
  ]);
  stack.use(dm(WORKBENCH, fake.path()));
  await fake.gate.ready;
  const vcpus = new FakeVcpus(fake.domain);
  const peek = async (address: number) => {
    await vcpus.out(PORT, address, 4);
    return await vcpus.inb(PORT + 4);
  };
  const table = [
    [0x10000, 0x12],
    [0x10fff, 0x12],
    [0x11000, 0xee],
    [0xffff, 0xee],
    [0x8000_0000, 0x10],
    [0x8000_1000, 0x11],
    [0x8000_2000, 0xee],
    [0, 0xee],
  ];
  for (const [address, byte] of table) assertEquals(await peek(address), byte, address.toString(16));
  await vcpus.out(PORT, 0x8000_1001, 4);
  await vcpus.out(PORT + 4, 0x77);
  assertEquals(bytes[PAGE_SIZE + 1], 0x77, "what it writes is in the guest's memory");
});

testWith([], "a successor at the same socket goes on with the device state of one that was killed", async () => {
  await using stack = new AsyncDisposableStack();
  const fake = stack.use(new FakeGate(1, { hold: true })), address = 0xfed0_0000;
  const vcpus = new FakeVcpus(fake.domain);
  for (let generation = 0; generation < 4; generation++) {
    const command = dm(`${MODELS}/register_file.ts`, fake.path(), { address });
    // A held server stays enabled, so that its requests are sent while there is nobody to answer them.
    if (generation === 0) await fake.gate.ready;
    if (generation > 0) assertEquals(await vcpus.ask({ type: "memory", address, size: 4 }), BigInt(generation));
    await vcpus.ask({ type: "memory", address, size: 4, value: BigInt(generation + 1) });
    command.kill("SIGKILL");
    await command[Symbol.asyncDispose]();
  }
  assertEquals(fake.domain.servers.of(1).length, 1);
});

testWith([], "a device model that throws ends with 70 and one line, and its server goes with it", async () => {
  await using stack = new AsyncDisposableStack();
  const { fake, command, vcpus } = await served(stack, WORKBENCH);
  const id = vcpus.send({ type: "port", address: PORT + 12, size: 1, value: 1n });
  const line =
    /^xenolith: \S+workbench\.ts failed: RangeError: nothing works any more \(at .*workbench\.ts:\d+:\d+\)+$/;
  assertOneLine(await command.finished(), 70, line);
  await fake.gate.empty;
  assertEquals(fake.domain.table.server(id).exists, false);
});

testWith([], "one that fails before it serves ends with 70, and the domain is not ready", async () => {
  await using fake = new FakeGate();
  let ready = false;
  fake.gate.ready.then(() => ready = true);
  for (
    const [fault, line] of [["rejects", /nothing will work/], ["claims a range twice", /map_io_range.*EEXIST/]] as const
  ) {
    await using command = dm(`${MODELS}/faulty.ts`, fake.path(), { fault });
    assertOneLine(await command.finished(), 70, line);
  }
  assertOneLine(await finish("dm", [`${MODELS}/shapeless.ts`, "--socket", fake.path()]), 70, /no default export/);
  assertEquals(ready, false);
});

testWith([], "a hypervisor that is gone without a word ends a device model with 69 and one line", async () => {
  await using stack = new AsyncDisposableStack();
  const { fake, command } = await served(stack, WORKBENCH);
  await fake.gate[Symbol.asyncDispose](); // all that a killed process leaves: closed sockets
  assertOneLine(await command.finished(), 69, /^xenolith: \S+1\.sock: the hypervisor is gone$/);
});

testWith([], "a second device model at a socket ends with 69 and says why", async () => {
  await using fake = new FakeGate();
  using _first = await GateClient.greeted(fake.path());
  await using second = dm(WORKBENCH, fake.path());
  assertOneLine(await second.finished(), 69, /another device model is connected$/);
});

testWith([], "where nobody listens, a device model gives up when it was told to", async () => {
  const args = [WORKBENCH, "--socket", "/tmp/xenolith-no-such.sock", "--timeout", "0.1"];
  assertOneLine(await finish("dm", args), 69, /^xenolith: \/tmp\/xenolith-no-such\.sock: nobody listens there$/);
});

testWith([], "a hypervisor that hangs up, speaks another version, or has no room, is said so", async () => {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  using listener = PacketListener.create(`${directory}/socket`);
  const accepted = async () => {
    for (;;) {
      const socket = listener.accept();
      if (socket !== undefined) return socket;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  {
    await using command = dm(WORKBENCH, listener.path);
    (await accepted())[Symbol.dispose]();
    assertOneLine(await command.finished(), 69, /the hypervisor is gone$/);
  }
  {
    await using command = dm(WORKBENCH, listener.path);
    using socket = await accepted();
    let hello = socket.receive();
    for (; hello === "nothing"; hello = socket.receive()) await new Promise((resolve) => setTimeout(resolve, 5));
    assert(typeof hello === "object");
    socket.send(encodeRefusal(hello.bytes, EOPNOTSUPP));
    assertOneLine(await command.finished(), 69, /the hypervisor does not speak version 1 of the protocol$/);
  }
  await Deno.remove(directory, { recursive: true });
  await using fake = new FakeGate();
  for (let id = 0; id < 8; id++) fake.domain.servers.create(9, 0);
  await using command = dm(WORKBENCH, fake.path());
  assertOneLine(await command.finished(), 69, /create_ioreq_server: handle_bufioreq=2: ENOSPC$/);
});

const REFUSED: readonly (readonly [args: readonly string[], line: RegExp])[] = [
  [[], /^xenolith: dm takes one module, not 0; --help says how$/],
  [[WORKBENCH], /^xenolith: --socket is missing; --help says how$/],
  [[WORKBENCH, WORKBENCH, "--socket", "x"], /^xenolith: dm takes one module, not 2/],
  [[WORKBENCH, "--socket", ""], /^xenolith: --socket needs a value$/],
  [[WORKBENCH, "--socket", "x", "--configuration", "{"], /^xenolith: configuration: /],
  [[WORKBENCH, "--socket", "x", "--timeout", "-1"], /^xenolith: timeout -1: not a number of seconds/],
  [[WORKBENCH, "--frobnicate"], /^xenolith: unknown option --frobnicate/],
  [["missing.ts", "--socket", "x"], /^xenolith: missing\.ts: no such file$/],
  [["tests", "--socket", "x"], /^xenolith: tests: not a regular file$/],
];

for (const [args, line] of REFUSED) {
  testWith([], `dm ${args.join(" ")} is refused`, async () => assertOneLine(await finish("dm", args), 64, line));
}

testWith([], "dm --help says how", async () => {
  const { status, stdout, stderr } = await finish("dm", ["--help"]);
  assertEquals([status, stdout], [0, ""]);
  assertMatch(stderr, /^usage: dm MODULE --socket PATH/);
  assert(stderr.includes("Exit status: 0"));
});
