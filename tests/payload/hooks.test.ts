/** Hooks of payloads on a running guest: those that have a say, and those that have none. */

import { assertEquals, assertMatch } from "@std/assert";
import { EINVAL, ETIME } from "../../src/linux/errno.ts";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { buildExample } from "./build_example.ts";
import { built, patched, scratch, SLOW } from "./patching.ts";
import { refused } from "./refused.ts";

/** A payload with hooks that do what its name says. */
function hooked(name: string): Promise<Uint8Array<ArrayBuffer>> {
  return built({ ...scratch(name, "0x44"), hooks: "./test_hooks.ts", again: true });
}

testWith(
  [ANY_KVM],
  "a hook vetoes, fails, or takes too long: nothing has changed, and the reason is said",
  async () => {
    await using run = await patched();
    const { guest, patching } = run;
    await patching.upload(await buildExample("veto"));
    await refused(patching.apply("veto", SLOW), EINVAL, "veto: hook preApply: Error: veto never wants to be applied");
    assertEquals([patching.get("veto").state, patching.get("veto").rc], ["CHECKED", -EINVAL]);
    for (
      const [name, operation, errno, message] of [
        ["fails-preApply", "apply", EINVAL, "fails-preApply: hook preApply: RangeError: preApply of fails-preApply"],
        ["fails-apply", "apply", EINVAL, "fails-apply: hook apply: RangeError: apply of fails-apply"],
        ["slow-preApply", "apply", ETIME, "slow-preApply: hook preApply takes more than 1000 ms"],
        ["slow-apply", "apply", ETIME, /^slow-apply: hook apply takes more than \d{1,3} ms$/],
        ["fails-preRevert", "revert", EINVAL, "fails-preRevert: hook preRevert: RangeError"],
        ["fails-revert", "revert", EINVAL, "fails-revert: hook revert: RangeError"],
        ["fails-preRevert", "replace", EINVAL, "fails-preRevert: hook preRevert: RangeError"],
      ] as const
    ) {
      await using run = await patched();
      const { guest, patching } = run;
      await patching.upload(await hooked(name));
      await patching.upload(await built(scratch("other", "0x33")));
      if (operation !== "apply") await patching.apply(name, SLOW);
      const before = patching.get(name).state, asked = operation === "replace" ? "other" : name;
      await refused(patching[operation](asked, name === "slow-apply" ? { limitMs: 500 } : SLOW), errno, message);
      assertEquals([patching.get(name).state, patching.get("other").state], [before, "CHECKED"]);
      await guest.until(before === "APPLIED" ? 0x44 : 0);
      await guest.end();
    }
    await refused(patching.upload(await hooked("fails-load")), EINVAL, "fails-load: hook load: RangeError");
    await guest.end();
  },
);

testWith([ANY_KVM], "hooks that come afterwards have no say, and what they throw is said", async () => {
  await using run = await patched();
  const { guest, patching } = run;
  for (const name of ["fails-postApply", "fails-postRevert", "fails-unload"]) {
    await patching.upload(await hooked(name));
    const applied = await patching.apply(name, SLOW), { state, rc } = patching.get(name);
    assertEquals([state, rc], ["APPLIED", 0]);
    await guest.until(0x44);
    const reverted = await patching.revert(name, SLOW);
    assertEquals([patching.get(name).state, patching.get(name).rc], ["CHECKED", 0]);
    await guest.until(0);
    const unloaded = await patching.unload(name);
    const failed = [applied, reverted, unloaded].map(({ failed }) => failed), which = name.slice("fails-".length);
    const at = ["postApply", "postRevert", "unload"].indexOf(which);
    assertEquals(failed.map(({ length }) => length), [0, 1, 2].map((index) => index === at ? 1 : 0));
    assertMatch(failed[at][0], RegExp(`^${name}: hook ${which}: RangeError: ${which} of ${name}`));
  }
  await guest.end();
});

testWith([ANY_KVM], "whoever is replaced is asked, reverted, and told", async () => {
  const file = await Deno.makeTempFile({ dir: "/tmp", prefix: "xenolith-hooks-" });
  await using _ = { [Symbol.asyncDispose]: () => Deno.remove(file) };
  await using run = await patched();
  const { guest, patching } = run, name = file.slice("/tmp/".length);
  await patching.upload(await hooked(name));
  await patching.upload(await built(scratch("other", "0x33")));
  await patching.apply(name, SLOW);
  await patching.replace("other", SLOW);
  await patching.unload(name);
  const told = (await Deno.readTextFile(file)).split("\n").slice(0, -1);
  assertEquals(told, ["load", "preApply", "apply", "postApply", "preRevert", "revert", "postRevert", "unload"]);
  await guest.end();
});
