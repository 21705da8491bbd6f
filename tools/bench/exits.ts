/** What an exit costs that nobody claims, against KVM_RUN in a loop of C. */

import { ExitGuest, startExitLoop } from "./exit_guest.ts";
import { alternate, benchmark, median, round } from "./harness.ts";
import type { Round } from "./c_program.ts";

/** Nobody claims this port, which takes a look into every server's ranges to find out. */
const ACCESS = { op: "out", port: 0x500 } as const;

export const exits = benchmark({
  figures: {
    exit_ratio_vs_c: { what: "CPU time of an exit to an unclaimed port, against C", target: 1.1 },
    exit_cpu_us: { what: "CPU time of such an exit, us" },
    exit_cpu_c_us: { what: "the same in C, us" },
  },
  async measure({ quick }) {
    const ms = quick ? 50 : 300, rounds = quick ? 3 : 15;
    await using guest = await ExitGuest.start(ACCESS);
    await using loop = await startExitLoop(ACCESS);
    const runs = [() => guest.round(ms), ...(loop === null ? [] : [() => loop.round(guest.exitsIn(ms))])];
    const [ours, theirs] = await alternate(rounds, ...runs);
    return {
      exit_ratio_vs_c: loop && round(median(ours.map((one, index) => cpuUs(one) / cpuUs(theirs[index]))), 3),
      exit_cpu_us: round(median(ours.map(cpuUs)), 3),
      exit_cpu_c_us: loop && round(median(theirs.map(cpuUs)), 3),
    };
  },
});

function cpuUs({ cpuNs, count }: Round): number {
  return cpuNs / count / 1000;
}
