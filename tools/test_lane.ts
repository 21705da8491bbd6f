/**
 * `deno task test:lane [--kernel VERSION] [--all] [FILES...]`: the tests that another KVM may answer differently, or all
 * that need KVM, on the lane's kvm_amd; several files to a machine, two machines at a time. Closes with the tests that did
 * not run, with the reason, and one line that counts. The tests of the lane itself run on this host.
 */

import { parseArgs } from "@std/cli";
import { addTree, denoPackages, emittedCode } from "../src/lane/deno_cache.ts";
import { LaneError } from "../src/lane/errors.ts";
import { KERNELS, type KernelVersion } from "../src/lane/kernel.ts";
import { type LaneOptions, prepareLane, startLane } from "../src/lane/lane.ts";
import { closingLine, completeReport, type Counts, countTests, failureReport, mergeReports } from "./junit.ts";
import { batchesOf, inTurns, testFiles } from "./test_files.ts";

const ROOT = new URL("../", import.meta.url).pathname.replace(/\/$/, "");
const OWN_TESTS = "tests/lane/machine", REPORT = `${ROOT}/dist/test-lane.xml`;

/** What each machine prints, as it comes. */
const OUTPUT = `${ROOT}/dist/test-lane`;

/** As many as the machines that this is meant for have processors: each of ours keeps one busy. */
const MACHINES = 2;

/** Files to a machine: one boots for 5 s, and a dead one takes its other files with it. */
const BATCH = 4;

/** Tests that use /dev/kvm say so by one of two capabilities (tests/support/capabilities.ts). */
const USES_KVM = /import \{[^}]*\bKVM\b[^}]*\} from "[./]+support\/capabilities\.ts"/;
const USES_ANY_KVM = /import \{[^}]*\b(ANY_)?KVM\b[^}]*\} from "[./]+support\/capabilities\.ts"/;

/** A machine that says nothing for so long has died: no test takes half of it. */
const SILENCE_MS = 4 * 60_000;

const MEMORY_MIB = 2048, PROPERTY_RUNS = "30";

/** What of the repository stays behind. */
const LEFT_OUT = [".git", "node_modules", "dist", ".cache"].map((name) => `${ROOT}/${name}`);

const { kernel, all, _: chosen } = parseArgs(Deno.args, { string: ["kernel", "_"], boolean: ["all"] });
if (typeof kernel === "string" && !(kernel in KERNELS)) {
  console.error(`kernel ${kernel}: not one of ${Object.keys(KERNELS).join(", ")}`);
  Deno.exit(64);
}

const options: LaneOptions = {
  memoryMiB: MEMORY_MIB,
  ...(kernel !== undefined && { kernel: kernel as KernelVersion }),
};
try {
  await prepareLane(options);
} catch (error) {
  if (!(error instanceof LaneError)) throw error;
  console.error(error.message);
  Deno.exit(error.status);
}

const startMs = performance.now();
Deno.mkdirSync(OUTPUT, { recursive: true });
const paths = chosen.length > 0 ? chosen.map(String) : ["tests"];
const wanted = paths.flatMap((path) => Deno.statSync(path).isDirectory ? testFiles(path) : path);
const own = wanted.filter((file) => file.includes(OWN_TESTS)), files = wanted.filter((file) => !own.includes(file));
const selected = all ? USES_ANY_KVM : USES_KVM;
const batches = batchesOf(files.filter((file) => selected.test(Deno.readTextFileSync(file))), BATCH);
console.log(`lane: ${batches.flat().length} of ${files.length} test files; ${batches.length} machines`);
const machines = batches.map((batch, index) => () => runBatch(index, batch));
// The lane's own tests have a machine of their own at any time, so they are one of the two.
const reports = await inTurns(own.length > 0 ? [() => nativeTests(own), ...machines] : machines, MACHINES);

const report = mergeReports(reports), counts = countTests(report);
Deno.writeTextFileSync(REPORT, report);
for (const name of counts.skippedNames) console.log(`skipped in the lane: ${name}`);
console.log(`lane: ${((performance.now() - startMs) / 1000).toFixed(0)} s; report in ${REPORT.slice(ROOT.length + 1)}`);
console.log(closingLine(counts));
Deno.exit(counts.failed > 0 || counts.passed === 0 ? 1 : 0);

/** @returns the batch's report */
async function runBatch(index: number, batch: string[]): Promise<string> {
  const machineMs = performance.now();
  const path = `${OUTPUT}/${index + 1}.txt`;
  const say = (counts: Counts, more = "") => {
    const seconds = ((performance.now() - machineMs) / 1000).toFixed(0);
    if (counts.failed > 0) console.log(Deno.readTextFileSync(path));
    console.log(`lane: machine ${index + 1} of ${batches.length}, ${seconds} s: ${closingLine(counts)}${more}`);
  };
  using output = Deno.openSync(path, { create: true, write: true, truncate: true });
  let silence: ReturnType<typeof setTimeout> | undefined, silent: string | undefined;
  try {
    await using run = await startLane({
      command: ["deno", ...testArguments(`/out/report.xml`), "--cached-only", ...batch],
      directory: ROOT,
      environment: {
        NO_COLOR: "1",
        XENOLITH_PROPERTY_RUNS: PROPERTY_RUNS,
        ...(all ? { XENOLITH_LANE: "all" } : {}),
      },
      async files(archive) {
        addTree(archive, ROOT, ROOT, (path) => LEFT_OUT.includes(path));
        await denoPackages(archive);
        await emittedCode(archive, ROOT);
      },
    }, options);
    await run.machine.endInput();
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        silent = `it said nothing for ${SILENCE_MS / 60_000} min`;
        run.machine.kill();
      }, SILENCE_MS);
    };
    heard();
    const printed = [run.machine.stdout, run.machine.stderr].map(async (stream) => {
      for await (const bytes of stream) {
        heard();
        output.writeSync(bytes);
      }
    });
    try {
      const { status, files } = await run.ended;
      await Promise.all(printed);
      const report = completeReport(new TextDecoder().decode(files.get("report.xml")), batch, status);
      say(countTests(report));
      return report;
    } finally {
      await Promise.allSettled(printed);
    }
  } catch (error) {
    const reason = silent ?? (error instanceof LaneError ? error.message : String(error));
    const report = failureReport(batch, reason);
    say(countTests(report), `: ${reason}: ${batch.join(" ")}`);
    return report;
  } finally {
    clearTimeout(silence);
  }
}

async function nativeTests(files: readonly string[]): Promise<string> {
  const path = Deno.makeTempFileSync({ prefix: "xenolith-lane-", suffix: ".xml" });
  const args = [...testArguments(path), ...files];
  const { code } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, stdin: "null" }).spawn().status;
  const report = Deno.readTextFileSync(path);
  Deno.removeSync(path);
  return completeReport(report, files, code);
}

function testArguments(report: string): string[] {
  return ["test", "--no-prompt", "--allow-all", "--no-check", `--junit-path=${report}`];
}
