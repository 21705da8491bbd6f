/** The tool stack: everything is allowed, and watches call back. */

import { assertEquals, assertThrows } from "@std/assert";
import { MESSAGE } from "../../src/xenstore/abi.ts";
import { bytesOf, encode } from "../../src/xenstore/message.ts";
import { Xenstore } from "../../src/xenstore/store.ts";
import { ToolStack } from "../../src/xenstore/tool_stack.ts";
import { XenstoreError } from "../../src/xenstore/xenstore_error.ts";
import { storeWith } from "./guest.ts";

Deno.test("ToolStack reads, writes, lists and removes as domain 0", () => {
  const tools = new ToolStack(new Xenstore());
  tools.write("/a/b", "ü");
  tools.write("/a/c", Uint8Array.of(0, 255));
  tools.mkdir("/a/b");
  assertEquals([tools.readText("/a/b"), [...tools.read("/a/c")], tools.readText("/a/d")], ["ü", [0, 255], undefined]);
  assertEquals([tools.directory("/a"), tools.directory("/a/b"), tools.permissions("/a/b")], [["b", "c"], [], ["n0"]]);
  tools.write("relative", "x");
  assertEquals(tools.readText("/local/domain/0/relative"), "x");
  tools.remove("/a");
  tools.remove("/a");
  assertEquals([tools.exists("/a/b"), tools.exists("/tool/xenstored")], [false, true]);
});

Deno.test("ToolStack refuses what makes no sense with the error's name", () => {
  const tools = new ToolStack(new Xenstore());
  const cases: [call: () => unknown, errnoName: string][] = [
    [() => tools.read("/missing"), "ENOENT"],
    [() => tools.directory("/missing"), "ENOENT"],
    [() => tools.permissions("/missing"), "ENOENT"],
    [() => tools.remove("/missing/below"), "ENOENT"],
    [() => tools.setPermissions("/", ["n7"]), "ENOENT"],
    [() => tools.setPermissions("/", ["7"]), "EINVAL"],
    [() => tools.setPermissions("/", []), "EINVAL"],
    [() => tools.remove("/"), "EINVAL"],
    [() => tools.write("/a b", "x"), "EINVAL"],
    [() => tools.exists("a/"), "EINVAL"],
    [() => tools.watch("/a//b", () => {}), "EINVAL"],
  ];
  for (const [call, errnoName] of cases) assertEquals(assertThrows(call, XenstoreError).errnoName, errnoName);
});

Deno.test("a value that the tool stack has written is a copy", () => {
  const tools = new ToolStack(new Xenstore()), value = Uint8Array.of(1);
  tools.write("/a", value);
  value[0] = 2;
  assertEquals([...tools.read("/a")], [1]);
});

Deno.test("ToolStack.watch() calls back at once and for each change, by a domain or itself, until it is disposed", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  const heard: string[] = [];
  {
    using _watch = tools.watch("/local/domain/1", (path) => heard.push(path));
    assertEquals(heard, ["/local/domain/1"]);
    guest.call("WRITE", "a/b\0x");
    tools.write("/local/domain/1/c", "x");
    tools.write("/elsewhere", "x");
    guest.call("RM", "a\0");
  }
  tools.write("/local/domain/1/c", "y");
  assertEquals(heard.slice(1), ["/local/domain/1/a/b", "/local/domain/1/c", "/local/domain/1/a"]);
});

Deno.test("a callback may change the store, watch, and end its own watch", () => {
  const { tools, guests: [guest] } = storeWith([1]);
  const heard: string[] = [];
  const watch = tools.watch("/local/domain/1/ask", (path) => {
    if (tools.readText(path) !== "question") return;
    tools.write("/local/domain/1/answer", "yes");
    using _other = tools.watch("/other", (path) => heard.push(path));
    watch[Symbol.dispose]();
  });
  guest.call("WATCH", "answer\0t\0");
  guest.takeEvents();
  guest.call("WRITE", "ask\0question");
  assertEquals([guest.takeEvents(), guest.call("READ", "answer\0"), heard], [[["answer", "t"]], "yes", ["/other"]]);
  guest.call("RM", "answer\0");
  guest.call("WRITE", "ask\0question");
  assertEquals(guest.call("READ", "answer\0"), "ENOENT");
});

Deno.test("a callback that ends another watch keeps it from hearing of the same change", () => {
  const { tools } = storeWith([1]), heard: string[] = [], later = new DisposableStack();
  using _first = tools.watch("/a", () => {
    if (tools.exists("/a")) later.dispose();
  });
  later.use(tools.watch("/a", (path) => heard.push(path)));
  assertEquals(heard.splice(0), ["/a"]);
  tools.write("/a", "x");
  assertEquals(heard, []);
});

Deno.test("a domain that was released is not served any more", () => {
  const { store, tools, guests: [guest] } = storeWith([1]);
  store.releaseDomain(1);
  guest.send(encode({ type: MESSAGE.WRITE, reqId: 1, txId: 0 }, bytesOf("/shared\0x")));
  assertEquals([guest.ring.service(), guest.receive(), tools.exists("/local/domain/1")], [false, [], false]);
});

Deno.test("Xenstore refuses domains that cannot be", () => {
  const { store, guests: [guest] } = storeWith([1]);
  for (const domid of [0, -1, 0.5, NaN, 0x7ff0, 1]) assertThrows(() => store.createDomain(domid), RangeError);
  assertThrows(() => store.introduce(guest.connection), RangeError);
  store.releaseDomain(1);
  assertThrows(() => store.introduce(guest.connection), RangeError);
});
