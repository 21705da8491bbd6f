/** Building: what a definition and a tree give, and what is wrong with definitions. */

import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { EINVAL, ENOENT } from "../../src/linux/errno.ts";
import { buildPayload } from "../../src/payload/build.ts";
import { edit, type PayloadDefinition, replace } from "../../src/payload/definition.ts";
import { sha256 } from "../../src/payload/digest.ts";
import { decodePayload, encodePayload, type PayloadFile } from "../../src/payload/format.ts";
import { loadDefinition } from "../../src/payload/load_definition.ts";
import type { Payload, PayloadModule } from "../../src/payload/manifest.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { buildIdOf, SourceTree } from "../../src/payload/source_tree.ts";
import { objectFile } from "./object_builder.ts";
import { Tree } from "./tree.ts";

const BELL = "src/devices/bell.ts";

/** Builds in a tree. */
async function built(tree: Tree, definition: PayloadDefinition, on: PayloadFile[] = []): Promise<Payload> {
  return await buildPayload(definition, tree.definition, { root: tree.root, on });
}

async function moduleOf(tree: Tree, modules: PayloadDefinition["modules"]): Promise<PayloadModule> {
  return (await built(tree, { name: "fix", modules })).modules[0];
}

function named({ functions }: PayloadModule): string[] {
  return functions.map(({ name }) => name);
}

Deno.test("an edit is the tree's module with the change, and names the function that differs", async () => {
  using tree = new Tree();
  const old = await Deno.readTextFile(new URL(BELL, tree.root));
  const payload = await built(tree, { name: "fix", modules: { [BELL]: edit(replace("RINGS)", "RINGS + 1)")) } });
  assertEquals([payload.depends, payload.again], [await buildIdOf(tree.root), true]);
  const [module] = payload.modules;
  assertEquals(module.source, old.replace("RINGS)", "RINGS + 1)"));
  assertEquals([module.replaces, module.handOver], [await sha256(old), "keep"]);
  assertEquals(named(module), ["Bell.ring"]);
  assertEquals((await decodePayload(await encodePayload(payload))).payload, payload);
});

Deno.test("the imports of a copy in the author's folder count from the module that it replaces", async () => {
  using tree = new Tree();
  const old = await Deno.readTextFile(new URL(BELL, tree.root));
  tree.author("copy.ts", old.replace("stop(): void {}", "stop(): void {\n    this.ring();\n  }"));
  const module = await moduleOf(tree, { [BELL]: "./copy.ts" });
  assertStringIncludes(module.source, 'from "../api/twice.ts"');
  assertStringIncludes(module.source, 'from "./rings.ts"');
  assertEquals(named(module), ["Bell.stop"]);
});

Deno.test("imports that count from the author's folder are made the tree's", async () => {
  using tree = new Tree();
  tree.author(
    "bell.ts",
    'import { twice } from "thing/api";\nimport type { Bell as Old } from "../tree/src/devices/bell.ts";\n' +
      "import known from \"elsewhere\";\nexport const late = () => import('../tree/src/devices/rings.ts');\n",
  );
  const { source } = await moduleOf(tree, { [BELL]: "./bell.ts" });
  assertEquals(
    source,
    'import { twice } from "../api/mod.ts";\nimport type { Bell as Old } from "./bell.ts";\n' +
      'import known from "elsewhere";\nexport const late = () => import("./rings.ts");\n',
  );
});

Deno.test("a file that replaces another module is that module, not a helper", async () => {
  using tree = new Tree();
  tree.author("bell.ts", 'import { RINGS } from "./rings.ts";\nexport const all = RINGS;\n');
  tree.author("rings.ts", "export const RINGS = 4;\n");
  const { modules } = await built(tree, {
    name: "fix",
    modules: { [BELL]: "./bell.ts", "src/devices/rings.ts": "./rings.ts" },
  });
  assertEquals(modules.map(({ path }) => path), [BELL, "src/devices/rings.ts"]);
  assertStringIncludes(modules[0].source, '"./rings.ts"');
});

Deno.test("helpers outside src come along as modules of the payload's own", async () => {
  using tree = new Tree();
  tree.author(
    "lib/more.ts",
    'import { twice } from "thing/api";\nimport { one } from "./one.ts";\n' +
      "export const four = (): number => twice(twice(one));\n",
  );
  tree.author("lib/one.ts", "export const one: number = 1;\n");
  tree.author("bell.ts", 'import { four } from "./lib/more.ts";\nexport const all = four();\n');
  const { modules: [bell, helper, ...others] } = await built(tree, { name: "fix", modules: { [BELL]: "./bell.ts" } });
  assertEquals(bell.source, 'import { four } from "../../payloads/fix/1_more.js";\nexport const all = four();\n');
  assertEquals([helper.path, helper.replaces, helper.functions, others.length], [
    "payloads/fix/1_more.js",
    null,
    [],
    0,
  ]);
  assertStringIncludes(helper.source, '"../../src/api/mod.ts"');
  assertStringIncludes(helper.source, "one = 1");
});

