/** However a guest ends, nothing of it is left: no descriptor, no thread, no mapping. */

import { assert, assertEquals } from "@std/assert";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { ROOT } from "../support/command.ts";

testWith(
  [ANY_KVM],
  "a process that boots and ends guests in every way holds afterwards what it held before",
  async (test) => {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-all", "--no-check", "--v8-flags=--expose-gc", "tests/support/leaks.ts"],
      cwd: ROOT,
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const { rounds, ownMappings, results } = JSON.parse(new TextDecoder().decode(stdout));
    for (const [kind, { before, after }] of Object.entries<Record<string, Record<string, number>>>(results)) {
      await test.step(kind, () => {
        const said = JSON.stringify({ rounds, before, after });
        assert(after.descriptors <= before.descriptors, `descriptors: ${said}`);
        assert(after.threads <= before.threads, `threads: ${said}`);
        assert(after.mappings - before.mappings <= ownMappings, `mappings: ${said}`);
      });
    }
  },
);
