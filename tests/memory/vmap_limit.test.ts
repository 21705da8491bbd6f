import { assert, assertEquals } from "@std/assert";
import { type Capability, testWith } from "../support/capabilities.ts";
import type { Report } from "./vmap_limit.ts";

const PROGRAM = new URL("./vmap_limit.ts", import.meta.url).pathname;

const limit = Number(Deno.readTextFileSync("/proc/sys/vm/max_map_count"));

/** Linux's own limit, or not much more: with a million mappings this would take minutes. */
const USUAL_LIMIT: Capability = { present: limit < 200_000, reason: `the host allows ${limit} mappings` };

testWith(
  [USUAL_LIMIT],
  "at the limit of mappings vmap says so, the process lives, and what is unmapped is free again",
  async () => {
    const args = ["run", "--no-prompt", "--no-check", "--allow-all", PROGRAM];
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const { reports, descriptors } = JSON.parse(new TextDecoder().decode(stdout));
    for (const [kind, { areas, mappings, problems }] of Object.entries<Report>(reports)) {
      assertEquals(problems, [], kind);
      const left = limit - mappings; // vmap leaves a 32nd, but the rest of the process has its ups and downs
      assert(left > limit / 64 && left < limit / 25, `${mappings} of ${limit} mappings`);
      assert(areas > (kind === "scattered" ? limit / 10 : limit / 2.3), `${areas} areas`);
    }
    assertEquals(descriptors, []);
  },
);
