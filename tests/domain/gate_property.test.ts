/** Whatever comes through a socket, the hypervisor goes on, and nothing of it stays open. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { OPERATIONS } from "../../src/dm/protocol.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import type { Packet } from "../../src/linux/socket.ts";
import { FakeGate } from "./fake_gate_domain.ts";
import { GateClient, holdings } from "./gate_client.ts";

const numbers = Object.values(OPERATIONS).map(({ op }) => op);

/** Values that mean something, and values at the edges of everything. */
const byte = fc.oneof(fc.constantFrom(0, 1, 2, 255), fc.nat(255));

/** Bytes alone; and requests that get further, because their operation and padding are right. */
const packet = fc.oneof(
  { weight: 1, arbitrary: fc.array(byte, { maxLength: 80 }) },
  {
    weight: 3,
    arbitrary: fc.tuple(fc.constantFrom(...numbers), fc.array(byte, { minLength: 0, maxLength: 24 }), fc.boolean()).map(
      ([op, payload, sparse]) => {
        const bytes = new Uint8Array(8 + 24);
        new DataView(bytes.buffer).setUint32(0, op, true);
        bytes.set(sparse ? payload.map((value, index) => index % 8 === 0 ? value % 9 : 0) : payload, 8);
        return [...bytes.subarray(0, 8 + (sparse ? 24 : payload.length))];
      },
    ),
  },
).map((values) => new Uint8Array(values));

const step = fc.oneof(
  { weight: 20, arbitrary: fc.record({ packet, descriptors: fc.constantFrom(0, 0, 0, 1, 253) }) },
  { weight: 1, arbitrary: fc.constant("leave" as const) },
);

Deno.test("random packets, with descriptors nobody asked for, break nothing and leave nothing open", async () => {
  const before = holdings();
  for (const hold of [false, true]) {
    await using fake = new FakeGate(2, { vcpus: 130, hold });
    using event = eventDescriptor("passed unasked");
    using witness = await GateClient.greeted(fake.path(2));
    let answered = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        let client = await GateClient.greeted(fake.path(1));
        for (const step of steps) {
          if (step === "leave") {
            client[Symbol.dispose]();
            client = await GateClient.greeted(fake.path(1));
            continue;
          }
          const reply = await client.raw(step.packet, 250, new Array(step.descriptors).fill(event.number));
          if (reply === "end") {
            assert(step.packet.length < 8, "only what has no header ends the connection");
            client[Symbol.dispose]();
            client = await GateClient.greeted(fake.path(1));
            continue;
          }
          answered++;
          assertEquals(reply.bytes.subarray(0, 4), step.packet.subarray(0, 4));
          assert(new DataView(reply.bytes.buffer).getInt32(4, true) <= 0);
          for (const descriptor of reply.descriptors) descriptor[Symbol.dispose]();
        }
        client[Symbol.dispose]();
        await witness.do("nr_vcpus", {});
        assertEquals(fake.faults, []);
      }),
      { numRuns: 100, verbose: 1 },
    );
    assert(answered > 200, `${answered} packets were answered`);
  }
  const { packetSockets, memoryFiles, events } = holdings();
  assertEquals([packetSockets, memoryFiles], [before.packetSockets, before.memoryFiles]);
  assert(events <= before.events + 8, `${before.events} eventfds before, ${events} after`); // Deno's own come and go
});

Deno.test("a packet without a header, or none at all, ends the connection", async () => {
  await using fake = new FakeGate();
  for (let length = 0; length < 8; length++) {
    using client = await GateClient.greeted(fake.path());
    assertEquals(await client.raw(new Uint8Array(length)), "end", `${length} bytes`);
  }
});

Deno.test("devices that come and go by the hundred leave no descriptor", async () => {
  await using fake = new FakeGate(1, { vcpus: 40 });
  const visit = async () => {
    using client = await GateClient.greeted(fake.path());
    const { id } = (await client.do("create_ioreq_server", { handle_bufioreq: 2 })).out;
    await client.do("acquire_resource", { id, frame: 0, nr_frames: 2 });
    await client.do("server_memory", { id });
    await client.do("waiters", { first: 0 });
    await client.do("set_ioreq_server_state", { id, enabled: 1 });
  };
  const settle = async () => {
    using client = await GateClient.greeted(fake.path()); // its HELLO comes after the end of the last one
    await client.do("nr_vcpus", {});
    return holdings();
  };
  await visit();
  const before = await settle();
  for (let round = 0; round < 100; round++) await visit();
  assertEquals(await settle(), before);
});

Deno.test("when this process can have no more descriptors, connections wait until it can", async () => {
  await using fake = new FakeGate();
  using stack = new DisposableStack();
  using _first = await GateClient.greeted(fake.path()); // the gate's Worker has opened what it needs
  using client = new GateClient(fake.path()); // connected, not accepted yet
  try {
    for (;;) stack.use(eventDescriptor("the last ones"));
  } catch (error) {
    assert(error instanceof LinuxError && error.errnoName === "EMFILE", String(error));
  }
  client.socket.send(new Uint8Array(8));
  await new Promise((resolve) => setTimeout(resolve, 50)); // time enough to try in vain; nothing tells of that
  assertEquals(client.socket.hungUp, false);
  stack.dispose();
  assertEquals((await client.next() as Packet).bytes.length, 8);
});
