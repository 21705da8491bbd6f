/** JUnit reports of `deno test`: their counts, and several made into one. */

/** What a report says. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failedNames: readonly string[];
  /** The names of the skipped tests, which say why. */
  readonly skippedNames: readonly string[];
}

/** Counts the tests of a report; an empty text has none. */
export function countTests(report: string): Counts {
  const count = (pattern: RegExp) => report.match(pattern)?.length ?? 0;
  const tests = count(/<testcase\b/g), failed = count(/<failure\b/g), skipped = count(/<skipped\b/g);
  const names = (mark: string) =>
    Array.from(report.matchAll(RegExp(`<testcase name="([^"]*)"[^>]*>\\s*<${mark}`, "g")), ([, name]) => plain(name));
  return {
    passed: tests - failed - skipped,
    failed,
    skipped,
    failedNames: names("failure"),
    skippedNames: names("skipped"),
  };
}

/** The line with which every test command closes. */
export function closingLine({ passed, failed, skipped }: Counts): string {
  return `Tests: ${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** One report with the test suites of all. */
export function mergeReports(reports: readonly string[]): string {
  const suites = reports.flatMap((report) => report.match(/<testsuite\b[\s\S]*?<\/testsuite>/g) ?? []);
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="deno test">\n${suites.join("\n")}\n</testsuites>\n`;
}

/** A report of test files that came to no end: each counts as a test that failed for `reason`. */
export function failureReport(files: readonly string[], reason: string): string {
  const cases = files.map((file) =>
    `<testsuite name="${markup(file)}" tests="1" failures="1"><testcase name="${markup(file)}">` +
    `<failure message="${markup(reason)}"></failure></testcase></testsuite>`
  );
  return `<testsuites>${cases.join("")}</testsuites>`;
}

/**
 * What a run of `deno test` reported; where that does not say what failed - test files that did not load, or came to no
 * end - all its files did.
 * @param report empty: the run wrote none
 * @param files paths from the repository's root; folders may be among them
 * @param status the run's exit status
 */
export function completeReport(report: string, files: readonly string[], status: number): string {
  const isComplete = report !== "" && (status === 0 || countTests(report).failed > 0);
  return isComplete ? report : mergeReports([report, failureReport([files.join(" ")], `deno test: status ${status}`)]);
}

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;" } as const;

function markup(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character as keyof typeof ENTITIES]);
}

function plain(text: string): string {
  const characters = new Map(Object.entries(ENTITIES).map(([character, entity]) => [entity as string, character]));
  return text.replaceAll(/&\w+;/g, (entity) => characters.get(entity) ?? entity);
}
