/** Each type of message by itself, good and bad, from a domain that has no privileges. */

import { assertEquals } from "@std/assert";
import { Guest, type MessageName, storeWith } from "./guest.ts";

const LONG = "a".repeat(2000);

/** What the tool stack has made before: `/local/domain/1` is n1, the guest's own; `/closed` n0, `/open` n0 r1, `/shared` b0. */
function prepared(): Guest {
  const { tools, guests: [guest] } = storeWith([1, 2]);
  for (const [path, permissions] of [["/closed", ["n0"]], ["/open", ["n0", "r1"]], ["/shared", ["b0"]]] as const) {
    tools.write(`${path}/below`, "x");
    for (const at of [path, `${path}/below`]) tools.setPermissions(at, permissions);
  }
  tools.write("/drop", "x");
  tools.setPermissions("/drop", ["n0", "w1"]);
  tools.write("/open/large", "x".repeat(4097));
  for (let child = 0; child < 300; child++) tools.mkdir(`/open/many/${String(child).padStart(15, "0")}`);
  guest.call("WRITE", "own/value\0some\0bytes\xff");
  guest.call("MKDIR", "own/empty\0");
  return guest;
}

/** Payload of the request, and of the reply, or the error's name. Each starts from the same store. */
const CASES: [name: MessageName | number, payload: string, reply: string][] = [
  ["READ", "own/value\0", "some\0bytes\xff"],
  ["READ", "/local/domain/1/own/value\0", "some\0bytes\xff"],
  ["READ", "own\0", ""],
  ["READ", "/open/below\0", "x"],
  ["READ", "/open/missing\0", "ENOENT"],
  ["READ", "/open/missing/below/that\0", "ENOENT"],
  ["READ", "missing\0", "ENOENT"],
  ["READ", "/closed\0", "EACCES"],
  ["READ", "/closed/missing\0", "EACCES"],
  ["READ", "/missing\0", "EACCES"],
  ["READ", "/drop\0", "EACCES"],
  ["READ", "/open/large\0", "E2BIG"],
  ["READ", "@releaseDomain\0", "EINVAL"],
  ["READ", "own/value", "EINVAL"],
  ["READ", "", "EINVAL"],
  ["READ", "\0", "EINVAL"],
  ["READ", "own\0x", "EINVAL"],
  ["READ", "own\0\0", "EINVAL"],
  ["READ", "own//value\0", "EINVAL"],
  ["READ", "own/value/\0", "EINVAL"],
  ["READ", "own value\0", "EINVAL"],
  ["DIRECTORY", "own\0", "value\0empty\0"],
  ["DIRECTORY", "own/value\0", ""],
  ["DIRECTORY", "/local/domain/1\0", "own\0"],
  ["DIRECTORY", "/open/many\0", "E2BIG"],
  ["DIRECTORY", "/\0", "EACCES"],
  ["DIRECTORY", "own", "EINVAL"],
  ["DIRECTORY_PART", "own", "EINVAL"],
  ["DIRECTORY_PART", "own\0", "EINVAL"],
  ["DIRECTORY_PART", "own\x000\0x\0", "EINVAL"],
  ["DIRECTORY_PART", "/closed\x000\0", "EACCES"],
  ["GET_PERMS", "own\0", "n1\0"],
  ["GET_PERMS", "/open\0", "n0\0r1\0"],
  ["GET_PERMS", "/closed\0", "EACCES"],
  ["GET_PERMS", "@releaseDomain\0", "EACCES"],
  ["GET_PERMS", "@missing\0", "EACCES"],
  ["GET_PERMS", "own\0x\0", "EINVAL"],
  ["SET_PERMS", "own\0n1\0r2\0", "OK\0"],
  ["SET_PERMS", "own\0b1\0ignored", "OK\0"],
  ["SET_PERMS", "own\0n2\0", "EPERM"],
  ["SET_PERMS", "own\0n9\0", "ENOENT"],
  ["SET_PERMS", "own\0n1\0r9\0", "OK\0"],
  ["SET_PERMS", "missing\0n1\0", "ENOENT"],
  ["SET_PERMS", "/shared\0b1\0", "EACCES"],
  ["SET_PERMS", "/closed\0n1\0", "EACCES"],
  ["SET_PERMS", "@releaseDomain\0n1\0", "EACCES"],
  ["SET_PERMS", "own\0x1\0", "EINVAL"],
  ["SET_PERMS", "own\0n1\0r\0", "EINVAL"],
  ["SET_PERMS", "own\0", "EINVAL"],
  ["SET_PERMS", "own\0n1", "EINVAL"],
  ["SET_PERMS", "", "EINVAL"],
  ["WRITE", "own/value\0new", "OK\0"],
  ["WRITE", "own/value\0", "OK\0"],
  ["WRITE", "own/new/deep\0\0\0", "OK\0"],
  ["WRITE", "/shared/new\0x", "OK\0"],
  ["WRITE", "/drop\0x", "OK\0"],
  ["WRITE", "/drop/new\0x", "OK\0"],
  ["WRITE", "/open/below\0x", "EACCES"],
  ["WRITE", "/open/new\0x", "EACCES"],
  ["WRITE", "/new\0x", "EACCES"],
  ["WRITE", "@x\0x", "EINVAL"],
  ["WRITE", "own/value", "EINVAL"],
  ["WRITE", "", "EINVAL"],
  ["WRITE", "\0x", "EINVAL"],
  [`WRITE`, `own/${LONG}/${LONG}\0`, "EINVAL"],
  ["MKDIR", "own/new\0", "OK\0"],
  ["MKDIR", "own/value\0", "OK\0"],
  ["MKDIR", "/open\0", "EACCES"],
  ["MKDIR", "/new\0", "EACCES"],
  ["MKDIR", "own/new\0x", "EINVAL"],
  ["RM", "own\0", "OK\0"],
  ["RM", "missing\0", "OK\0"],
  ["RM", "missing/below\0", "ENOENT"],
  ["RM", "/shared/below\0", "OK\0"],
  ["RM", "/open/below\0", "EACCES"],
  ["RM", "/closed/missing\0", "EACCES"],
  ["RM", "/\0", "EACCES"],
  ["RM", "own", "EINVAL"],
  ["WATCH", "own\0token\0", "OK\0"],
  ["WATCH", "/closed\0\0", "OK\0"],
  ["WATCH", "@releaseDomain\0t\0", "OK\0"],
  ["WATCH", "@any\0t\0more", "OK\0"],
  ["WATCH", "own/\0t\0", "EINVAL"],
  ["WATCH", "own\0", "EINVAL"],
  ["WATCH", "own\0t", "EINVAL"],
  ["WATCH", "own\0t\0x\0", "EINVAL"],
  ["UNWATCH", "own\0token\0", "ENOENT"],
  ["UNWATCH", "own\0token", "EINVAL"],
  ["UNWATCH", "own//\0token\0", "EINVAL"],
  ["RESET_WATCHES", "\0", "OK\0"],
  ["RESET_WATCHES", "", "OK\0"],
  ["TRANSACTION_START", "\0", "1\0"],
  ["TRANSACTION_START", "", "1\0"],
  ["TRANSACTION_END", "T\0", "ENOENT"],
  ["TRANSACTION_END", "T", "EINVAL"],
  ["TRANSACTION_END", "X\0", "EINVAL"],
  ["TRANSACTION_END", "", "EINVAL"],
  ["GET_DOMAIN_PATH", "1\0", "/local/domain/1\0"],
  ["GET_DOMAIN_PATH", "007x\0", "/local/domain/7\0"],
  ["GET_DOMAIN_PATH", "x\0", "/local/domain/0\0"],
  ["GET_DOMAIN_PATH", "1", "EINVAL"],
  ["CONTROL", "check\0", "EACCES"],
  ["INTRODUCE", "1\x001\x001\0", "EACCES"],
  ["RELEASE", "1\0", "EACCES"],
  ["IS_DOMAIN_INTRODUCED", "1\0", "EACCES"],
  ["RESUME", "1\0", "EACCES"],
  ["SET_TARGET", "1\x002\0", "EACCES"],
  ["WATCH_EVENT", "a\0b\0", "ENOSYS"],
  ["ERROR", "EINVAL\0", "ENOSYS"],
  [20, "1\0", "ENOSYS"],
  [23, "", "ENOSYS"],
  [0xffff, "", "ENOSYS"],
  [0xffff_ffff, "x", "ENOSYS"],
];

