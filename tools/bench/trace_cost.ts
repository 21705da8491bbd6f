/** What it costs that every request leaves a trace: the program and a copy that traces nothing, in turn. */

import type { Round } from "./c_program.ts";
import { type Access, ExitGuest } from "./exit_guest.ts";
import { alternate, benchmark, median, path, round, runDeno } from "./harness.ts";
import { MODEL, READ_OF_REGISTER } from "./ioreq.ts";
import { UntracedCopy } from "./untraced.ts";
import { COM1 } from "../../src/devices/platform_map.ts";

const LOOP = "tools/bench/dispatch_loop.ts";

/** Nobody claims it. */
const UNCLAIMED: Access = { op: "out", port: 0x500 };

type Guests = Pick<typeof ExitGuest, "start">;

export const traceCost = benchmark({
  figures: {
    trace_cost_pct: { what: "what tracing adds to the CPU time of an exit, the worse of these, %", target: 3 },
    trace_costs_pct: { what: "an exit that a Worker answers, and one that nobody claims" },
    trace_ns: { what: "what tracing adds to a request, where nothing else is done, ns" },
  },
  async measure({ quick }) {
    await using copy = await UntracedCopy.make();
    const answered = await addedPct(READ_OF_REGISTER, copy, quick), unclaimed = await addedPct(UNCLAIMED, copy, quick);
    return {
      trace_cost_pct: round(Math.max(answered, unclaimed, 0), 2),
      trace_costs_pct: { answered: Number(answered.toFixed(2)), unclaimed: Number(unclaimed.toFixed(2)) },
      trace_ns: round(await addedNs(copy, quick), 1),
    };
  },
});

/**
 * CPU time of all threads. Two machines of one build differ by a percent, too, and the one that was started first is not
 * as the other: so there are several pairs, which take turns in being first.
 */
async function addedPct(access: Access, copy: UntracedCopy, quick: boolean): Promise<number> {
  const other: typeof import("./exit_guest.ts") = await import(`file://${copy.path("tools/bench/exit_guest.ts")}`);
  const ratios: number[] = [];
  for (let pair = 0; pair < (quick ? 2 : 8); pair++) {
    if (pair % 2 === 0) ratios.push(await ratioOf(ExitGuest, other.ExitGuest, access, quick));
    else ratios.push(1 / await ratioOf(other.ExitGuest, ExitGuest, access, quick));
  }
  return (median(ratios) - 1) * 100;
}

/** The first one's CPU time against the second one's. */
async function ratioOf(first: Guests, second: Guests, access: Access, quick: boolean): Promise<number> {
  const ms = quick ? 50 : 200, rounds = quick ? 3 : 9, deviceModels = [path(MODEL)];
  await using one = await first.start(access, { deviceModels });
  await using other = await second.start(access, { deviceModels });
  const [ones, others] = await alternate(rounds, () => one.round(ms), () => other.round(ms));
  return median(ones.map((round, at) => cpuNs(round) / cpuNs(others[at])));
}

/** Without KVM_RUN, without the device model, without a wait. */
async function addedNs(copy: UntracedCopy, quick: boolean): Promise<number> {
  const size = (quick ? [100_000, 3, COM1.port] : [1_000_000, 11, COM1.port]).map(String);
  const ns = async (loop: string) => median(JSON.parse((await runDeno("run", "--allow-ffi", loop, ...size)).output));
  const [ours, theirs] = await alternate(quick ? 1 : 5, () => ns(path(LOOP)), () => ns(copy.path(LOOP)));
  return median(ours) - median(theirs);
}

function cpuNs({ cpuNs, count }: Round): number {
  return cpuNs / count;
}
