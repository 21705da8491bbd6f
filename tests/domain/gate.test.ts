/** The gate: who may connect, whose turn it is, and what becomes of what was a device model's. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Gate } from "../../src/domain/gate.ts";
import { STATE } from "../../src/ioreq/abi.ts";
import { ServerView } from "../../src/ioreq/server_view.ts";
import { SocketPathError } from "../../src/linux/socket_path.ts";
import { encodeRequest } from "../../src/dm/protocol.ts";
import { FakeGate, FakeGateDomain } from "./fake_gate_domain.ts";
import { GateClient, holdings } from "./gate_client.ts";

const OFF = { handle_bufioreq: 0 };
const HELLO = { version: 1 };

/** Waits for something that another turn of this isolate's loop brings. */
async function until(what: string, condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; !condition();) {
    assert(performance.now() < end, `never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

Deno.test("a device model that says HELLO learns what it needs to serve", async () => {
  await using fake = new FakeGate(1, { vcpus: 100, vcpusPerWaiter: 32 });
  using client = new GateClient(fake.path());
  const { out } = await client.do("hello", HELLO);
  assertEquals(out, { version: 1, vcpus: 100, vcpus_per_waiter: 32, waiters: 4 });
});

Deno.test("before HELLO, and with another version, nothing is done", async () => {
  await using fake = new FakeGate();
  using client = new GateClient(fake.path());
  assertEquals(await client.try("create_ioreq_server", OFF), "EPROTO");
  assertEquals(await client.try("hello", { version: 2 }), "EOPNOTSUPP");
  assertEquals(await client.try("nr_vcpus", {}), "EPROTO");
  assertEquals(fake.domain.servers.of(1), []);
  assertEquals(await client.try("hello", HELLO), "");
  assertEquals(await client.try("hello", HELLO), "", "twice is no harm");
  assertEquals(await client.try("nr_vcpus", {}), "");
});

Deno.test("while one device model is connected, another at the same socket is refused with EBUSY, and may wait", async () => {
  await using fake = new FakeGate(2);
  using first = await GateClient.greeted(fake.path(1));
  using second = new GateClient(fake.path(1));
  assertEquals(await second.try("hello", HELLO), "EBUSY");
  assertEquals(await second.try("create_ioreq_server", OFF), "EPROTO");
  using _other = await GateClient.greeted(fake.path(2));
  first[Symbol.dispose]();
  assertEquals(await second.try("hello", HELLO), "", "the first one is gone");
});

Deno.test("of many connections that say nothing, only a few are kept, and other sockets do not notice", async () => {
  await using fake = new FakeGate(2);
  using stack = new DisposableStack();
  const idle = Array.from({ length: 12 }, () => stack.use(new GateClient(fake.path(1))));
  using other = await GateClient.greeted(fake.path(2));
  await until("the rest is closed", () => idle.filter(({ socket }) => socket.hungUp).length === 8);
  assertEquals(await idle[0].try("hello", HELLO), "");
  assertEquals(await other.try("nr_vcpus", {}), "");
});

Deno.test("each socket is an emulator of its own: one cannot touch the other's servers", async () => {
  await using fake = new FakeGate(2);
  using one = await GateClient.greeted(fake.path(1));
  using two = await GateClient.greeted(fake.path(2));
  const { id } = (await one.do("create_ioreq_server", OFF)).out;
  assertEquals(await two.try("destroy_ioreq_server", { id }), "EPERM");
  assertEquals(await two.try("set_ioreq_server_state", { id, enabled: 1 }), "EPERM");
  assertEquals([fake.domain.servers.of(1), fake.domain.servers.of(2)], [[id], []]);
});

Deno.test("ready resolves when the device model of every socket has enabled a server", async () => {
  await using fake = new FakeGate(2);
  let ready = false;
  fake.gate.ready.then(() => ready = true);
  for (const emulator of [2, 1]) {
    assertEquals(ready, false);
    const client = await GateClient.greeted(fake.path(emulator));
    const { id } = (await client.do("create_ioreq_server", OFF)).out;
    assertEquals(ready, false);
    await client.do("set_ioreq_server_state", { id, enabled: 0 });
    assertEquals(ready, false);
    await client.do("set_ioreq_server_state", { id, enabled: 1 });
    client[Symbol.dispose](); // that it is gone later does not take it back
  }
  await fake.gate.ready;
});

Deno.test("ready resolves at once without sockets, and when the gate is disposed", async () => {
  await using none = new FakeGate(0);
  await none.gate.ready;
  const fake = new FakeGate(1);
  await fake[Symbol.asyncDispose]();
  await fake.gate.ready;
});

Deno.test("empty resolves when the last device model is gone", async () => {
  await using fake = new FakeGate(2);
  await fake.gate.empty;
  using one = await GateClient.greeted(fake.path(1));
  using two = await GateClient.greeted(fake.path(2));
  using _idle = new GateClient(fake.path(1));
  let empty = false;
  const resolved = fake.gate.empty.then(() => empty = true);
  one[Symbol.dispose]();
  await two.do("nr_vcpus", {});
  await two.do("nr_vcpus", {});
  assertEquals(empty, false);
  two[Symbol.dispose]();
  await resolved;
});

Deno.test("the servers of a device model that is gone go with it", async () => {
  await using fake = new FakeGate();
  using client = await GateClient.greeted(fake.path());
  const { id } = (await client.do("create_ioreq_server", OFF)).out;
  await client.do("acquire_resource", { id, frame: 1, nr_frames: 1 });
  await client.do("set_ioreq_server_state", { id, enabled: 1 });
  client[Symbol.dispose]();
  await until("the server is gone", () => !fake.domain.table.server(id).exists);
  await until("its pages too", () => fake.domain.machine.banks === 0);
});

Deno.test("with hold the server waits for a successor at the same socket, which gets the same one", async () => {
  await using fake = new FakeGate(1, { hold: true });
  const first = await GateClient.greeted(fake.path());
  const { id } = (await first.do("create_ioreq_server", OFF)).out;
  await first.do("acquire_resource", { id, frame: 1, nr_frames: 1 });
  await first.do("set_ioreq_server_state", { id, enabled: 1 });
  const slots = new ServerView(fake.domain.table.server(id)).slots!;
  slots.publish(1, STATE.INPROCESS, 1);
  first[Symbol.dispose]();
  using successor = await GateClient.greeted(fake.path());
  assertEquals(fake.domain.table.server(id).enabled, true);
  assertEquals((await successor.do("create_ioreq_server", OFF)).out.id, id);
  assertEquals(slots.state(1), STATE.READY, "what was begun is asked again");
});

Deno.test("a successor that is quicker than the news of the end comes after its predecessor's last request", async () => {
  await using fake = new FakeGate();
  for (let round = 0; round < 50; round++) {
    const first = await GateClient.greeted(fake.path());
    first.socket.send(encodeRequest("set_isa_irq_level", { isa_irq: round % 16, level: 1 }));
    first[Symbol.dispose]();
    using second = new GateClient(fake.path());
    assertEquals(await second.try("hello", HELLO), "");
    assertEquals(fake.domain.asked.length, round + 1);
  }
});

Deno.test("a flood of requests at one socket does not keep the other from being answered", async () => {
  await using fake = new FakeGate(2);
  using flood = await GateClient.greeted(fake.path(1));
  using calm = await GateClient.greeted(fake.path(2));
  const request = encodeRequest("set_irq_level", { irq: 5, level: 1 }), COUNT = 100;
  for (let sent = 0; sent < COUNT; sent++) flood.socket.send(request);
  await calm.do("set_irq_level", { irq: 6, level: 1 });
  const before = fake.domain.asked.findIndex(([, gsi]) => gsi === 6);
  assert(before <= COUNT / 2, `${before} requests of the other came first`);
  for (let answered = 0; answered < COUNT; answered++) assert(await flood.next() !== "end");
});

Deno.test("who does not take its replies is disconnected, and nobody waits for it", async () => {
  await using fake = new FakeGate(2);
  using greedy = await GateClient.greeted(fake.path(1));
  using other = await GateClient.greeted(fake.path(2));
  const request = encodeRequest("nr_vcpus", {});
  await until("it is disconnected", () => {
    while (greedy.writable) greedy.socket.send(request);
    return greedy.socket.hungUp;
  });
  await other.do("nr_vcpus", {});
});

Deno.test("paths that cannot be are refused before anything listens, and nothing is left", async () => {
  using domain = new FakeGateDomain();
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  await using gate = new Gate({ fault: () => {} });
  const before = holdings().packetSockets;
  const sockets = ["a", "b"].map((name, index) => ({ path: `${directory}/${name}`, emulator: index, hold: false }));
  await Deno.writeTextFile(`${directory}/b`, "no socket");
  assertThrows(() => gate.start(domain, sockets), SocketPathError, "exists, and is no socket");
  assertEquals([...Deno.readDirSync(directory)].map(({ name }) => name), ["b"]);
  assertEquals(holdings().packetSockets, before);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("disposing the gate closes what is connected and removes the sockets; twice is once", async () => {
  using stack = new DisposableStack();
  const before = holdings().packetSockets;
  const fake = new FakeGate(2);
  const clients = [1, 1, 2].map((emulator) => stack.use(new GateClient(fake.path(emulator))));
  await clients[0].do("hello", HELLO);
  await clients[2].do("hello", HELLO);
  await fake.gate[Symbol.asyncDispose]();
  assertEquals([...Deno.readDirSync(fake.directory)], []);
  assertEquals(clients.map(({ socket }) => socket.receive()), ["end", "end", "end"]);
  await fake[Symbol.asyncDispose]();
  stack.dispose();
  assertEquals(holdings().packetSockets, before);
});
