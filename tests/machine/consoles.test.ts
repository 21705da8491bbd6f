/** Ports of virtio consoles, as the command line has them, and what becomes of them. */

import { assertEquals, assertThrows } from "@std/assert";
import type { VirtioPlace } from "../../src/devices/virtio_place.ts";
import { parseConsole, type VirtioConsoleOptions } from "../../src/machine/consoles.ts";
import { UsageError } from "../../src/machine/options.ts";
import { hasVirtioStdio, virtioModels } from "../../src/machine/virtio.ts";

Deno.test("parseConsole() takes stdio and named sockets, in their order, and what all devices take", () => {
  const a = { name: "a", socket: "/x" };
  const table: [text: string, console: VirtioConsoleOptions][] = [
    ["stdio", { ports: ["stdio"] }],
    ["a=/x,stdio,b=y=z", { ports: [a, "stdio", { name: "b", socket: "y=z" }] }],
    ["stdio,memory=none", { ports: ["stdio"], memory: "none" }],
    ["legacy,irq=level,a=/x", { ports: [a], legacy: true, trigger: "level" }],
  ];
  for (const [text, console] of table) assertEquals(parseConsole(text), console, text);
});

Deno.test("parseConsole() refuses everything else in one line", () => {
  const table: [text: string, why: string][] = [
    ...["", "stdin", "stdio,", "a"].map((text): [string, string] => [text, "is not stdio or NAME=SOCKETPATH"]),
    ["a=", "a= needs a value"],
    ["stdio,memory=some", "memory=some: not all, none, or ranges"],
    ["stdio,irq=edge,irq=level", "virtio-console: irq given twice"],
  ];
  for (const [text, why] of table) assertThrows(() => parseConsole(text), UsageError, why, text);
});

Deno.test("a console with stdio has the program's descriptors, and its model has to be in this process", () => {
  const port = { name: "a", socket: "/x" }, descriptors = { input: 0, output: 1, escape: 0x1d };
  const consoles = [[port], { ports: ["stdio", port], trigger: "level" }] as const;
  const options = { disks: ["d"], consoles };
  const models = virtioModels(options, descriptors);
  assertEquals(models.map(({ name, isHere }) => [name, isHere]), [
    ["disk d", false],
    ["virtio-console a", false],
    ["virtio-console stdio,a", true],
  ]);
  const place: VirtioPlace = { address: 0xd000_2000, gsi: 7, isRestricted: false, trigger: "level" };
  assertEquals({ ...models[2].configuration }, { ...place, ports: [{ console: descriptors }, port] } as VirtioPlace);
  assertEquals([hasVirtioStdio(options), hasVirtioStdio({ consoles: [[port]] }), hasVirtioStdio({})], [
    true,
    false,
    false,
  ]);
});
