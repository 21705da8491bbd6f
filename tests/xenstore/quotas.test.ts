/** What one domain may take, and what it is told when it wants more. */

import { assertEquals, assertLessOrEqual } from "@std/assert";
import { QUOTA } from "../../src/xenstore/quotas.ts";
import { storeWith } from "./guest.ts";

Deno.test("a domain owns 1000 nodes, however it makes them; another one is ENOSPC, and nothing is made", () => {
  const { store, tools, guests: [guest] } = storeWith([1]);
  for (let node = 0; node < 98; node++) {
    for (let below = 0; below < 10; below++) guest.call("MKDIR", `a${node}/b${below}\0`);
    if (store.nodesOf(1) >= 990) break;
  }
  while (store.nodesOf(1) < 998) assertEquals(guest.call("MKDIR", `c${store.nodesOf(1)}\0`), "OK\0");
  assertEquals(guest.call("WRITE", "x/y/z\0v"), "ENOSPC");
  assertEquals(guest.call("READ", "x\0"), "ENOENT");
  assertEquals(guest.call("WRITE", "x/y\0v"), "OK\0");
  assertEquals([store.nodesOf(1), guest.call("MKDIR", "z\0")], [QUOTA.nodes, "ENOSPC"]);
  assertEquals(guest.call("WRITE", "x/y\0w"), "OK\0");
  guest.call("RM", "x\0");
  assertEquals([store.nodesOf(1), guest.call("MKDIR", "z\0")], [998, "OK\0"]);
  tools.mkdir("/local/domain/1/tools/own");
  assertEquals(store.nodesOf(1), 1001, "what the tool stack makes below is the domain's, and needs no quota");
});

Deno.test("a domain's transaction meets the same quota, at once or at its end", () => {
  const { store, guests: [guest] } = storeWith([1]);
  for (let parent = 0; store.nodesOf(1) < 995; parent++) guest.call("MKDIR", `${parent >> 5}/${parent}\0`);
  const id = guest.start();
  assertEquals(guest.call("MKDIR", "x/y\0", id), "OK\0");
  while (store.nodesOf(1) < QUOTA.nodes) guest.call("MKDIR", `later/${store.nodesOf(1)}\0`);
  assertEquals(guest.call("TRANSACTION_END", "T\0", id), "ENOSPC");
  assertEquals(store.nodesOf(1), QUOTA.nodes);
  const other = guest.start();
  assertEquals(guest.call("MKDIR", "x\0", other), "ENOSPC");
  assertEquals(guest.call("TRANSACTION_END", "T\0", other), "ENOMEM");
});

Deno.test("a node has 2048 bytes: 16, 8 a permission, its value, its children's names", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  assertEquals(guest.call("WRITE", `value\0${"x".repeat(2025)}`), "ENOSPC");
  assertEquals(guest.call("WRITE", `value\0${"x".repeat(2024)}`), "OK\0");
  assertEquals(guest.call("SET_PERMS", "value\0n1\0r0\0"), "ENOSPC");
  assertEquals(guest.call("MKDIR", "value/below\0"), "ENOSPC");
  assertEquals(guest.call("MKDIR", `${"n".repeat(2020)}/below\0`), "ENOSPC", "its parent's list");
  assertEquals(guest.call("MKDIR", `list/${"n".repeat(2024)}\0`), "ENOSPC", "the list of its parent, which is new");
  assertEquals(guest.call("MKDIR", `list/${"n".repeat(2023)}\0`), "OK\0");
  assertEquals(guest.call("MKDIR", "list/another\0"), "ENOSPC");
  assertEquals(guest.call("RM", "value\0"), "OK\0");
  tools.write("/local/domain/1/any", "x".repeat(100_000));
});

Deno.test("a node has 5 permissions, for domain 0 any number", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  guest.call("MKDIR", "a\0");
  assertEquals(guest.call("SET_PERMS", `a\0n1\0${"r0\0".repeat(4)}`), "OK\0");
  assertEquals(guest.call("SET_PERMS", `a\0n1\0${"r0\0".repeat(5)}`), "ENOSPC");
  tools.setPermissions("/local/domain/1/a", ["n1", "r0", "r2", "r3", "r4", "r5", "r6"]);
});