for (const [name, payload, reply] of CASES) {
  const shown = payload.length > 60 ? `${payload.slice(0, 60)}...` : payload;
  Deno.test(`${name} ${JSON.stringify(shown)} is answered ${JSON.stringify(reply)}`, () => {
    assertEquals(prepared().call(name, payload), reply);
  });
}

Deno.test("a transaction that there is none of is refused with ENOENT, except where it means nothing", () => {
  const outside: MessageName[] = ["WATCH", "UNWATCH"];
  const inside: [MessageName, string][] = [
    ["READ", "own\0"],
    ["WRITE", "own\0x"],
    ["DIRECTORY", "own\0"],
    ["RESET_WATCHES", "\0"],
    ["TRANSACTION_START", "\0"],
    ["TRANSACTION_END", "T\0"],
    ["GET_DOMAIN_PATH", "1\0"],
  ];
  const guest = prepared();
  for (const [name, payload] of inside) assertEquals(guest.call(name, payload, 77), "ENOENT", name);
  for (const name of outside) assertEquals(guest.call(name, "own\0t\0", 77), "OK\0", name);
  assertEquals(guest.call("READ", "own\0", 0xffff_ffff), "ENOENT");
});

Deno.test("the reply has the request's ids, and an error has them, too", () => {
  const guest = prepared(), id = guest.start();
  const { name, txId } = guest.ask("READ", "missing\0", id);
  assertEquals([name, txId], ["ERROR", id]);
});

