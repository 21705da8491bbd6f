/** Transactions: what they see, what they do at their end, and that they might as well have run one after the other. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type MessageName, storeWith } from "./guest.ts";
import { dump, type Operation, operation, perform, populated } from "./operations.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);

/** What is done in the transaction, what beside it, and what its end says. `a` = "1", `b/c` = "2" are there before. */
const CONFLICTS: [
  what: string,
  inside: [MessageName, string][],
  beside: [MessageName, string][],
  end: string,
][] = [
  ["nothing", [], [], "OK\0"],
  ["another node was written", [["READ", "a\0"], ["WRITE", "a\0x"]], [["WRITE", "b\0x"]], "OK\0"],
  ["a node that was read was written", [["READ", "a\0"]], [["WRITE", "a\0x"]], "EAGAIN"],
  ["a node that was read was written with its own value", [["READ", "a\0"]], [["WRITE", "a\x001"]], "EAGAIN"],
  ["a node that was written was written", [["WRITE", "a\0x"]], [["WRITE", "a\0y"]], "EAGAIN"],
  ["a node that was read was removed", [["READ", "a\0"]], [["RM", "a\0"]], "EAGAIN"],
  ["a node that was read got other permissions", [["READ", "a\0"]], [["SET_PERMS", "a\0n1\0r2\0"]], "EAGAIN"],
  ["a node that was not there was made", [["READ", "x\0"]], [["WRITE", "x\0y"]], "EAGAIN"],
  ["a list that was read got another child", [["DIRECTORY", "b\0"]], [["MKDIR", "b/x\0"]], "EAGAIN"],
  ["a child of a list that was read was written", [["DIRECTORY", "b\0"]], [["WRITE", "b/c\0x"]], "OK\0"],
  ["a tree that was removed got another child", [["RM", "b\0"]], [["MKDIR", "b/c/x\0"]], "EAGAIN"],
  ["something in a tree that was removed was written", [["RM", "b\0"]], [["WRITE", "b/c\0x"]], "EAGAIN"],
  ["both made a child of the same node", [["MKDIR", "b/x\0"]], [["MKDIR", "b/y\0"]], "EAGAIN"],
  ["another one was only read", [["WRITE", "a\0x"]], [["READ", "a\0"], ["DIRECTORY", "b\0"]], "OK\0"],
];

for (const [what, inside, beside, end] of CONFLICTS) {
  Deno.test(`a transaction ends ${JSON.stringify(end)}: ${what}`, () => {
    const { guests: [guest] } = populated(), id = guest.start();
    for (const [name, payload] of inside) guest.call(name, payload, id);
    for (const [name, payload] of beside) guest.call(name, payload);
    const before = dump(guest.connection.store);
    assertEquals(guest.call("TRANSACTION_END", "T\0", id), end);
    if (end !== "OK\0") assertEquals(dump(guest.connection.store), before);
    assertEquals(guest.call("TRANSACTION_END", "T\0", id), "ENOENT", "it is over either way");
  });
}

Deno.test("a transaction sees the store as it was at its start, and its own changes, which nobody else sees", () => {
  const { guests: [guest] } = populated(), id = guest.start();
  guest.call("WRITE", "a\0later");
  guest.call("WRITE", "later\0x");
  assertEquals([guest.call("READ", "a\0", id), guest.call("READ", "later\0", id)], ["1", "ENOENT"]);
  guest.call("WRITE", "b/c\0mine", id);
  guest.call("MKDIR", "mine/deep\0", id);
  guest.call("RM", "a\0", id);
  assertEquals([guest.call("READ", "b/c\0", id), guest.call("READ", "b/c\0")], ["mine", "2"]);
  assertEquals([guest.call("DIRECTORY", "mine\0", id), guest.call("DIRECTORY", "mine\0")], ["deep\0", "ENOENT"]);
  assertEquals([guest.call("READ", "a\0", id), guest.call("READ", "a\0")], ["ENOENT", "later"]);
});

Deno.test("an aborted transaction changes nothing, and no ends in one another", () => {
  const { guests: [guest] } = populated(), before = dump(guest.connection.store);
  const id = guest.start(), other = guest.start();
  guest.call("RM", "b\0", id);
  assertEquals(guest.call("TRANSACTION_START", "\0", id), "EBUSY");
  assertEquals(guest.call("TRANSACTION_END", "?\0", id), "EINVAL");
  assertEquals(guest.call("TRANSACTION_END", "F\0", id), "OK\0");
  assertEquals(guest.call("READ", "b\0", id), "ENOENT");
  assertEquals(guest.call("READ", "b/c\0", other), "2");
  assertEquals(dump(guest.connection.store), before);
});

