import { assertEquals } from "@std/assert";
import { closingLine, completeReport, countTests, failureReport, mergeReports } from "../../tools/junit.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="3" failures="1" errors="0" time="1">
    <testsuite name="a.test.ts" tests="3" disabled="1" errors="0" failures="1">
        <testcase name="passes" classname="a.test.ts" time="0.1" line="1" col="6">
        </testcase>
        <testcase name="fails" classname="a.test.ts" time="0.1" line="2" col="6">
            <failure message="Uncaught Error">Error</failure>
        </testcase>
        <testcase name="needs &lt;more&gt; (skipped: it isn&apos;t here)" classname="a.test.ts" time="0" line="3" col="6">
            <skipped/>
        </testcase>
    </testsuite>
</testsuites>
`;

Deno.test("countTests() counts, and names what failed or was skipped", () => {
  const skippedNames = ["needs <more> (skipped: it isn't here)"];
  assertEquals(countTests(REPORT), { passed: 1, failed: 1, skipped: 1, failedNames: ["fails"], skippedNames });
  assertEquals(closingLine(countTests("")), "Tests: 0 passed, 0 failed, 0 skipped");
});

Deno.test("mergeReports() adds up", () => {
  const merged = mergeReports([REPORT, failureReport(["b.test.ts", "c & d.test.ts"], 'it "died"'), ""]);
  assertEquals(closingLine(countTests(merged)), "Tests: 1 passed, 3 failed, 1 skipped");
});

const PASSED = REPORT.replace(/<failure.*<\/failure>/, "");

for (
  const [what, report, status, line] of [
    ["all is well", PASSED, 0, "Tests: 2 passed, 0 failed, 1 skipped"],
    ["what failed is in the report", REPORT, 1, "Tests: 1 passed, 1 failed, 1 skipped"],
    ["a file did not load", PASSED, 1, "Tests: 2 passed, 1 failed, 1 skipped"],
    ["there is no report", "", 0, "Tests: 0 passed, 1 failed, 0 skipped"],
  ] as const
) {
  Deno.test(`completeReport() counts what was not reported: ${what}`, () => {
    assertEquals(closingLine(countTests(completeReport(report, ["a.test.ts", "b.test.ts"], status))), line);
  });
}