Deno.test("WRITE and MKDIR make the nodes above with empty values, owned by the domain, with the permissions found there", () => {
  const guest = prepared();
  guest.call("SET_PERMS", "own\0n1\0r2\0");
  guest.call("WRITE", "own/a/b/c\0value");
  guest.call("MKDIR", "own/a/d\0");
  for (const path of ["own/a", "own/a/b", "own/a/d"]) {
    assertEquals([guest.call("READ", `${path}\0`), guest.call("GET_PERMS", `${path}\0`)], ["", "n1\0r2\0"]);
  }
  assertEquals(guest.call("DIRECTORY", "own/a\0"), "b\0d\0");
  guest.call("WRITE", "/shared/new/deep\0x");
  assertEquals(guest.call("GET_PERMS", "/shared/new\0"), "b1\0");
  assertEquals(guest.call("GET_PERMS", "/shared\0"), "b0\0");
});

Deno.test("MKDIR leaves a value as it is, and RM takes out what is below, whosoever's it is", () => {
  const guest = prepared();
  guest.call("MKDIR", "own/value\0");
  assertEquals(guest.call("READ", "own/value\0"), "some\0bytes\xff");
  const { tools, guests: [other] } = storeWith([1]);
  tools.write("/local/domain/1/foreign/below", "x");
  assertEquals(other.call("RM", "/local/domain/1\0"), "OK\0");
  assertEquals(tools.exists("/local/domain/1/foreign/below"), false);
  assertEquals(tools.directory("/local/domain"), []);
});

Deno.test("DIRECTORY_PART gives a name only if it and an empty one fit into 4096 bytes", () => {
  for (const [bytes, names] of [[2090, 2], [2091, 1]]) {
    const { tools, guests: [guest] } = storeWith([1]);
    tools.mkdir("/l");
    tools.setPermissions("/l", ["n0", "r1"]);
    for (const name of ["a".repeat(2000), "b".repeat(bytes), "c"]) tools.mkdir(`/l/${name}`);
    const [generation, ...list] = guest.call("DIRECTORY_PART", "/l\x000\0").split("\0").slice(0, -1);
    assertEquals([generation.length, list.length], [2, names]);
  }
});

Deno.test("DIRECTORY_PART gives a list of any length in parts, with a generation that changes with the node", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  const names = Array.from({ length: 700 }, (_, child) => `child-${child}`);
  for (const name of names) tools.mkdir(`/list/${name}`);
  tools.setPermissions("/list", ["n0", "r1"]);
  const part = (offset: number) => {
    const reply = guest.call("DIRECTORY_PART", `/list\0${offset}\0`), end = reply.indexOf("\0") + 1;
    return { generation: reply.slice(0, end), list: reply.slice(end), bytes: reply.length };
  };
  let list = "", parts = 0;
  const { generation } = part(0);
  while (!list.endsWith("\0\0")) {
    const next = part(list.length);
    assertEquals([next.generation, next.bytes <= 4096, next.list.endsWith("\0")], [generation, true, true]);
    list += next.list;
    parts++;
  }
  assertEquals([list.split("\0").slice(0, -2), parts], [names, 2]);
  assertEquals(part(list.length - 1).list, "\0");
  assertEquals(part(1e9).list, "\0");
  assertEquals(part(-1).list, "\0");
  tools.write("/list/child-1", "x");
  assertEquals(part(0).generation, generation, "a child's value is not its parent's business");
  tools.remove("/list/child-1");
  assertEquals(part(0).generation === generation, false);
});
