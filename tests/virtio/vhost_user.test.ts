/** The frontend's messages, as a backend inside the test gets them, and what becomes of answers that make no sense. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { connectedPair, receiveMessage } from "../../src/linux/stream_message.ts";
import { type Served, VhostUserBackend } from "../../src/virtio/vhost_user.ts";
import { FLAG, PROTOCOL_FEATURES, REQUEST, VERSION } from "../../src/virtio/vhost_user_abi.ts";
import { BackendGone, VhostUserError } from "../../src/virtio/vhost_user_connection.ts";
import { bits, FakeBackend, message, number } from "./fake_backend.ts";
import { openDescriptors } from "../support/holdings.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);

/** Both ends. When the frontend waits, the backend has its turn; if that brings nothing, it has waited too long. */
function connected(stack: DisposableStack, change: (fake: FakeBackend) => void = () => {}) {
  const [ours, its] = connectedPair("test"), fake = stack.use(new FakeBackend(its));
  change(fake);
  let turns = 0;
  const backend = stack.use(
    new VhostUserBackend(ours, "S", () => {
      const before = fake.received.length;
      fake.step();
      return fake.received.length > before || turns++ < 1;
    }),
  );
  return { fake, backend };
}

function served(stack: DisposableStack): Served {
  const file = stack.use(MemoryFile.create("memory", 8192)), event = stack.use(eventDescriptor("event", false));
  return {
    memory: [
      { address: 0, sizeBytes: 4096, offset: 0, descriptor: file.number },
      { address: 2 ** 32, sizeBytes: 4096, offset: 4096, descriptor: file.number },
    ],
    rings: [{
      index: 1,
      layout: { size: 64, descriptors: 2 ** 32, available: 0x400, used: 0x800 },
      base: 7,
      kick: event.number,
    }],
    call: event.number,
    error: event.number,
    inflight: undefined,
  };
}

/** Numbers of 64 bits as bytes. */
const words = (...values: (number | bigint)[]) => values.flatMap((value) => [...number(BigInt(value))]);
const state = (index: number, num: number) => [index, 0, 0, 0, num, 0, 0, 0];
const USER = 2n ** 44n;

Deno.test("a backend is asked what it can, and told what it needs, in this order", () => {
  using stack = new DisposableStack();
  const { fake, backend } = connected(stack);
  assertEquals([[...backend.features], backend.queues], [[9, 28, 29, 32], 1]);
  assertEquals(
    fake.names,
    "GET_FEATURES GET_PROTOCOL_FEATURES SET_PROTOCOL_FEATURES SET_OWNER GET_QUEUE_NUM SET_BACKEND_REQ_FD",
  );
  fake.received.length = 0;
  backend.agree(new Set([9, 32, 33]));
  using inflight = backend.createInflight(2, 256);
  const work = { ...served(stack), inflight };
  backend.start(work);
  backend.stop(work.rings);
  assertEquals(fake.received.map(({ name, payload, descriptors }) => [name, payload, descriptors]), [
    ["SET_FEATURES", words(bits(9, 32, PROTOCOL_FEATURES)), 0],
    ["GET_INFLIGHT_FD", [...words(0, 0), 2, 0, 0, 1], 0],
    ["SET_INFLIGHT_FD", [...fake.inflight], 1],
    ["SET_MEM_TABLE", words(2, 0, 4096, USER, 0, 2 ** 32, 4096, USER + 2n ** 32n, 4096), 2],
    ["SET_VRING_NUM", state(1, 64), 0],
    ["SET_VRING_BASE", state(1, 7), 0],
    ["SET_VRING_ADDR", words(1, USER + 2n ** 32n, USER + 0x800n, USER + 0x400n, 0), 0],
    ["SET_VRING_CALL", words(1), 1],
    ["SET_VRING_ERR", words(1), 1],
    ["SET_VRING_KICK", words(1), 1],
    ["SET_VRING_ENABLE", state(1, 1), 0],
    ["GET_VRING_BASE", state(1, 0), 0],
  ]);
});

Deno.test("a backend that knows no more than the first ones is asked for no more", () => {
  using stack = new DisposableStack();
  const { fake, backend } = connected(stack, (fake) => fake.features = bits(9, 32));
  backend.agree(new Set([9, 32]));
  assertEquals(backend.createInflight(1, 64), undefined);
  backend.start(served(stack));
  assertThrows(() => backend.readConfiguration(60), VhostUserError, "the backend has no configuration");
  fake.step();
  const vring = ["NUM", "BASE", "ADDR", "CALL", "ERR", "KICK"].map((what) => `SET_VRING_${what}`).join(" ");
  assertEquals([fake.names, backend.queues], [`GET_FEATURES SET_OWNER SET_FEATURES SET_MEM_TABLE ${vring}`, 1]);
  assertEquals(fake.received[2].payload, words(bits(9, 32)));
});

