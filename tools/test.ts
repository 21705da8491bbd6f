/**
 * `deno task test [FILES...]`: runs the tests, and closes with those that failed or did not run, and one line that counts
 * them. All of them are run by several processes, each of which says what it has to say when it is done.
 */

import { closingLine, completeReport, countTests, mergeReports } from "./junit.ts";
import { batchesOf, inTurns, testFiles } from "./test_files.ts";

/** Tests that start virtual machines for minutes; `deno task test:lane` runs them, and so does naming one. */
const LANE_TESTS = "tests/lane/machine";

/** Most tests wait half of their time, for a process or a Worker that loads its code. */
const MOST_PROCESSES = 4, FILES_EACH = 8;

const chosen = Deno.args;
const jobs = chosen.length > 0
  ? [() => run(chosen, "inherit")]
  : batchesOf(testFiles("tests", LANE_TESTS), FILES_EACH).map((files) => () => run(files, "piped"));
const results = await inTurns(jobs, Math.min(MOST_PROCESSES, navigator.hardwareConcurrency));

const counts = countTests(mergeReports(results.map(({ report }) => report)));
for (const name of counts.skippedNames) console.log(`skipped: ${name}`);
for (const name of counts.failedNames) console.log(`failed: ${name}`);
console.log(closingLine(counts));
Deno.exit(results.find(({ code }) => code !== 0)?.code ?? 0);

async function run(words: readonly string[], output: "inherit" | "piped"): Promise<{ report: string; code: number }> {
  const junit = await Deno.makeTempFile({ prefix: "xenolith-tests-", suffix: ".xml" });
  // Types are checked by `deno check`; checking them again for each Worker would take longer than the tests.
  const args = ["test", "--no-prompt", "--allow-all", "--no-check", `--junit-path=${junit}`, ...words];
  const command = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: output, stderr: output });
  const child = command.spawn();
  if (output === "piped") {
    const { stdout, stderr } = await child.output();
    await Promise.all([write(Deno.stdout, stdout), write(Deno.stderr, stderr)]);
  }
  const { code } = await child.status;
  const report = await Deno.readTextFile(junit);
  await Deno.remove(junit);
  return { code, report: completeReport(report, words, code) };
}

async function write(stream: typeof Deno.stdout | typeof Deno.stderr, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await stream.write(bytes.subarray(at));
}
