/** What live patching costs: a guest under load while payloads come and go, and an exit while none is there. */

import type { Round } from "./c_program.ts";
import { type Access, ExitGuest } from "./exit_guest.ts";
import { alternate, benchmark, median, path, round, runProgram } from "./harness.ts";
import type { CyclesReport } from "./patch_cycles.ts";
import { buildExample } from "../../tests/payload/build_example.ts";
import { load, PATIENT, WatchedGuest } from "./watched_guest.ts";
import { type Machine, successionOf } from "../../src/machine/machine.ts";
import { buildPayload } from "../../src/payload/build.ts";
import { edit, replace } from "../../src/payload/definition.ts";
import { encodePayload } from "../../src/payload/format.ts";
import { LivePatching } from "../../src/payload/live_patching.ts";

/** A device model's module; the succession is the same for all. */
const EXAMPLE = "fix-uart";

/** Nobody claims it. */
const UNCLAIMED: Access = { op: "out", port: 0x500 };

/** All that the exit path has of live patching. */
const CHECK = "if (control.generation !== generation) return record.leaveExit(result);";

/**
 * What memory may grow by: the engine's heaps and the C library's arenas keep what they once had. They stop growing after
 * some hundred Workers, for which a quick run has no time.
 */
const NOISE_MIB = 32, QUICK_NOISE_MIB = 160;

export const patches = benchmark({
  figures: {
    patch_pause_ms: { what: "how long a guest of 4 vCPUs under load stands still for a payload, ms", target: 10 },
    patch_pauses_ms: { what: "the shortest and the longest" },
    patch_idle_cost_pct: { what: "what live patching adds to the CPU time of an exit, %", target: 1 },
    patch_cycles_ok: { what: "1: random operations under load end where they began" },
    patch_cycles: { what: "what they were, and what the process holds more afterwards" },
  },
  async measure({ quick }) {
    const pauses = await pausesMs(quick ? 3 : 50), cycles = await cyclesOf(quick);
    return {
      patch_pause_ms: round(median(pauses), 2),
      patch_pauses_ms: { shortest: round(Math.min(...pauses), 2)!, longest: round(Math.max(...pauses), 2)! },
      patch_idle_cost_pct: round(Math.max(await addedPct(quick), 0), 2),
      ...cycles,
    };
  },
});

/** An apply and a revert each. The guest checks itself, and its lines are counted. */
async function pausesMs(rounds: number): Promise<number[]> {
  await using guest = await WatchedGuest.start();
  await using patching = new LivePatching(guest.succession);
  const { name } = await patching.upload(await buildExample(EXAMPLE)), pauses: number[] = [];
  for (let at = 0; at < rounds; at++) {
    pauses.push((await patching.apply(name, PATIENT)).pausedMs);
    await guest.goesOn(3);
    pauses.push((await patching.revert(name, PATIENT)).pausedMs);
    await guest.goesOn(3);
  }
  await guest.end();
  return pauses;
}

/** In pairs, which take turns in being first, as for trace_cost_pct. */
async function addedPct(quick: boolean): Promise<number> {
  const ratios: number[] = [];
  for (let pair = 0; pair < (quick ? 2 : 10); pair++) {
    if (pair % 2 === 0) ratios.push(await ratioOf(CHECKED, UNCHECKED, quick));
    else ratios.push(1 / await ratioOf(UNCHECKED, CHECKED, quick));
  }
  return (median(ratios) - 1) * 100;
}

/** Both are successors: one as the program is, but for a comment, one that never looks whether it is succeeded. */
const CHECKED = `/* as it is */ ${CHECK}`, UNCHECKED = "";

/** The first one's CPU time against the second one's. */
async function ratioOf(first: string, second: string, quick: boolean): Promise<number> {
  const ms = quick ? 50 : 200, rounds = quick ? 3 : 9;
  await using one = await ExitGuest.start(UNCLAIMED, { prepare: (machine) => replaceCheck(machine, first) });
  await using other = await ExitGuest.start(UNCLAIMED, { prepare: (machine) => replaceCheck(machine, second) });
  const [ones, others] = await alternate(rounds, () => one.round(ms), () => other.round(ms));
  return median(ones.map((round, at) => cpuNs(round) / cpuNs(others[at])));
}

async function replaceCheck(machine: Machine, by: string): Promise<void> {
  await using patching = new LivePatching(successionOf(machine));
  const modules = { "src/domain/carrier.ts": edit(replace(CHECK, by)) };
  await load(patching, await encodePayload(await buildPayload({ name: "check", modules }, new URL(import.meta.url))));
}

function cpuNs({ cpuNs, count }: Round): number {
  return cpuNs / count;
}

/** In a process of its own, so that nobody else's threads and descriptors are counted. */
async function cyclesOf(quick: boolean) {
  const operations = quick ? 12 : 1000, noiseMib = quick ? QUICK_NOISE_MIB : NOISE_MIB;
  const seed = crypto.getRandomValues(new Uint32Array(1))[0], directory = await Deno.makeTempDir();
  try {
    const program = path("tools/bench/patch_cycles.ts"), args = [program, String(operations), String(seed)];
    const deno = [Deno.execPath(), "run", "--no-prompt", "--allow-all", "--v8-flags=--expose-gc", ...args];
    const { output } = await runProgram("env", [`TMPDIR=${directory}`, ...deno]);
    const { before, after, done, refused, errors }: CyclesReport = JSON.parse(output);
    const grown = Object.fromEntries(
      Object.entries(after).map(([what, now]) => [what, round(now - before[what as keyof typeof before], 1)!]),
    );
    const left = Array.from(Deno.readDirSync(directory), ({ name }) => `${name} is left behind`);
    for (const error of [...errors, ...left]) console.error(`bench: patches, seed ${seed}: ${error}`);
    const isBack = grown.descriptors <= 0 && grown.threads <= 0 &&
      grown.residentMib <= noiseMib;
    if (!isBack) console.error(`bench: patches, seed ${seed}: left behind: ${JSON.stringify(grown)}`);
    const isOk = isBack && errors.length + left.length === 0;
    return { patch_cycles_ok: isOk ? 1 : 0, patch_cycles: { done, refused, ...grown } };
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}
