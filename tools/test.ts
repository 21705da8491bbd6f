/** `deno task test [FILES...]`: runs the tests and closes with one line that counts them. */

const JUNIT = await Deno.makeTempFile({ prefix: "xenolith-tests-", suffix: ".xml" });

const child = new Deno.Command(Deno.execPath(), {
  // Types are checked by `deno check`; checking them again for each Worker would take longer than the tests.
  args: ["test", "--no-prompt", "--allow-all", "--no-check", `--junit-path=${JUNIT}`, ...Deno.args],
}).spawn();
const { code } = await child.status;
const report = await Deno.readTextFile(JUNIT).catch(() => "");
await Deno.remove(JUNIT).catch(() => {});

const tests = count(/<testcase\b/g), failed = count(/<failure\b/g), skipped = count(/<skipped\b/g);
for (const [, name] of report.matchAll(/<testcase name="([^"]*)"[^>]*>\s*<skipped/g)) console.log(`skipped: ${name}`);
console.log(`Tests: ${tests - failed - skipped} passed, ${failed} failed, ${skipped} skipped`);
Deno.exit(code);

function count(pattern: RegExp): number {
  return report.match(pattern)?.length ?? 0;
}