Deno.test("the configuration is read and written, and a change of it is heard of", () => {
  using stack = new DisposableStack();
  const { fake, backend } = connected(stack);
  fake.configuration.set([1, 2, 3]);
  assertEquals(backend.readConfiguration(4), Uint8Array.of(1, 2, 3, 0));
  backend.writeConfiguration(32, Uint8Array.of(1));
  assertEquals(fake.received.at(-1)!.payload, [32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
  for (const [request, isKnown] of [[2, true], [77, false]] as const) {
    const requests = fake.ask(request, true), reply = new Uint8Array(20);
    assertEquals(backend.requests!.take(), isKnown);
    assertEquals(receiveMessage(requests, reply), 20);
    assertEquals(reply, message(request, VERSION | FLAG.REPLY, number(isKnown ? 0n : 1n)));
  }
});

const WRONG: Record<string, [Parameters<FakeBackend["answers"]["set"]>, RegExp]> = {
  "nothing": [["GET_FEATURES", "silence"], /^vhost-user S: the backend does not answer GET_FEATURES$/],
  "another version": [["GET_FEATURES", message(1, 2 | FLAG.REPLY, number(0n))], /speaks version 2, not 1$/],
  "no reply": [["GET_FEATURES", message(1, VERSION, number(0n))], /sends message 1 where GET_FEATURES is answered$/],
  "another answer": [["GET_FEATURES", message(2, VERSION | FLAG.REPLY, number(0n))], /answers request 2 where/],
  "too little": [["GET_FEATURES", { payload: new Uint8Array(7) }], /answers GET_FEATURES with 7 bytes$/],
  "less than it says": [["GET_FEATURES", message(1, 5, number(0n), 9)], /does not answer GET_FEATURES$/],
  "4 GiB": [["GET_FEATURES", message(1, 5, number(0n), 2 ** 32 - 1)], /sends a message of 4294967295 bytes$/],
  "no consent": [["SET_OWNER", { payload: number(1n) }], /refuses SET_OWNER$/],
  "half a consent": [["SET_OWNER", { payload: new Uint8Array(4) }], /answers SET_OWNER with 4 bytes$/],
  "no queues": [["GET_QUEUE_NUM", { payload: number(0n) }], /serves no queues$/],
};

for (const [what, [answer, error]] of Object.entries(WRONG)) {
  Deno.test(`a backend that answers with ${what} is refused in one line`, () => {
    using stack = new DisposableStack();
    const { message } = assertThrows(() => connected(stack, (fake) => fake.answers.set(...answer)), VhostUserError);
    assert(error.test(message), message);
  });
}

Deno.test("a backend that cannot give its configuration, or no memory for what is under way, is refused", () => {
  using stack = new DisposableStack();
  const { fake, backend } = connected(stack);
  fake.answers.set("GET_CONFIG", { payload: new Uint8Array() });
  assertThrows(() => backend.readConfiguration(60), VhostUserError, "answers GET_CONFIG with 0 bytes");
  fake.answers.set("GET_INFLIGHT_FD", message(REQUEST.GET_INFLIGHT_FD, 5, new Uint8Array(20)));
  assertThrows(() => backend.createInflight(1, 64), VhostUserError, "answers GET_INFLIGHT_FD without memory");
});

Deno.test("a backend that closes is gone, whatever is asked of it", () => {
  using stack = new DisposableStack();
  const { fake, backend } = connected(stack);
  fake.hangUp();
  assertThrows(() => backend.connection.unasked(), BackendGone, "vhost-user S: the backend is gone");
  assertThrows(() => backend.start(served(stack)), BackendGone);
});

Deno.test("whatever a backend answers, it is a VhostUserError or an answer, and no descriptor stays", () => {
  const before = openDescriptors();
  const bytes = fc.uint8Array({ maxLength: 80 });
  const answer = fc.oneof(
    bytes,
    bytes.map((payload) => ({ payload })),
    fc.tuple(fc.constantFrom(...Object.values(REQUEST)), fc.nat(15), fc.nat(600), bytes).map(
      ([request, flags, size, payload]) => message(request, flags, payload, size),
    ),
  );
  const names = Object.keys(REQUEST) as (keyof typeof REQUEST)[];
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names), answer, { maxKeys: 3 }), (answers) => {
      using stack = new DisposableStack();
      try {
        const { backend } = connected(stack, (fake) => {
          for (const name of names) if (name in answers) fake.answers.set(name, answers[name]);
        });
        assertEquals(backend.readConfiguration(60).length, 60);
        backend.agree(new Set([32]));
        stack.adopt(backend.createInflight(1, 64), (inflight) => inflight?.[Symbol.dispose]());
        const work = served(stack);
        backend.start(work);
        backend.stop(work.rings);
      } catch (error) {
        if (!(error instanceof VhostUserError)) throw error;
        assertEquals(error.message.includes("\n"), false);
      }
    }),
    { numRuns: RUNS },
  );
  assertEquals(openDescriptors(), before);
});
