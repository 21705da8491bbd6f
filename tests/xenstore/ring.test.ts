/** The ring: whole and partial messages, back-pressure, reconnection, and domains that break the rules. */

import { assert, assertEquals, assertLessOrEqual, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  CONNECTION,
  FEATURE,
  HEADER,
  HEADER_BYTES,
  INTERFACE,
  INTERFACE_BYTES,
  MESSAGE,
  RING_BYTES,
  RING_ERROR,
} from "../../src/xenstore/abi.ts";
import { bytesOf, encode } from "../../src/xenstore/message.ts";
import { QUOTA } from "../../src/xenstore/quotas.ts";
import { XenstoreRing } from "../../src/xenstore/ring.ts";
import { type Guest, type Received, storeWith } from "./guest.ts";
import { operation, populated } from "./operations.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);
const { RECONNECTION, ERROR } = FEATURE;

const get = (guest: Guest, field: keyof typeof INTERFACE) => guest.words[INTERFACE[field] / 4];
const set = (guest: Guest, field: keyof typeof INTERFACE, value: number) => guest.words[INTERFACE[field] / 4] = value;
const read = (path: string, reqId = 1) => encode({ type: MESSAGE.READ, reqId, txId: 0 }, bytesOf(`${path}\0`));
const payloads = (messages: Received[]) => messages.map(({ payload }) => payload);

Deno.test("a ring offers reconnection and the error field, and leaves the rest of the page alone", () => {
  const { guests: [guest] } = storeWith([1]);
  assertEquals(guest.words.findIndex((word) => word !== 0), INTERFACE.server_features / 4);
  assertEquals(guest.words.reduce((sum, word) => sum + word), RECONNECTION | ERROR);
  assertEquals([guest.ring.service(), guest.ring.service()], [false, false]);
});

Deno.test("a ring needs a page that is long enough, and aligned", () => {
  const { guests: [{ connection }] } = storeWith([1]);
  assertThrows(() => new XenstoreRing(new Uint8Array(INTERFACE_BYTES - 1), connection), RangeError);
  assertThrows(() => new XenstoreRing(new Uint8Array(4096).subarray(1), connection), RangeError);
});

Deno.test("a request may come a byte at a time, and its reply may be taken so", () => {
  const { guests: [guest] } = populated();
  const bytes = read("b/c");
  for (const byte of bytes) {
    assertEquals(guest.receive(), []);
    guest.send(Uint8Array.of(byte));
    assertEquals(guest.ring.service(), true);
  }
  const replies: Received[] = [];
  for (let taken = 0; taken < HEADER_BYTES + 1; taken++) {
    assertEquals(replies, []);
    replies.push(...guest.receive(1));
  }
  assertEquals(payloads(replies), ["2"]);
  assertEquals(guest.ring.service(), false);
});

Deno.test("indices run freely over 2^32 and begin anywhere", () => {
  const { guests: [guest] } = populated();
  for (const start of [0xffff_fff0, 0xffff_fc01, 12345]) {
    for (const field of ["req_cons", "req_prod", "rsp_cons", "rsp_prod"] as const) set(guest, field, start);
    for (let turn = 0; turn < 100; turn++) assertEquals(guest.call("READ", "b/c\0"), "2");
    assertEquals(get(guest, "req_cons"), (start + 100 * read("b/c").length) % 2 ** 32);
  }
});

Deno.test("messages longer than the ring go through it in pieces, both ways", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  const value = "v".repeat(4000);
  assertEquals(guest.call("WRITE", `a\0${value.slice(0, 2000)}`), "OK\0");
  tools.write("/local/domain/1/b", value);
  assertEquals(guest.call("READ", "b\0"), value);
  assertEquals(guest.call("GET_DOMAIN_PATH", "1".padEnd(4095, "x") + "\0"), "/local/domain/1\0");
});