Deno.test("hooks are one module with the names that it exports; a payload with hooks says if it may come again", async () => {
  using tree = new Tree();
  tree.author("says.ts", 'export const why: string = "no";\n');
  tree.author(
    "hooks.ts",
    'import { twice } from "thing/api";\nimport { why } from "./says.ts";\n' +
      "export function unload(): void {}\nexport function preApply(): void {\n  if (twice(1) > 1) throw new Error(why);\n}\n",
  );
  const { hooks, again } = await built(tree, { name: "fix", hooks: "./hooks.ts" });
  assertEquals([hooks!.names, again], [["preApply", "unload"], false]);
  assertStringIncludes(hooks!.source, '"../../src/api/mod.ts"');
  assertStringIncludes(hooks!.source, '"no"');
  assertEquals((await built(tree, { name: "fix", hooks: "./hooks.ts", again: true })).again, true);
});

Deno.test("native objects and what the author says are carried as they are", async () => {
  using tree = new Tree();
  const object = new Uint8Array(objectFile({}));
  Deno.writeFileSync(tree.author("loop.o", ""), object);
  const said = { description: "d", author: "a", date: "2026-01-02" };
  const { native, again, ...rest } = await built(tree, { name: "fix", ...said, native: { loop: "./loop.o" } });
  assertEquals([native, again], [[{ name: "loop", bytes: object }], false]);
  assertEquals([rest.description, rest.author, rest.date], [said.description, said.author, said.date]);
});

Deno.test("a new module is added, and has nothing to expect", async () => {
  using tree = new Tree();
  tree.author("new.ts", "export function f() {}\n");
  const module = await moduleOf(tree, { "src/devices/new.ts": "./new.ts" });
  assertEquals([module.replaces, module.functions], [null, []]);
});

Deno.test("a payload on another one edits what that one left, and depends on it", async () => {
  using tree = new Tree();
  const change = (old: string, by: string) => ({ [BELL]: edit(replace(old, by)) });
  const below = await decodePayload(
    await encodePayload(await built(tree, { name: "below", modules: change("RINGS)", "RINGS + 1)") })),
  );
  const above = await built(tree, { name: "above", modules: change("RINGS + 1)", "RINGS + 2)") }, [below]);
  const left = await new SourceTree(tree.root).with(below.payload).read(BELL);
  assertEquals([above.depends, above.modules[0].replaces], [below.buildId, await sha256(left!)]);
  assertEquals(above.modules[0].functions[0].old, below.payload.modules[0].functions[0].new);
  const stray = await decodePayload(await encodePayload(above));
  const error = await assertRejects(() => built(tree, { name: "x", modules: {} }, [stray]), PayloadError);
  assertMatch(error.message, /^above: depends on [0-9a-f]{64}, and under it lies [0-9a-f]{64}$/);
});

Deno.test("a payload on one with helpers edits a module that imports them", async () => {
  using tree = new Tree();
  tree.author("lib/four.ts", "export const four = 4;\n");
  tree.author("bell.ts", 'import { four } from "./lib/four.ts";\nexport const all = four;\n');
  const low = await built(tree, { name: "low", modules: { [BELL]: "./bell.ts" } });
  const below = await decodePayload(await encodePayload(low));
  const { modules } = await built(tree, { name: "top", modules: { [BELL]: edit(replace("= four", "= -four")) } }, [
    below,
  ]);
  assertEquals(modules.map(({ source }) => source), [low.modules[0].source.replace("= four", "= -four")]);
});

