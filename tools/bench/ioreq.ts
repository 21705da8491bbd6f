/** What an exit costs that a user's device model answers, in a Worker and in a process, against C doing the same. */

import { CProgram, type Round } from "./c_program.ts";
import { ExitGuest, startExitLoop } from "./exit_guest.ts";
import { alternate, benchmark, median, path, round } from "./harness.ts";
import { ModelProcess } from "./model_process.ts";
import { REGISTER_PORT } from "./register_model.ts";

export const MODEL = "tools/bench/register_model.ts";
export const READ_OF_REGISTER = { op: "in", port: REGISTER_PORT } as const;

/** Some that are done within a few milliseconds on any host. */
const ROUND_TRIPS_PER_MS = 150, ROUND_TRIPS_APART_PER_MS = 5;

/** The round of a program that there is not. */
const NOTHING: Round = { count: 1, cpuNs: 0, wallNs: 0 };

export const ioreq = benchmark({
  figures: {
    ioreq_worker_ratio_vs_c: {
      what: "an exit answered in a Worker, against C exit + eventfd, two threads",
      target: 1.25,
    },
    ioreq_worker_us: { what: "such an exit, us" },
    ioreq_process_ratio_vs_c: { what: "the same in another process, against two processes in C", target: 1.25 },
    ioreq_process_us: { what: "such an exit, us" },
    ioreq_c_us: { what: "an exit in C, and round trips by eventfd, us" },
  },
  async measure({ quick }) {
    const ms = quick ? 50 : 300, rounds = quick ? 3 : 15;
    await using process = await ModelProcess.start(MODEL);
    await using worker = await ExitGuest.start(READ_OF_REGISTER, { deviceModels: [path(MODEL)] });
    await using remote = await ExitGuest.start(READ_OF_REGISTER, { deviceModels: [{ socket: process.socket }] });
    await using inC = new AsyncDisposableStack();
    const programs: Record<string, CProgram | null> = {
      "an exit": inC.use(await startExitLoop(READ_OF_REGISTER)),
      "two threads": inC.use(await startRoundTrips("threads")),
      "two processes": inC.use(await startRoundTrips("processes")),
      "two threads, a processor each": inC.use(await startRoundTrips("threads", "apart")),
      "two processes, a processor each": inC.use(await startRoundTrips("processes", "apart")),
    };
    const counts = [worker.exitsIn(ms), ROUND_TRIPS_PER_MS * ms, ROUND_TRIPS_PER_MS * ms];
    const [workers, processes, ...others] = await alternate(
      rounds,
      () => worker.round(ms),
      () => remote.round(ms),
      ...Object.values(programs).map((program, at) => () =>
        program?.round(counts[at] ?? ROUND_TRIPS_APART_PER_MS * ms) ?? Promise.resolve(NOTHING)
      ),
    );
    const [exits, betweenThreads, betweenProcesses] = others;
    const ratio = (ours: Round[], roundTrips: Round[]) =>
      round(median(ours.map((one, at) => wallUs(one) / (wallUs(exits[at]) + wallUs(roundTrips[at])))), 3);
    const isCompared = programs["an exit"] !== null;
    return {
      ioreq_worker_ratio_vs_c: isCompared ? ratio(workers, betweenThreads) : null,
      ioreq_worker_us: round(median(workers.map(wallUs)), 2),
      ioreq_process_ratio_vs_c: isCompared ? ratio(processes, betweenProcesses) : null,
      ioreq_process_us: round(median(processes.map(wallUs)), 2),
      ioreq_c_us: Object.fromEntries(
        Object.entries(programs).flatMap(([name, program], at) =>
          program === null ? [] : [[name, round(median(others[at].map(wallUs)), 2)!]]
        ),
      ),
    };
  },
});

function startRoundTrips(...args: ["threads" | "processes", "apart"?]): Promise<CProgram | null> {
  if (args[1] === "apart" && navigator.hardwareConcurrency < 2) return Promise.resolve(null);
  return CProgram.start("eventfd_round_trip", args.map(String));
}

function wallUs({ wallNs, count }: Round): number {
  return wallNs / count / 1000;
}
