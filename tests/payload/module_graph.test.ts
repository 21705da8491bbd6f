/** Which modules are loaded with others. */

import { assertEquals } from "@std/assert";
import { ModuleGraph } from "../../src/payload/module_graph.ts";
import { Tree } from "./tree.ts";

/** Files of the author's. */
const FILES = {
  "fix.ts":
    'import { a } from "./a.ts";\nimport type { T } from "./types.ts";\nimport { type U } from "./types.ts";\n' +
    'import fs from "node:fs";\nexport const later = () => import("./later.ts");\nexport type { V } from "./types.ts";\n',
  "a.ts": 'export * from "./b.ts";\nexport const a = "./none.ts";\nimport "./effect.ts";\n',
  "b.ts": 'import "./fix.ts"; // back again\nexport const b = 1;\n',
  "effect.ts": 'import { type T, value } from "./types_and_more.ts";\n',
  "types_and_more.ts": "export const value = 1;\nexport type T = 1;\n",
  "later.ts": 'import "./missing.ts";\n',
  "types.ts": "export type T = 1;\nexport type U = 1;\nexport type V = 1;\n",
};

const LOADED = ["a.ts", "b.ts", "effect.ts", "fix.ts", "later.ts", "types_and_more.ts"];

function author(): Tree {
  const tree = new Tree();
  for (const [path, text] of Object.entries(FILES)) tree.author(path, text);
  return tree;
}

async function loaded(graph: ModuleGraph, tree: Tree, options = {}): Promise<string[]> {
  const urls = await graph.loadedWith([tree.definition.href], options);
  return [...urls].map((url) => url.split("/").at(-1)!).sort();
}

Deno.test("loadedWith() follows what is there, but for types", async () => {
  using tree = author();
  assertEquals(await loaded(new ModuleGraph(), tree), LOADED);
});

Deno.test("loadedWith() leaves out import() and what it is told to", async () => {
  using tree = author();
  assertEquals(await loaded(new ModuleGraph(), tree, { dynamic: false }), LOADED.filter((name) => name !== "later.ts"));
  const excludes = (url: string) => url.endsWith("/a.ts");
  assertEquals(await loaded(new ModuleGraph(), tree, { excludes }), ["fix.ts", "later.ts"]);
});

Deno.test("loadedWith() sees what changes; a text that is no module imports what it did", async () => {
  using tree = author();
  const graph = new ModuleGraph();
  tree.author("a.ts", "import { (");
  assertEquals(await loaded(graph, tree), ["a.ts", "fix.ts", "later.ts"]);
  tree.author("a.ts", FILES["a.ts"]);
  assertEquals(await loaded(graph, tree), LOADED);
  tree.author("a.ts", "import { (");
  assertEquals(await loaded(graph, tree), LOADED);
  tree.author("a.ts", "export const a = 1;\n");
  assertEquals(await loaded(graph, tree), ["a.ts", "fix.ts", "later.ts"]);
});
