/**
 * `deno task test [FILES...]`: runs the tests, two processes at a time, each with some of the files, and closes with the
 * tests that did not run and one line that counts. What a process prints appears when it has ended; that of named files
 * as it comes.
 */

import { batchesOf, inTurns, testFiles } from "./batches.ts";
import { closingLine, countTests, failureReport, mergeReports } from "./junit.ts";

/** Tests that start virtual machines for minutes; `deno task test:lane` runs them, and so does naming one. */
const LANE_TESTS = "tests/lane/machine";

/** Most of the time one waits for a guest; with more than two some tests would have no processor for too long. */
const PROCESSES = 2;

/** Files to a process: fewer, and more time goes into starting; more, and one process is done long before the other. */
const BATCH = 12;

let failed = false;
const named = Deno.args.length > 0;
const batches = named ? [Deno.args] : batchesOf(testFiles("tests", LANE_TESTS), BATCH);
const report = mergeReports(await inTurns(batches.map((batch) => () => run(batch)), PROCESSES));
const counts = countTests(report);
for (const name of counts.skippedNames) console.log(`skipped: ${name}`);
console.log(closingLine(counts));
Deno.exit(failed || counts.passed + counts.skipped === 0 ? 1 : 0);

/** @returns the report of one process */
async function run(batch: readonly string[]): Promise<string> {
  const path = await Deno.makeTempFile({ prefix: "xenolith-tests-", suffix: ".xml" });
  const command = new Deno.Command(Deno.execPath(), {
    // Types are checked by `deno check`; checking them again for each Worker would take longer than the tests.
    args: ["test", "--no-prompt", "--allow-all", "--no-check", `--junit-path=${path}`, ...batch],
    stdin: "null",
    stdout: named ? "inherit" : "piped",
    stderr: named ? "inherit" : "piped",
  });
  let code: number;
  if (named) {
    ({ code } = await command.spawn().status);
  } else {
    const output = await command.output();
    writeAll(Deno.stdout, output.stdout);
    writeAll(Deno.stderr, output.stderr);
    code = output.code;
  }
  const text = await Deno.readTextFile(path);
  await Deno.remove(path);
  failed ||= code !== 0;
  return text === "" ? failureReport(batch, `deno test wrote no report: status ${code}`) : text;
}

function writeAll(file: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}
