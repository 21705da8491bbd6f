/** Ports of virtio consoles, as the command line has them, and what becomes of them. */

import { assertEquals, assertThrows } from "@std/assert";
import type { VirtioPlace } from "../../src/devices/virtio_place.ts";
import { parseConsole } from "../../src/machine/consoles.ts";
import { UsageError } from "../../src/machine/options.ts";
import { hasVirtioStdio, virtioModels } from "../../src/machine/virtio.ts";

Deno.test("parseConsole() takes stdio and named sockets, in their order", () => {
  assertEquals(parseConsole("stdio"), ["stdio"]);
  assertEquals(parseConsole("a=/x,stdio,b=y=z"), [{ name: "a", socket: "/x" }, "stdio", { name: "b", socket: "y=z" }]);
  for (const text of ["", "stdin", "stdio,", "a"]) {
    assertThrows(() => parseConsole(text), UsageError, "is not stdio or NAME=SOCKETPATH");
  }
});

Deno.test("a console with stdio has the program's descriptors, and its model has to be in this process", () => {
  const port = { name: "a", socket: "/x" }, descriptors = { input: 0, output: 1, escape: 0x1d };
  const options = { disks: ["d"], consoles: [[port], ["stdio", port]] as const };
  const models = virtioModels(options, descriptors);
  assertEquals(models.map(({ name, isHere }) => [name, isHere]), [
    ["disk d", false],
    ["virtio-console a", false],
    ["virtio-console stdio,a", true],
  ]);
  const place: VirtioPlace = { address: 0xd000_2000, gsi: 7, isRestricted: false };
  assertEquals({ ...models[2].configuration }, { ...place, ports: [{ console: descriptors }, port] } as VirtioPlace);
  assertEquals([hasVirtioStdio(options), hasVirtioStdio({ consoles: [[port]] }), hasVirtioStdio({})], [
    true,
    false,
    false,
  ]);
});
