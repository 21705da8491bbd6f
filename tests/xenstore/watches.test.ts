/** Watches: who hears of what, how it is called, and in which order it comes. */

import { assertEquals } from "@std/assert";
import { INTRODUCE_DOMAIN, RELEASE_DOMAIN } from "../../src/xenstore/store.ts";
import { Guest, storeWith } from "./guest.ts";

const HOME = "/local/domain/1";

Deno.test("a watch fires once when it is set, after its reply, whether the node is there or may be read or not", () => {
  const { guests: [guest] } = storeWith([1]);
  for (const path of ["a", `${HOME}/b`, "/closed", "@releaseDomain", "@any", "/"]) {
    assertEquals(guest.call("WATCH", `${path}\0to ken\xff\0`), "OK\0");
    assertEquals(guest.takeEvents(), [[path, "to ken\xff"]]);
  }
});

Deno.test("a watch hears of its node and all below it, by the path that changed, relative if it was", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  guest.call("WATCH", "a/b\0relative\0");
  guest.call("WATCH", `${HOME}/a/b\0absolute\0`);
  assertEquals(guest.call("WATCH", "a/b\0absolute\0"), "EEXIST", "another spelling of the same path");
  guest.takeEvents();
  const changes: [what: string, change: () => void, path: string | undefined][] = [
    ["write, new", () => guest.call("WRITE", "a/b\0x"), "a/b"],
    ["write", () => guest.call("WRITE", "a/b\0y"), "a/b"],
    ["the same value", () => guest.call("WRITE", "a/b\0y"), "a/b"],
    ["mkdir below, deep", () => guest.call("MKDIR", "a/b/c/d\0"), "a/b/c/d"],
    ["mkdir of what is there", () => guest.call("MKDIR", "a/b/c\0"), undefined],
    ["permissions", () => guest.call("SET_PERMS", "a/b/c\0n1\0r2\0"), "a/b/c"],
    ["rm below", () => guest.call("RM", "a/b/c\0"), "a/b/c"],
    ["rm of what is not there", () => guest.call("RM", "a/b/c\0"), undefined],
    ["beside", () => guest.call("WRITE", "a/bc\0x"), undefined],
    ["above", () => guest.call("WRITE", "a\0x"), undefined],
    ["a refused one", () => guest.call("WRITE", `a/b\0${"x".repeat(3000)}`), undefined],
    ["rm above: the watch's own path", () => guest.call("RM", "a\0"), "a/b"],
    ["by the tool stack", () => tools.write(`${HOME}/a/b`, "x"), "a/b"],
  ];
  for (const [what, change, path] of changes) {
    change();
    const expected = path === undefined ? [] : [[path, "relative"], [`${HOME}/${path}`, "absolute"]];
    assertEquals(guest.takeEvents(), expected as [string, string][], what);
  }
});

Deno.test("the removal of a subtree is one event to a watch above, and one to each watch within", () => {
  const { guests: [guest] } = storeWith([1]);
  guest.call("WRITE", "a/b/c\0x");
  guest.call("WRITE", "a/d\0x");
  for (const path of ["", "a/", "a/b/", "a/b/c/", "a/missing/"]) {
    guest.call("WATCH", `${HOME}/${path}`.slice(0, -1) + `\0${path}\0`);
  }
  guest.takeEvents();
  guest.call("RM", "a\0");
  assertEquals(guest.takeEvents().toSorted(), [
    [`${HOME}/a`, ""],
    [`${HOME}/a`, "a/"],
    [`${HOME}/a/b`, "a/b/"],
    [`${HOME}/a/b/c`, "a/b/c/"],
  ]);
});

Deno.test("a domain hears of nodes that it may read, could read before, or whose parent it may read", () => {
  const { tools, guests: [, guest] } = storeWith([1, 2]);
  tools.mkdir("/top/node");
  guest.call("WATCH", "/top\0t\0");
  guest.takeEvents();
  const steps: [what: string, change: () => void, hears: boolean][] = [
    ["unreadable", () => tools.write("/top/node", "x"), false],
    ["becomes readable", () => tools.setPermissions("/top/node", ["n0", "r2"]), true],
    ["readable", () => tools.write("/top/node", "y"), true],
    ["becomes unreadable", () => tools.setPermissions("/top/node", ["n0"]), true],
    ["unreadable again", () => tools.write("/top/node", "z"), false],
    ["readable to all", () => tools.setPermissions("/top/node", ["r0"]), true],
    ["removed", () => tools.remove("/top/node"), true],
    ["new, unreadable", () => tools.write("/top/node", "x"), false],
    ["its parent readable", () => tools.setPermissions("/top", ["n0", "r2"]), true],
    ["below a readable parent", () => tools.write("/top/node", "y"), true],
    ["removed below a readable parent", () => tools.remove("/top/node"), true],
  ];
  for (const [what, change, hears] of steps) {
    change();
    assertEquals(guest.takeEvents().length, hears ? 1 : 0, what);
  }
});