Deno.test("no request is taken while a reply waits; both go on when there is room again", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  tools.write("/local/domain/1/a", "v".repeat(600));
  for (let reqId = 1; reqId <= 5; reqId++) guest.send(read("a", reqId));
  assertEquals(guest.ring.service(), true);
  const taken = get(guest, "req_cons");
  assertEquals([taken, get(guest, "rsp_prod")], [2 * read("a").length, RING_BYTES]);
  assertEquals([guest.ring.service(), get(guest, "req_cons")], [false, taken]);
  const ids: number[] = [];
  while (ids.length < 5) {
    ids.push(...guest.receive(100).map(({ reqId }) => reqId));
    guest.ring.service();
  }
  assertEquals(ids, [1, 2, 3, 4, 5]);
});

Deno.test("watch events wait for room, come in their order, and stand behind the reply to what caused them", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  guest.call("WATCH", "a\0token\0");
  guest.takeEvents();
  for (let node = 0; node < 200; node++) tools.mkdir(`/local/domain/1/a/${node}`);
  assertEquals(guest.ring.service(), true);
  assertEquals(get(guest, "rsp_prod") - get(guest, "rsp_cons"), RING_BYTES);
  guest.send(encode({ type: MESSAGE.WRITE, reqId: 9, txId: 0 }, bytesOf("a\0x")));
  const received: Received[] = [];
  do received.push(...guest.receive(333)); while (guest.ring.service());
  received.push(...guest.receive());
  assertEquals(
    guest.events,
    [...Array.from({ length: 200 }, (_, node) => `a/${node}`), "a"].map((path) => [path, "token"]),
  );
  assertEquals(received.findIndex(({ reqId }) => reqId === 9), 200);
  assertEquals(received.at(-1)!.payload, "a\0token\0");
});

Deno.test("a domain that goes on writing does not hold up the store; the rest is asked for", () => {
  const { guests: [guest] } = populated(), small = encode({ type: 99, reqId: 0, txId: 0 }, bytesOf(""));
  const { outgoing } = guest.connection;
  const take = outgoing.take.bind(outgoing);
  let served = 0;
  outgoing.take = (most) => {
    // What another vCPU of the domain would do meanwhile.
    guest.receive();
    guest.send(small);
    assert(++served < 10_000, "no end");
    return take(most);
  };
  guest.send(small);
  const { wakes } = guest, before = get(guest, "req_cons");
  guest.ring.service();
  assertEquals([get(guest, "req_cons") - before, guest.wakes - wakes], [RING_BYTES, 1]);
});

Deno.test("a callback may ask for the ring that is being served to be served", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  const answers: boolean[] = [];
  using _watch = tools.watch("/local/domain/1/a", () => answers.push(guest.ring.service()));
  answers.length = 0;
  assertEquals(guest.call("WRITE", "a\0x"), "OK\0");
  assertEquals(answers, [false]);
});

/** What the domain does to the page, and the error that it gets for it. */
const VIOLATIONS: [what: string, violate: (guest: Guest) => void, error: number][] = [
  [
    "more requests than the ring holds",
    (guest) => set(guest, "req_prod", get(guest, "req_cons") + RING_BYTES + 1),
    RING_ERROR.RINGIDX,
  ],
  ["its request index goes back", (guest) => set(guest, "req_prod", get(guest, "req_cons") - 1), RING_ERROR.RINGIDX],
  ["our request index goes on", (guest) => set(guest, "req_cons", 1 << 20), RING_ERROR.RINGIDX],
  ["its reply index overtakes ours", (guest) => {
    set(guest, "rsp_cons", get(guest, "rsp_prod") + 1);
    guest.send(read("a"));
  }, RING_ERROR.RINGIDX],
  ["a payload of 4097 bytes", (guest) => {
    const bytes = read("a");
    new DataView(bytes.buffer).setUint32(HEADER.len, 4097, true);
    guest.send(bytes);
  }, RING_ERROR.PROTO],
  ["a payload of 4 GiB", (guest) => guest.send(new Uint8Array(HEADER_BYTES).fill(0xff)), RING_ERROR.PROTO],
];

