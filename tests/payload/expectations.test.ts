/** Expectations: what a payload is put over must be what it was built for. */

import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { EEXIST, EINVAL, ENOENT } from "../../src/linux/errno.ts";
import { buildPayload } from "../../src/payload/build.ts";
import { edit, replace } from "../../src/payload/definition.ts";
import { checkExpectations } from "../../src/payload/expectations.ts";
import type { Payload } from "../../src/payload/manifest.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { buildIdOf, PROGRAM_ROOT, SourceTree } from "../../src/payload/source_tree.ts";
import { Tree } from "./tree.ts";

const BELL = "src/devices/bell.ts";

/** Changes Bell.ring. */
async function built(tree: Tree): Promise<Payload> {
  const modules = {
    [BELL]: edit(replace("RINGS)", "RINGS + 1)"), replace("stop(): void {}\n", "stop(): void {}\n\n  go() {}\n")),
  };
  return await buildPayload({ name: "fix", modules }, tree.definition, { root: tree.root });
}

const CASES: readonly [string, string, string, number | undefined, RegExp?][] = [
  ["the module that it replaces", "", "", undefined],
  ["one that has other comments", "export class", "// A bell.\nexport class", undefined],
  [
    "one whose function is another",
    "RINGS)",
    "RINGS + 5)",
    EINVAL,
    /^fix: src\/devices\/bell.ts: Bell.ring is not as expected: SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}$/,
  ],
  ["one without its function", "ring()", "sing()", ENOENT, /^fix: src\/devices\/bell.ts: has no Bell.ring$/],
  [
    "one that has its new function",
    "stop",
    "go",
    EEXIST,
    /^fix: src\/devices\/bell.ts: adds Bell.go, which is there already$/,
  ],
  [
    "one with a change that it would undo",
    "void {}",
    "void { f(); }",
    EINVAL,
    /would undo a change of Bell.stop, which it does not name$/,
  ],
  [
    "one with a constant that it would undo",
    "export",
    "const x = 1;\nexport",
    EINVAL,
    /would undo a change of \(module\)/,
  ],
];

for (const [what, old, by, errno, line] of CASES) {
  Deno.test(`checkExpectations() ${errno === undefined ? "takes" : "refuses"} ${what}`, async () => {
    using tree = new Tree();
    const payload = await built(tree);
    const url = new URL(BELL, tree.root);
    tree.write(url, (await Deno.readTextFile(url)).replace(old, by));
    const check = () => checkExpectations(payload, new SourceTree(tree.root));
    if (errno === undefined) return await check();
    const error = await assertRejects(check, PayloadError);
    assertEquals(error.errno, errno);
    assertMatch(error.message, line!);
  });
}

Deno.test("checkExpectations() refuses a module that is gone, and one to be added that is there", async () => {
  using tree = new Tree();
  const payload = await built(tree);
  tree.author("new.ts", "export {};\n");
  const modules = { "src/devices/new.ts": "./new.ts" };
  const adds = await buildPayload({ name: "adds", modules }, tree.definition, { root: tree.root });
  const sources = new SourceTree(tree.root);
  await checkExpectations(adds, sources);
  const twice = await assertRejects(() => checkExpectations(adds, sources.with(adds)), PayloadError);
  assertEquals([twice.errno, twice.message], [EEXIST, "adds: adds src/devices/new.ts, which is there already"]);
  await Deno.remove(new URL(BELL, tree.root));
  const gone = await assertRejects(() => checkExpectations(payload, sources), PayloadError);
  assertEquals([gone.errno, gone.message], [ENOENT, `fix: replaces ${BELL}, which is not there`]);
});

Deno.test("buildIdOf() is what sha256sum gives of what sha256sum gives, and changes with any source", async () => {
  const listed = "find src -name '*.ts' | LC_ALL=C sort | xargs sha256sum | sha256sum";
  const { stdout } = await new Deno.Command("sh", { args: ["-c", listed], cwd: PROGRAM_ROOT }).output();
  assertEquals(await buildIdOf(PROGRAM_ROOT), new TextDecoder().decode(stdout).slice(0, 64));
  using tree = new Tree();
  const before = await buildIdOf(tree.root);
  tree.write(new URL("src/devices/more.ts", tree.root), "");
  assertNotEquals(await buildIdOf(tree.root), before);
});

Deno.test("buildIdOf() of a bundle, which has no sources, is refused", async () => {
  const error = await assertRejects(() => buildIdOf(new URL("file:///nonexistent/")), PayloadError);
  assertEquals(error.message, "the program runs from a bundle, which has no modules to replace");
});