Deno.test("domains that come and go are events where they may be read", () => {
  const { store, tools, guests: [guest, other] } = storeWith([1, 2]);
  tools.setPermissions(INTRODUCE_DOMAIN, ["n0", "r1"]);
  tools.setPermissions(RELEASE_DOMAIN, ["n0", "r1"]);
  const heard: string[] = [];
  using _introduced = tools.watch(INTRODUCE_DOMAIN, (path) => heard.push(path));
  using _released = tools.watch(RELEASE_DOMAIN, (path) => heard.push(path));
  for (const name of [INTRODUCE_DOMAIN, RELEASE_DOMAIN]) {
    for (const one of [guest, other]) one.call("WATCH", `${name}\0t\0`);
  }
  guest.takeEvents();
  other.takeEvents();
  heard.length = 0;
  store.createDomain(3);
  assertEquals(heard, []);
  new Guest(store, 3);
  assertEquals([guest.takeEvents(), heard.splice(0)], [[[INTRODUCE_DOMAIN, "t"]], [INTRODUCE_DOMAIN]]);
  store.domainShutDown();
  store.releaseDomain(3);
  const twice = [RELEASE_DOMAIN, RELEASE_DOMAIN];
  assertEquals([guest.takeEvents().map(([path]) => path), heard, other.takeEvents()], [twice, twice, []]);
  store.releaseDomain(3);
  assertEquals(heard, twice);
});

Deno.test("a domain that is gone leaves no nodes, no watches, and nothing that is granted to its successor", () => {
  const { store, tools, guests: [first, second] } = storeWith([1, 2]);
  tools.mkdir("/shared");
  tools.setPermissions("/shared", ["n0", "b1", "r2"]);
  first.call("WRITE", "/shared/own/below\0x");
  second.call("WRITE", "x\0y");
  second.call("SET_PERMS", "x\0n2\0r1\0");
  first.call("WATCH", "/shared\0t\0");
  first.takeEvents();
  first.call("WRITE", "x/y\0z");
  const heard: string[] = [];
  using _watch = tools.watch("/", (path) => heard.push(path));
  heard.length = 0;
  store.releaseDomain(1);
  assertEquals(heard.toSorted(), [HOME, "/shared/own"]);
  assertEquals([tools.exists(HOME), tools.directory("/shared"), store.nodesOf(1)], [false, [], 0]);
  second.call("SET_PERMS", "x\0n2\0r1\0b0\0");
  store.createDomain(1);
  const successor = new Guest(store, 1);
  assertEquals(tools.permissions("/shared"), ["n0", "r2"]);
  assertEquals(second.call("GET_PERMS", "x\0"), "n2\0b0\0");
  assertEquals(successor.call("READ", "/local/domain/2/x\0"), "EACCES");
  tools.write("/shared/new", "x");
  assertEquals(first.takeEvents(), []);
});

Deno.test("UNWATCH and RESET_WATCHES end watches; what waits still comes", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  for (const token of ["one", "two"]) guest.call("WATCH", `a\0${token}\0`);
  assertEquals(guest.call("UNWATCH", `${HOME}/a\0one\0`), "OK\0");
  assertEquals(guest.call("UNWATCH", "a\0one\0"), "ENOENT");
  assertEquals(guest.takeEvents(), [["a", "one"], ["a", "two"]]);
  tools.write(`${HOME}/a`, "x");
  assertEquals(guest.takeEvents(), [["a", "two"]]);
  guest.call("RESET_WATCHES", "\0");
  tools.write(`${HOME}/a`, "y");
  assertEquals(guest.takeEvents(), []);
});

Deno.test("an event is not queued twice, and comes again once it was sent", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  guest.call("WATCH", "a\0t\0");
  guest.takeEvents();
  for (const value of ["1", "2", "3"]) tools.write(`${HOME}/a`, value);
  assertEquals(guest.takeEvents(), [["a", "t"]]);
  tools.write(`${HOME}/a`, "4");
  assertEquals(guest.takeEvents(), [["a", "t"]]);
});

Deno.test("an event that is longer than a message may be is left out", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  const fits = 4096 - "a/".length - 10 - 2;
  guest.call("WATCH", `a\0${"t".repeat(fits)}\0`);
  guest.takeEvents();
  tools.mkdir(`${HOME}/a/${"n".repeat(11)}`);
  assertEquals(guest.takeEvents(), []);
  tools.mkdir(`${HOME}/a/${"n".repeat(10)}`);
  assertEquals(guest.takeEvents().length, 1);
});
