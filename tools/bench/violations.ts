/** What a violation costs that a device model in another process answers, against the same steps in C. */

import type { CProgram, Round } from "./c_program.ts";
import { alternate, benchmark, median, round } from "./harness.ts";
import { ModelProcess } from "./model_process.ts";
import { PASS_PORT, startTouchProgram, type Touches, TouchGuest, WINDOW_ADDRESS } from "./touch_guest.ts";
import type { ViolationConfiguration } from "./violation_model.ts";

const MODEL = "tools/bench/violation_model.ts";
const SIZE_BYTES = 256 * 4096;
const TOUCHES: Touches = { sizeBytes: SIZE_BYTES, op: "read", cpl: 0 };

type Kind = Pick<ViolationConfiguration, "transport" | "frames">;

const SAME: Kind = { transport: "fault", frames: "same" }, OTHER: Kind = { transport: "fault", frames: "other" };
const EXIT: Kind = { transport: "exit", frames: "same" };

/** As far as rounds of C are planned ahead. */
const US_PER_VIOLATION = 60;

export const violations = benchmark({
  figures: {
    violation_ratio_vs_c: {
      what: "a violation answered in another process, against C, the worse of same and other frames",
      target: 1.3,
    },
    violation_us: { what: "such a violation, the page mapped to another frame than before, us" },
    violation_ratios: { what: "against C, by what is mapped" },
    violations_us: { what: "a violation, by what is mapped, us" },
    exit_violation_us: { what: "the same by exits, us" },
  },
  async measure({ quick }) {
    const ms = quick ? 50 : 300, rounds = quick ? 3 : 15;
    await using stack = new AsyncDisposableStack();
    const ours: TouchGuest[] = [], theirs: (CProgram | null)[] = [];
    for (const kind of [SAME, OTHER, EXIT]) ours.push(await startOurs(stack, kind, quick));
    for (const { frames } of [SAME, OTHER]) {
      theirs.push(stack.use(await startTouchProgram("violation_loop", TOUCHES, frames)));
    }
    const count = Math.ceil(ms * 1000 / US_PER_VIOLATION), none = () => Promise.resolve(undefined);
    const results = await alternate<Round | undefined>(
      rounds,
      ...ours.map((guest) => () => guest.round(ms)),
      ...theirs.map((program) => () => program?.round(count) ?? none()),
    );
    const [same, other, exit, sameInC, otherInC] = results.map((rounds) =>
      rounds.includes(undefined) ? null : rounds.map((one) => wallUs(one!))
    );
    const ratios = { same: ratio(same!, sameInC), other: ratio(other!, otherInC) };
    const isCompared = ratios.same !== null && ratios.other !== null;
    return {
      violation_ratio_vs_c: isCompared ? Math.max(ratios.same!, ratios.other!) : null,
      violation_us: round(median(other!), 2),
      violation_ratios: isCompared ? { "same frame": ratios.same!, "other frame": ratios.other! } : null,
      violations_us: Object.fromEntries(
        Object.entries({
          "same frame": same,
          "other frame": other,
          "same frame in C": sameInC,
          "other frame in C": otherInC,
        }).flatMap(([name, values]) => values === null ? [] : [[name, round(median(values), 2)!]]),
      ),
      exit_violation_us: round(median(exit!), 2),
    };
  },
});

async function startOurs(stack: AsyncDisposableStack, kind: Kind, quick: boolean): Promise<TouchGuest> {
  const configuration: ViolationConfiguration = {
    address: WINDOW_ADDRESS,
    sizeBytes: SIZE_BYTES,
    port: PASS_PORT,
    ...kind,
  };
  const process = stack.use(await ModelProcess.start(MODEL, configuration));
  return stack.use(await TouchGuest.start(TOUCHES, { socket: process.socket }, quick ? 200 : 1500));
}

function ratio(ours: number[], theirs: number[] | null): number | null {
  return theirs && round(median(ours.map((us, at) => us / theirs[at])), 3);
}

function wallUs({ wallNs, count }: Round): number {
  return wallNs / count / 1000;
}
