/** Our own share of an exit: everything but KVM_RUN, and whether it allocates. */

import { benchmark, median, path, round, runDeno } from "./harness.ts";

const CHILD = path("tools/bench/dispatch_loop.ts");
const COLLECTED_EXITS = 1_000_000;

/** A nursery of the least size, so that even one byte an exit would fill it; collections are printed. */
const TRACE = "--v8-flags=--trace-gc,--expose-gc,--min-semi-space-size=1,--max-semi-space-size=1";
/** How V8 prints the collections that the child asks for, before and after. */
const ASKED_FOR = /Mark-Compact .* testing;/;

export const dispatch = benchmark({
  figures: {
    dispatch_ns: { what: "decode, count, select and complete a port access, ns", target: 200 },
    dispatch_collections: { what: "garbage collections in a million exits", target: 0 },
  },
  async measure({ quick }) {
    const { output } = await runDeno("run", "--allow-ffi", CHILD, quick ? "100000" : "1000000", quick ? "3" : "11");
    return { dispatch_ns: round(median(JSON.parse(output)), 1), dispatch_collections: await collections() };
  },
});

/** Exact: the collections that V8 prints between two that were asked for. */
async function collections(): Promise<number> {
  const { output } = await runDeno("run", "--allow-ffi", TRACE, CHILD, String(COLLECTED_EXITS), "1");
  const lines = output.split("\n").filter((line) => /Scavenge|Mark-Compact/.test(line));
  const marks = lines.flatMap((line, index) => ASKED_FOR.test(line) ? [index] : []);
  if (marks.length !== 2) throw new Error(`${marks.length} marks in the trace of collections:\n${output}`);
  return marks[1] - marks[0] - 1;
}
