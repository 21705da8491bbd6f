/** What an exit costs that the platform model answers, against an exit and a futex round trip in C. */

import { CProgram, type Round } from "./c_program.ts";
import { ExitGuest, startExitLoop } from "./exit_guest.ts";
import { alternate, benchmark, median, round } from "./harness.ts";
import { COM1 } from "../../src/devices/platform_map.ts";
import { REGISTER } from "../../src/devices/uart_registers.ts";

/** The scratch register: its device does nothing but look up a byte. */
const ACCESS = { op: "in", port: COM1.port + REGISTER.SCRATCH } as const;

/** Some that are done within a few milliseconds on any host. */
const ROUND_TRIPS_PER_MS = 150, ROUND_TRIPS_APART_PER_MS = 10;

/** The round of a program that there is not. */
const NOTHING: Round = { count: 1, cpuNs: 0, wallNs: 0 };

export const platformIoreq = benchmark({
  figures: {
    platform_ioreq_us: { what: "an exit answered by the platform model, us" },
    platform_ioreq_ratio_vs_c: { what: "the same, against an exit and a futex round trip in C" },
    platform_ioreq_cpu_us: { what: "its CPU time on both threads, us" },
    exit_c_us: { what: "an exit in C, us" },
    futex_round_trip_us: { what: "a futex round trip between two threads in C, us" },
    futex_apart_us: { what: "the same with each thread on a processor of its own, us" },
  },
  async measure({ quick }) {
    const ms = quick ? 50 : 300, rounds = quick ? 3 : 15;
    await using guest = await ExitGuest.start(ACCESS);
    await using loop = await startExitLoop(ACCESS);
    await using futex = await CProgram.start("futex_round_trip");
    await using apart = navigator.hardwareConcurrency > 1 ? await CProgram.start("futex_round_trip", ["apart"]) : null;
    const none = () => Promise.resolve(NOTHING);
    const [ours, exits, futexes, futexesApart] = await alternate(
      rounds,
      () => guest.round(ms),
      loop === null ? none : () => loop.round(guest.exitsIn(ms)),
      futex === null ? none : () => futex.round(ROUND_TRIPS_PER_MS * ms),
      apart === null ? none : () => apart.round(ROUND_TRIPS_APART_PER_MS * ms),
    );
    const ratios = ours.map((one, index) => wallUs(one) / (wallUs(exits[index]) + wallUs(futexes[index])));
    return {
      platform_ioreq_us: round(median(ours.map(wallUs)), 2),
      platform_ioreq_ratio_vs_c: loop && futex && round(median(ratios), 3),
      platform_ioreq_cpu_us: round(median(ours.map(({ cpuNs, count }) => cpuNs / count / 1000)), 2),
      exit_c_us: loop && round(median(exits.map(wallUs)), 2),
      futex_round_trip_us: futex && round(median(futexes.map(wallUs)), 2),
      futex_apart_us: apart && round(median(futexesApart.map(wallUs)), 2),
    };
  },
});

function wallUs({ wallNs, count }: Round): number {
  return wallNs / count / 1000;
}