for (const [what, violate, error] of VIOLATIONS) {
  Deno.test(`a violation ends the connection with error ${error} until the domain asks for another: ${what}`, () => {
    const { store, tools, guests: [guest, other] } = populated();
    for (const field of ["req_cons", "req_prod", "rsp_cons", "rsp_prod"] as const) set(guest, field, 0);
    guest.call("WATCH", "a\0t\0");
    guest.takeEvents();
    const id = guest.start();
    violate(guest);
    assertEquals([guest.ring.service(), guest.ring.error, get(guest, "error")], [true, error, error]);
    const page = guest.page.slice();
    tools.write("/local/domain/1/a", "x");
    for (let turn = 0; turn < 3; turn++) assertEquals(guest.ring.service(), false);
    assertEquals([guest.page, guest.connection.watches.length], [page, 0]);
    assertEquals(other.call("READ", "/shared\0"), "");
    set(guest, "connection", CONNECTION.RECONNECT);
    assertEquals(guest.ring.service(), true);
    assertEquals([...guest.words.subarray(INTERFACE.req_cons / 4)].slice(0, 7), [
      0,
      0,
      0,
      0,
      RECONNECTION | ERROR,
      0,
      0,
    ]);
    assertEquals([guest.call("READ", "a\0"), guest.call("READ", "a\0", id)], ["x", "ENOENT"]);
    assertEquals([guest.takeEvents(), store.nodesOf(1)], [[], 4]);
  });
}

Deno.test("reconnection drops the message that is half there, what waits, watches and transactions", () => {
  const { tools, guests: [guest] } = populated();
  guest.call("WATCH", "a\0t\0");
  const id = guest.start();
  guest.takeEvents();
  tools.write("/local/domain/1/a", "x");
  guest.send(read("a").subarray(0, 17));
  guest.ring.service();
  tools.write("/local/domain/1/a", "y");
  set(guest, "connection", CONNECTION.RECONNECT);
  assertEquals(guest.ring.service(), true);
  assertEquals([get(guest, "connection"), get(guest, "rsp_prod"), guest.ring.service()], [
    CONNECTION.CONNECTED,
    0,
    false,
  ]);
  assertEquals([guest.call("READ", "a\0"), guest.call("READ", "a\0", id), guest.takeEvents()], ["y", "ENOENT", []]);
});

Deno.test("a ring zeroed between messages goes on, as boot code that is done with it leaves it", () => {
  const { guests: [guest] } = populated();
  assertEquals(guest.call("READ", "a\0"), "1");
  guest.page.fill(0, 0, INTERFACE.server_features);
  assertEquals(guest.call("READ", "b/c\0"), "2");
});

Deno.test("requests and replies in pieces of any size are those that were sent", () => {
  const requests = fc.array(operation, { minLength: 1, maxLength: 30, size: "max" });
  const sizes = fc.infiniteStream(fc.tuple(fc.nat(60), fc.nat(60), fc.boolean()));
  const property = fc.property(requests, sizes, fc.nat(0xffff_ffff), (operations, sizes, start) => {
    const { guests: [guest] } = populated(), { guests: [twin] } = populated();
    guest.receive();
    for (const field of ["req_cons", "req_prod", "rsp_cons", "rsp_prod"] as const) set(guest, field, start);
    const expected = operations.map(({ name, payload }) => twin.call(name, payload));
    let rest = new Uint8Array(operations.flatMap(({ name, payload }, reqId) => [
      ...encode({ type: MESSAGE[name], reqId, txId: 0 }, bytesOf(payload)),
    ]));
    const replies: string[] = [];
    for (const [send, receive, serve] of sizes) {
      rest = rest.subarray(guest.send(rest.subarray(0, send)));
      if (serve) guest.ring.service();
      for (const { name, payload, reqId } of guest.receive(receive)) {
        assertEquals(reqId, replies.length);
        replies.push(name === "ERROR" ? payload.slice(0, -1) : payload);
      }
      if (replies.length === operations.length) break;
    }
    assertEquals(replies, expected);
  });
  fc.assert(property, { numRuns: Math.ceil(RUNS / 3) });
});