Deno.test("a connection has 128 watches and 10 transactions; both come back", () => {
  const { guests: [guest] } = storeWith([1]);
  for (let token = 0; token < QUOTA.watches; token++) assertEquals(guest.call("WATCH", `a\0${token}\0`), "OK\0");
  assertEquals(guest.call("WATCH", "a\0another\0"), "E2BIG");
  assertEquals(guest.call("WATCH", "a\x000\0"), "EEXIST");
  guest.call("UNWATCH", "a\x005\0");
  assertEquals(guest.call("WATCH", "a\0another\0"), "OK\0");
  const ids = Array.from({ length: QUOTA.transactions }, () => guest.start());
  assertEquals(new Set(ids).size, QUOTA.transactions);
  assertEquals(guest.call("TRANSACTION_START", "\0"), "ENOSPC");
  assertEquals(guest.call("TRANSACTION_END", "F\0", ids[3]), "OK\0");
  assertEquals(ids.includes(guest.start()), false);
  guest.call("RESET_WATCHES");
  assertEquals([guest.connection.watches.length, guest.call("READ", "a\0", ids[0])], [0, "ENOENT"]);
  assertEquals(guest.call("WATCH", "a\x000\0"), "OK\0");
});

Deno.test("a transaction looks for 1024 nodes, found or not; then it fails", () => {
  const { guests: [guest] } = storeWith([1]), id = guest.start();
  let reply = "", asked = 0;
  while (reply !== "ENOSPC") reply = guest.call("READ", `missing-${asked++}\0`, id);
  assertEquals(asked, QUOTA.transactionNodes, "one of them for the node above, which says that they may know");
  assertEquals(guest.call("TRANSACTION_END", "T\0", id), "ENOMEM");
});

Deno.test("events that a domain does not take hold up who causes them, until they are taken or too old", () => {
  let nowMs = 0;
  const { store, tools, guests: [writer, watcher] } = storeWith([1, 2], () => nowMs);
  tools.setPermissions("/local/domain/1", ["n1", "r2"]);
  for (const token of ["t", "u"]) watcher.call("WATCH", `/local/domain/1\0${token}\0`);
  watcher.takeEvents();
  for (let node = 0; node < 10; node++) writer.call("MKDIR", `n${node}\0`);
  watcher.takeEvents();
  for (let node = 0; node < QUOTA.outstanding; node++) {
    assertEquals([writer.connection.isHeldUp, writer.call("WRITE", `n${node}\0y`)], [false, "OK\0"]);
  }
  assertEquals([writer.connection.isHeldUp, writer.connection.takesRequests], [true, false]);
  const wakes = writer.wakes;
  assertEquals(watcher.takeEvents().length, 2 * QUOTA.outstanding);
  assertEquals([writer.connection.isHeldUp, writer.wakes > wakes], [false, true]);
  for (let node = 0; node < QUOTA.outstanding; node++) writer.call("WRITE", `n${node}\0x`);
  nowMs = QUOTA.eventMs;
  store.expireEvents(nowMs);
  assertEquals(writer.connection.isHeldUp, true);
  store.expireEvents(nowMs + 1);
  assertEquals([writer.connection.isHeldUp, watcher.takeEvents()], [false, []]);
  writer.call("WRITE", "n1\0x");
  assertEquals(watcher.takeEvents(), [["/local/domain/1/n1", "t"], ["/local/domain/1/n1", "u"]]);
});

Deno.test("what waits for a domain that takes nothing is bounded, and the tool stack is not held up", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  const token = "t".repeat(2000);
  for (let watch = 0; watch < 100; watch++) guest.call("WATCH", `a\0${token}${watch}\0`);
  guest.takeEvents();
  for (let node = 0; node < 100; node++) tools.mkdir(`/local/domain/1/a/${node}`);
  assertLessOrEqual(guest.connection.outgoing.queuedBytes, QUOTA.queuedBytes);
  const events = guest.takeEvents();
  assertEquals(events.length > 1000, true);
  assertEquals(guest.connection.outgoing.queuedBytes, 0);
});
