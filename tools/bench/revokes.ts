/** What it costs a device model in a Worker to take pages back, against the bare system calls. */

import type { CProgram } from "./c_program.ts";
import { alternate, benchmark, median, path, round } from "./harness.ts";
import type { RevokeConfiguration } from "./revoke_model.ts";
import { PASS_PORT, startTouchProgram, type Touches, TouchGuest, WINDOW_ADDRESS } from "./touch_guest.ts";
import * as calls from "../../src/linux/calls.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";

const MODEL = path("tools/bench/revoke_model.ts");
const PAGE = 4096, LOOK_MS = 5;
/** Touches of the last page, one after another: they take longer than taking all pages back. */
const DWELL = 10_000;

/** What is revoked, how often in a round. */
interface Kind {
  readonly pages: number;
  readonly spinning: boolean;
  readonly transport: "fault" | "exit";
  readonly count: number;
}

const KINDS = {
  "one page, idle": { pages: 1, spinning: false, transport: "fault", count: 1000 },
  "one page, spinning": { pages: 1, spinning: true, transport: "fault", count: 300 },
  "512 pages, idle": { pages: 512, spinning: false, transport: "fault", count: 10 },
  "512 pages, spinning": { pages: 512, spinning: true, transport: "fault", count: 5 },
  "exit": { pages: 1, spinning: false, transport: "exit", count: 0 },
} satisfies Record<string, Kind>;
type Name = keyof typeof KINDS;

/** Microseconds, each as often as there are rounds. */
interface Measured {
  readonly window: number[];
  readonly bare: number[];
  readonly inC: number[] | null;
}

export const revokes = benchmark({
  figures: {
    revoke_us: { what: "a revocation of one page by a device model in a Worker, nobody using it, us" },
    revoke_ratio_vs_call: {
      what: "the same against madvise, or with a guest that spins on the page if worse",
      target: 2,
    },
    revoke512_ratio_vs_c: { what: "512 scattered pages that a guest spins on, against C", target: 1.2 },
    revokes_us: { what: "medians: by the device model, by the bare calls in the same thread, in C, us" },
    exit_revoke_us: { what: "a revocation of one page by exits, us" },
  },
  async measure({ quick }) {
    const measured = {} as Record<Name, Measured>;
    for (const name of Object.keys(KINDS) as Name[]) measured[name] = await measure(KINDS[name], quick);
    const single = (["one page, idle", "one page, spinning"] as const).map((name) => {
      const { window, bare } = measured[name];
      return median(window.map((us, at) => us / bare[at]));
    });
    const many = measured["512 pages, spinning"];
    return {
      revoke_us: round(median(measured["one page, idle"].window), 2),
      revoke_ratio_vs_call: round(Math.max(...single), 3),
      revoke512_ratio_vs_c: many.inC && round(median(many.window.map((us, at) => us / many.inC![at])), 3),
      revokes_us: Object.fromEntries(
        Object.entries(measured).flatMap(([name, { window, bare, inC }]) => [
          [name, round(median(window), 2)!],
          ...(name === "exit" ? [] : [[`${name}, bare`, round(median(bare), 2)!]]),
          ...(inC === null ? [] : [[`${name}, in C`, round(median(inC), 2)!]]),
        ]),
      ),
      exit_revoke_us: round(median(measured.exit.window), 2),
    };
  },
});

async function measure({ pages, spinning, transport, count }: Kind, quick: boolean): Promise<Measured> {
  await using stack = new AsyncDisposableStack();
  const order = stack.use(eventDescriptor("order")), done = stack.use(eventDescriptor("done", false));
  const results = new SharedArrayBuffer(16), strideBytes = pages === 1 ? PAGE : 2 * PAGE;
  const touches: Touches = {
    sizeBytes: pages * strideBytes,
    strideBytes,
    op: "write",
    cpl: 0,
    endless: transport === "fault",
    dwell: pages === 1 ? 0 : DWELL,
  };
  const configuration: RevokeConfiguration = {
    ...{ address: WINDOW_ADDRESS, sizeBytes: pages * strideBytes, strideBytes, port: PASS_PORT },
    ...{ transport, spinning, order: order.number, done: done.number, results },
  };
  const ours = stack.use(await TouchGuest.start(touches, { module: MODEL, configuration }, quick ? 100 : 500));
  const inC: CProgram | null = transport === "exit"
    ? null
    : stack.use(await startTouchProgram("revoke_loop", touches, String(strideBytes), spinning ? "spinning" : "idle"));
  const times = quick ? Math.ceil(count / 10) : count;
  const round = async () => {
    const work = async () => {
      if (transport === "exit") await pause(quick ? 50 : 200);
      calls.write(order.number, new BigUint64Array([BigInt(times || 1)]), 8n);
      while (calls.read(done.number, new BigUint64Array(1), 8n) < 0) await pause(LOOK_MS);
    };
    await (spinning || transport === "exit" ? ours.during(work) : work());
    return Array.from(new Float64Array(results));
  };
  if (!quick) { for (let warmUp = 0; warmUp < 5; warmUp++) await round(); }
  const [mine, theirs] = await alternate<number[]>(
    quick ? 3 : 11,
    round,
    async () => {
      const taken = await inC?.round(times);
      return [taken === undefined ? NaN : taken.wallNs / taken.count / 1000];
    },
  );
  return {
    window: mine.map(([window]) => window),
    bare: mine.map(([, bare]) => bare),
    inC: inC && theirs.map(([us]) => us),
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
