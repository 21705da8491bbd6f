/** LivePatching.attach(): one domain after another, as resets of a guest make them. */

import { assertEquals } from "@std/assert";
import { EBUSY, EIO } from "../../src/linux/errno.ts";
import { type Generation, type Succession, SuccessionError } from "../../src/domain/succession.ts";
import { buildPayload } from "../../src/payload/build.ts";
import { edit, replace } from "../../src/payload/definition.ts";
import { encodePayload } from "../../src/payload/format.ts";
import { LivePatching } from "../../src/payload/live_patching.ts";
import { refused } from "./refused.ts";
import { Tree } from "./tree.ts";

/** A domain's, which remembers what it is to run. */
class Fake implements Pick<Succession, "prepare" | "take"> {
  readonly taken: string[] = [];

  constructor(private readonly fails = false) {}

  prepare(urls: Generation["urls"]): Promise<Generation> {
    this.taken.push(urls.model);
    return Promise.resolve({} as Generation);
  }

  take(): Promise<number> {
    return this.fails ? Promise.reject(new SuccessionError(EIO, "it does not serve")) : Promise.resolve(1);
  }
}

Deno.test("the next domain runs what is applied, and between two of them nothing is changed", async () => {
  using tree = new Tree();
  await using patching = new LivePatching(undefined, { root: tree.root });
  const definition = { name: "fix", modules: { "src/devices/bell.ts": edit(replace("RINGS)", "RINGS + 1)")) } };
  await patching.upload(await encodePayload(await buildPayload(definition, tree.definition, { root: tree.root })));
  await refused(patching.apply("fix"), EBUSY, "the run is over");
  const [first, second, third] = [new Fake(), new Fake(), new Fake()];
  {
    await using _ = await patching.attach(first);
    assertEquals([first.taken, patching.isChanged], [[], false]);
    await patching.apply("fix");
  }
  await refused(patching.revert("fix"), EBUSY, "the run is over");
  await refused(patching.attach(new Fake(true)), EIO, "it does not serve");
  await refused(patching.revert("fix"), EBUSY, "the run is over");
  {
    await using _ = await patching.attach(second);
    assertEquals([second.taken, patching.isChanged], [first.taken, true]);
    await patching.revert("fix");
  }
  await using _ = await patching.attach(third);
  assertEquals(third.taken, []);
});
