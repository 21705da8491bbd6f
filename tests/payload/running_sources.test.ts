/** RunningSources: what was there at the start counts, and nothing else is taken for it. */

import { assertEquals, assertRejects } from "@std/assert";
import { EINVAL, EOPNOTSUPP } from "../../src/linux/errno.ts";
import { LivePatching } from "../../src/payload/live_patching.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { RunningSources } from "../../src/payload/running_sources.ts";
import { buildIdOf } from "../../src/payload/source_tree.ts";
import { Tree } from "./tree.ts";

/** What somebody does to the sources, and what puts them back. */
const EDITS: readonly [
  string,
  edit: (url: (path: string) => URL) => void,
  back: (url: (path: string) => URL) => void,
][] = [
  [
    "a module is edited",
    (url) => Deno.writeTextFileSync(url("src/devices/rings.ts"), "export const RINGS = 4;\n"),
    (url) => Deno.writeTextFileSync(url("src/devices/rings.ts"), "export const RINGS = 3;\n"),
  ],
  [
    "a module is added",
    (url) => Deno.writeTextFileSync(url("src/new.ts"), ""),
    (url) => Deno.removeSync(url("src/new.ts")),
  ],
  [
    "the sources are away",
    (url) => Deno.renameSync(url("src"), url("gone")),
    (url) => Deno.renameSync(url("gone"), url("src")),
  ],
];

for (const [what, edit, back] of EDITS) {
  Deno.test(`no operation begins once ${what}, until all is as it was`, async () => {
    using tree = new Tree();
    const url = (path: string) => new URL(path, tree.root), before = await buildIdOf(tree.root);
    const unused = () => Promise.reject(new Error("taken"));
    await using patching = new LivePatching({ prepare: unused, take: unused }, { root: tree.root });
    assertEquals(await patching.buildId, before);
    edit(url);
    for (let tries = 0; tries < 2; tries++) {
      const error = await assertRejects(() => patching.upload(new Uint8Array()), PayloadError);
      assertEquals([error.errno, error.message.endsWith(": it has been edited since")], [EINVAL, true], error.message);
    }
    assertEquals(await patching.buildId, before);
    back(url);
    await assertRejects(() => patching.upload(new Uint8Array()), PayloadError, "truncated");
  });
}

Deno.test("a bundle has no sources", async () => {
  const sources = new RunningSources(new URL("file:///nonexistent/"));
  const error = await assertRejects(() => sources.requireUnchanged(), PayloadError, "runs from a bundle");
  assertEquals(error.errno, EOPNOTSUPP);
});
