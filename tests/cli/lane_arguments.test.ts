import { assertEquals } from "@std/assert";
import { laneArguments, parseRun } from "../../src/cli/arguments.ts";

const REPORT = "/out/report.json", FILES = { json: REPORT, trace: "/out/trace.json" };

Deno.test("laneArguments() leaves out --lane, and nothing else that looks like it", () => {
  const args = ["--lane", "--cmdline", "--lane", "--module", "a b", "image", "--", "--lane"];
  assertEquals(laneArguments(args, FILES), ["--cmdline=--lane", "--module=a b", "image", "--", "--lane"]);
  assertEquals(parseRun(args)?.lane, true);
  assertEquals(parseRun(laneArguments(args, FILES))?.lane, false);
});

Deno.test("laneArguments() sends a report that is a file elsewhere, and leaves one on stderr", () => {
  assertEquals(laneArguments(["--json", "file", "image"], FILES), [`--json=${REPORT}`, "image"]);
  assertEquals(laneArguments(["--json=file", "image"], FILES), [`--json=${REPORT}`, "image"]);
  assertEquals(laneArguments(["--json", "-", "image"], FILES), ["--json=-", "image"]);
  assertEquals(laneArguments(["--trace", "file", "image"], FILES), ["--trace=/out/trace.json", "image"]);
});
