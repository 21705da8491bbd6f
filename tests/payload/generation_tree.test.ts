/** Generations' sources on disk: what is replaced is there, all else as it was, and folders are used again. */

import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { GenerationTrees } from "../../src/payload/generation_tree.ts";
import { PROGRAM_ROOT } from "../../src/payload/source_tree.ts";
import { Tree } from "./tree.ts";

const BELL = "src/devices/bell.ts", RINGS = "src/devices/rings.ts";

const read = (path: string, tree: URL) => Deno.readTextFile(new URL(path, tree));

Deno.test("a tree has what is replaced, and what is added; all else is the program's", async () => {
  using sources = new Tree();
  await using trees = new GenerationTrees(sources.root);
  assertEquals((await trees.of(new Map())).href, sources.root.href);
  const tree = await trees.of(new Map([[BELL, "bell"], ["payloads/fix/hooks.js", "hooks"]]));
  assertEquals([await read(BELL, tree), await read("payloads/fix/hooks.js", tree)], ["bell", "hooks"]);
  for (const path of [RINGS, "src/api/twice.ts"]) assertEquals(await read(path, tree), await read(path, sources.root));
  assertNotEquals(await read(BELL, sources.root), "bell");
});

Deno.test("few folders are there, and the tree that runs keeps its own", async () => {
  using sources = new Tree();
  await using trees = new GenerationTrees(sources.root);
  const of = (text: string) => trees.of(new Map([[text === "3" ? RINGS : BELL, text]]));
  const running = await of("0"), used = new Set<string>([running.href]);
  trees.runs(running);
  for (const text of ["1", "2", "3", "4", "5", "5"]) {
    const tree = await of(text);
    used.add(tree.href);
    assertEquals([await read(text === "3" ? RINGS : BELL, tree), await read(BELL, running)], [text, "0"]);
    if (text !== "3") assertEquals(await read(RINGS, tree), await read(RINGS, sources.root));
  }
  assertEquals(used.size, 3);
  assertEquals((await of("0")).href, running.href);
  await trees[Symbol.asyncDispose]();
  await assertRejects(() => Deno.stat(running), Deno.errors.NotFound);
});

Deno.test("a module of the program's has its place in a tree; any other stays where it is", () => {
  const tree = new URL("file:///generation/"), other = "file:///home/me/device.ts";
  const place = (url: string) => GenerationTrees.place(tree, url);
  assertEquals(place(new URL("src/devices/uart.ts", PROGRAM_ROOT).href), "file:///generation/src/devices/uart.ts");
  assertEquals([place(other), place("xenolith:platform")], [other, "xenolith:platform"]);
  assertEquals(place(new URL("guests/x.ts", PROGRAM_ROOT).href), new URL("guests/x.ts", PROGRAM_ROOT).href);
});