/** Anything that a domain may do to its page. */
const action = fc.oneof(
  fc.record({ kind: fc.constant("bytes" as const), at: fc.nat(2047), bytes: fc.uint8Array({ maxLength: 64 }) }),
  fc.record({
    kind: fc.constant("word" as const),
    field: fc.constantFrom(...Object.keys(INTERFACE).slice(2) as (keyof typeof INTERFACE)[]),
    value: fc.oneof(fc.nat(3), fc.nat(1100), fc.nat(0xffff_ffff), fc.constantFrom(0xffff_ffff, 1 << 31)),
  }),
  fc.record({ kind: fc.constant("request" as const), operation, tx: fc.nat(3), length: fc.option(fc.nat(5000)) }),
  fc.record({ kind: fc.constant("watch" as const), token: fc.nat(200) }),
  fc.record({ kind: fc.constant("change" as const) }),
  fc.record({ kind: fc.constant("take" as const) }),
  fc.record({ kind: fc.constant("reconnect" as const) }),
);

Deno.test("nothing that a domain writes into its page throws, hangs, grows without bound, or hurts another", () => {
  const errors = new Map<number, number>();
  const property = fc.property(fc.array(action, { maxLength: 80, size: "max" }), (actions) => {
    const { tools, guests: [guest, other] } = populated();
    for (const action of actions) {
      switch (action.kind) {
        case "bytes":
          guest.page.set(action.bytes.subarray(0, 2048 - action.at), action.at);
          break;
        case "word":
          set(guest, action.field, action.value);
          break;
        case "request": {
          const { name, payload } = action.operation;
          const bytes = encode({ type: MESSAGE[name], reqId: 1, txId: action.tx }, bytesOf(payload));
          if (action.length !== null) new DataView(bytes.buffer).setUint32(HEADER.len, action.length, true);
          sendAnyhow(guest, bytes);
          break;
        }
        case "watch":
          sendAnyhow(guest, encode({ type: MESSAGE.WATCH, reqId: 2, txId: 0 }, bytesOf(`a\0${action.token}\0`)));
          break;
        case "change":
          tools.write("/local/domain/1/a/new", "x");
          break;
        case "take":
          set(guest, "rsp_cons", get(guest, "rsp_prod"));
          break;
        case "reconnect":
          set(guest, "connection", CONNECTION.RECONNECT);
      }
      guest.ring.service();
      errors.set(guest.ring.error, (errors.get(guest.ring.error) ?? 0) + 1);
      assertLessOrEqual(guest.connection.outgoing.queuedBytes, QUOTA.queuedBytes + 4096 + HEADER_BYTES);
      assertLessOrEqual(guest.connection.watches.length, QUOTA.watches);
    }
    assertEquals(other.call("WRITE", "still\0there"), "OK\0");
    set(guest, "connection", CONNECTION.RECONNECT);
    guest.ring.service();
    assertEquals([get(guest, "error"), get(guest, "connection")], [0, CONNECTION.CONNECTED]);
  });
  fc.assert(property, { numRuns: RUNS });
  for (const error of [RING_ERROR.NONE, RING_ERROR.RINGIDX, RING_ERROR.PROTO]) {
    assert((errors.get(error) ?? 0) > RUNS / 4, `error ${error}: ${errors.get(error)}`);
  }
});

/** As {@linkcode Guest.send}, whatever the indices are. */
function sendAnyhow(guest: Guest, bytes: Uint8Array): void {
  const producer = get(guest, "req_prod");
  for (const [at, byte] of bytes.entries()) guest.page[INTERFACE.req + (producer + at) % RING_BYTES] = byte;
  set(guest, "req_prod", producer + bytes.length);
}