const REFUSED: readonly [string, PayloadDefinition, number, RegExp][] = [
  [
    "an edit of text that is not there",
    { name: "x", modules: { [BELL]: edit(replace("zing", "")) } },
    EINVAL,
    /^src\/devices\/bell.ts: edit 1: "zing" stands there 0 times, not once$/,
  ],
  [
    "an edit of text that is there twice",
    { name: "x", modules: { [BELL]: edit(replace("ring", "")) } },
    EINVAL,
    /"ring" stands there 2 times/,
  ],
  ["an edit of nothing", { name: "x", modules: { [BELL]: edit(replace("", "")) } }, EINVAL, /"" stands there 0 times/],
  ["an edit that changes nothing", { name: "x", modules: { [BELL]: edit() } }, EINVAL, /is what is there already$/],
  [
    "an edit of no module",
    { name: "x", modules: { "src/a.ts": edit() } },
    ENOENT,
    /^src\/a.ts: no such module to edit$/,
  ],
  [
    "an edit that is no TypeScript",
    { name: "x", modules: { [BELL]: edit(replace("ring(", "ring((")) } },
    EINVAL,
    /^src\/devices\/bell.ts: .*\(5:/,
  ],
  [
    "an edit that imports nothing",
    { name: "x", modules: { [BELL]: edit(replace("./rings", "./none")) } },
    ENOENT,
    /bell.ts: imports .\/none.ts, which is nowhere$/,
  ],
  ["a file that is missing", { name: "x", modules: { [BELL]: "./none.ts" } }, ENOENT, /none.ts: no such file$/],
  [
    "a path outside src",
    { name: "x", modules: { "deno.json": "./x" } },
    EINVAL,
    /^deno.json: not the path of a module of src$/,
  ],
  [
    "a module that is a number",
    { name: "x", modules: { [BELL]: 3 as unknown as string } },
    EINVAL,
    /neither a file nor an edit$/,
  ],
  [
    "an edit of something else",
    { name: "x", modules: { [BELL]: { replacements: [{}] } as unknown as string } },
    EINVAL,
    /^src\/devices\/bell.ts: neither a file nor an edit$/,
  ],
  [
    "an edit through a module",
    { name: "x", modules: { [`${BELL}/a.ts`]: edit() } },
    ENOENT,
    /a.ts: no such module to edit$/,
  ],
  [
    "a hand-over of no module of its own",
    { name: "x", modules: {}, handOver: { [BELL]: "keep" } },
    EINVAL,
    /^handOver: src\/devices\/bell.ts is none/,
  ],
  ["hooks that are missing", { name: "x", hooks: "./none.ts" }, ENOENT, /none.ts: no such file$/],
  [
    "hooks that export something else",
    { name: "x", hooks: "./stranger.ts" },
    EINVAL,
    /stranger.ts: exports boot, which is no hook: load, /,
  ],
  ["hooks that export nothing", { name: "x", hooks: "./empty.ts" }, EINVAL, /empty.ts: exports no hook: load, /],
  ["hooks that are no TypeScript", { name: "x", hooks: "./broken.ts" }, EINVAL, /broken.ts:2:3: /],
  ["hooks that import nothing", { name: "x", hooks: "./lost.ts" }, ENOENT, /imports .\/none.ts, which is nowhere$/],
  [
    "a native object that is none",
    { name: "x", native: { loop: "./empty.ts" } },
    EINVAL,
    /\/empty.ts: not an ELF file$/,
  ],
  ["a native object that is missing", { name: "x", native: { loop: "./none.o" } }, ENOENT, /none.o: no such file$/],
];

for (const [what, definition, errno, line] of REFUSED) {
  Deno.test(`building refuses ${what}`, async () => {
    using tree = new Tree();
    tree.author("stranger.ts", "export function boot() {}\n");
    tree.author("empty.ts", "const load = 1;\n");
    tree.author("broken.ts", "export function load() {}\n  )\n");
    tree.author("lost.ts", 'import { x } from "./none.ts";\nexport const load = x;\n');
    const error = await assertRejects(() => built(tree, definition), PayloadError);
    assertMatch(error.message, line);
    assertEquals([error.errno, error.message.includes("\n")], [errno, false]);
  });
}

const NO_DEFINITIONS: readonly [string, string | undefined, RegExp][] = [
  ["is missing", undefined, /fix.ts: no such file$/],
  ["has no default export", "export const x = 1;", /fix.ts: its default export is not what definePayload\(\) gives$/],
  ["throws", 'throw new Error("not\\ntoday");', /fix.ts: not$/],
  ["is no TypeScript", "export default {", /fix.ts: /],
  ["has no name", "export default {};", /fix.ts: the payload has no name$/],
  ["says what nobody knows", 'export default { name: "x", patch: 1 };', /fix.ts: patch is nothing that a payload has$/],
  ["says a number for a text", 'export default { name: "x", hooks: 1 };', /fix.ts: hooks is not of type string$/],
];

for (const [what, text, line] of NO_DEFINITIONS) {
  Deno.test(`loadDefinition() refuses a module that ${what}`, async () => {
    using tree = new Tree();
    if (text !== undefined) tree.author("fix.ts", text);
    const error = await assertRejects(() => loadDefinition(tree.definition), PayloadError);
    assertMatch(error.message, line);
    assertEquals(error.message.includes("\n"), false);
  });
}
