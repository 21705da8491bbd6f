/** `deno task test [FILES...]`: runs the tests and closes with one line that counts them. */

import { closingLine, countTests } from "./junit.ts";

/** Tests that start virtual machines for minutes; `deno task test:lane` runs them, and so does naming one. */
const LANE_TESTS = "tests/lane/machine";

const JUNIT = await Deno.makeTempFile({ prefix: "xenolith-tests-", suffix: ".xml" });
// Without a directory `deno test` would take this very file, whose name is test.ts, for a test.
const selection = Deno.args.length > 0 ? Deno.args : ["tests", `--ignore=${LANE_TESTS}`];

const child = new Deno.Command(Deno.execPath(), {
  // Types are checked by `deno check`; checking them again for each Worker would take longer than the tests.
  args: ["test", "--no-prompt", "--allow-all", "--no-check", `--junit-path=${JUNIT}`, ...selection],
}).spawn();
const { code } = await child.status;
const counts = countTests(await Deno.readTextFile(JUNIT).catch(() => ""));
await Deno.remove(JUNIT).catch(() => {});

for (const name of counts.skippedNames) console.log(`skipped: ${name}`);
console.log(closingLine(counts));
Deno.exit(code);