Deno.test("events of a transaction come at its end, once a node, and not at all if it fails", () => {
  const { tools, guests: [guest] } = populated();
  guest.call("WATCH", "/local/domain/1\0all\0");
  guest.call("WATCH", "b/c\0c\0");
  guest.takeEvents();
  const change = (id: number) => {
    guest.call("WRITE", "a\0x", id);
    guest.call("WRITE", "a\0y", id);
    guest.call("WRITE", "new/deep\0z", id);
    guest.call("RM", "b\0", id);
    return guest.takeEvents();
  };
  const lost = guest.start();
  change(lost);
  tools.write("/local/domain/1/a", "other");
  guest.takeEvents();
  assertEquals([guest.call("TRANSACTION_END", "T\0", lost), guest.takeEvents()], ["EAGAIN", []]);
  const id = guest.start();
  assertEquals(change(id), []);
  guest.call("TRANSACTION_END", "T\0", id);
  assertEquals(guest.takeEvents().toSorted(), [
    ["/local/domain/1/a", "all"],
    ["/local/domain/1/b", "all"],
    ["/local/domain/1/new/deep", "all"],
    ["b/c", "c"],
  ]);
});

Deno.test("a node that was written before it was removed with another is an event to all above it, too", () => {
  const { guests: [guest] } = populated();
  guest.call("WATCH", "b\0b\0");
  guest.takeEvents();
  for (const [change, expected] of [["READ", ["b"]], ["WRITE", ["b", "b/c"]]] as const) {
    guest.call("WRITE", "b/c\0x");
    guest.takeEvents();
    const id = guest.start();
    guest.call(change, "b/c\0", id);
    guest.call("RM", "b\0", id);
    guest.call("TRANSACTION_END", "T\0", id);
    assertEquals(guest.takeEvents().map(([path]) => path).toSorted(), [...expected], change);
  }
});

Deno.test("a transaction may take out and make again what it has made", () => {
  const { tools, guests: [guest] } = populated(), id = guest.start();
  for (
    const [name, payload] of [
      ["WRITE", "b/c/d\0x"],
      ["RM", "b\0"],
      ["WRITE", "b/e\0y"],
      ["WRITE", "b/c\0z"],
      ["WRITE", "n/m\0x"],
      ["RM", "n\0"],
      ["WRITE", "stays/too/goes\0x"],
      ["RM", "stays/too/goes\0"],
    ] as const
  ) assertEquals(guest.call(name, payload, id), "OK\0");
  assertEquals(guest.call("TRANSACTION_END", "T\0", id), "OK\0");
  assertEquals(tools.directory("/local/domain/1"), ["a", "b", "stays"]);
  assertEquals([tools.directory("/local/domain/1/stays"), tools.directory("/local/domain/1/stays/too")], [["too"], []]);
  assertEquals(tools.directory("/local/domain/1/b").toSorted(), ["c", "e"]);
  assertEquals([tools.readText("/local/domain/1/b/c"), tools.directory("/local/domain/1/b/c")], ["z", []]);
});

/** Three transactions of two domains, and what is done outside of any, in any order. */
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("operation" as const), slot: fc.nat(3), operation }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("start" as const, "commit" as const, "abort" as const),
      slot: fc.nat(2),
    }),
  },
);

Deno.test("transactions that succeed give what they would have given one after the other, at their ends", () => {
  let committed = 0, again = 0;
  const property = fc.property(fc.array(step, { minLength: 20, maxLength: 80, size: "max" }), (steps) => {
    const real = populated(), serial = populated();
    const open = new Map<number, { id: number; log: [Operation, string][]; changesBefore: number }>();
    let changes = 0;
    for (const step of steps) {
      const { slot } = step, transaction = open.get(slot), guest = real.guests[slot % 2];
      if (step.kind === "start") {
        if (transaction === undefined) open.set(slot, { id: guest.start(), log: [], changesBefore: changes });
      } else if (step.kind === "operation") {
        const reply = perform(guest, step.operation, transaction?.id);
        if (transaction !== undefined) {
          transaction.log.push([step.operation, reply]);
        } else {
          assertEquals(perform(serial.guests[slot % 2], step.operation), reply);
          changes++;
        }
      } else if (transaction !== undefined) {
        open.delete(slot);
        const end = guest.call("TRANSACTION_END", step.kind === "commit" ? "T\0" : "F\0", transaction.id);
        if (step.kind === "abort") continue;
        if (end === "EAGAIN") {
          again++;
          assert(changes > transaction.changesBefore, "nothing had changed");
        } else {
          committed++;
          changes++;
          assertEquals(end, "OK\0");
          for (const [operation, reply] of transaction.log) {
            assertEquals(perform(serial.guests[slot % 2], operation), reply, JSON.stringify(operation));
          }
        }
      }
    }
    assertEquals(dump(real.store), dump(serial.store));
    for (const domid of [0, 1, 2]) assertEquals(real.store.nodesOf(domid), serial.store.nodesOf(domid));
  });
  fc.assert(property, { numRuns: RUNS });
  assert(committed > RUNS / 10 && again > RUNS / 20, `${committed} committed, ${again} to be done again`);
});

Deno.test("what a transaction leaves behind is counted", () => {
  const { store, guests: [guest] } = storeWith([1]), id = guest.start();
  guest.call("WRITE", "a/b/c\0x", id);
  assertEquals(store.nodesOf(1), 1);
  guest.call("TRANSACTION_END", "T\0", id);
  assertEquals(store.nodesOf(1), 4);
  guest.call("RM", "a\0");
  assertEquals(store.nodesOf(1), 1);
});
