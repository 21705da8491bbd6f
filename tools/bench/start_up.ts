/** How long it takes from the command line to a guest's first exit, and where the time goes. */

import { alternate, benchmark, median, missing, path, ROOT, round, runDeno, taskOptions } from "./harness.ts";

const GUEST = "guests/null.img", BUNDLE = "dist/xenolith.js";
const WARM_UPS = 2;

export const startUp = benchmark({
  figures: {
    start_to_exit_ms: { what: "deno task run guests/null.img, ms", target: 150 },
    start_to_exit_bundled_ms: { what: "the bundle's run guests/null.img, ms", target: 100 },
    start_up_phases_ms: { what: "where the time goes, ms" },
  },
  async measure({ quick }) {
    const options = taskOptions("run"), empty = await Deno.makeTempFile({ suffix: ".js" });
    const bundled = await makeBundle(quick);
    const task = () => wall("task", "run", GUEST);
    const bundle = bundled ? () => wall("run", ...options, BUNDLE, "run", GUEST) : () => Promise.resolve(NaN);
    const direct = () => wall("run", ...options, "src/cli/main.ts", "run", GUEST);
    const nothing = () => wall("run", empty);
    const tables: Record<string, number>[] = [];
    const inside = async () => {
      tables.push(await phases(options));
      return 0;
    };
    try {
      const runs = [task, bundle, direct, nothing, inside];
      await alternate(WARM_UPS, ...runs);
      tables.length = 0;
      const results = await alternate(quick ? 3 : 21, ...runs);
      const [taskMs, bundleMs, directMs, nothingMs] = results.map(median);
      return {
        start_to_exit_ms: round(taskMs, 1),
        start_to_exit_bundled_ms: bundled ? round(bundleMs, 1) : missing(`no ${BUNDLE}: deno task bundle makes it`),
        start_up_phases_ms: {
          "deno task itself": Number((taskMs - directMs).toFixed(1)),
          "deno with an empty program": Number(nothingMs.toFixed(1)),
          ...Object.fromEntries(
            Object.keys(tables[0]).map((phase) => [phase, round(median(tables.map((table) => table[phase])), 1)!]),
          ),
        },
      };
    } finally {
      await Deno.remove(empty);
    }
  },
});

async function wall(...args: string[]): Promise<number> {
  return (await runDeno(...args)).wallMs;
}

/** Makes the bundle anew, unless `any` will do. @returns whether there is one */
async function makeBundle(any: boolean): Promise<boolean> {
  const exists = () => Deno.stat(new URL(BUNDLE, ROOT)).then(({ isFile }) => isFile, () => false);
  if (any && await exists()) return true;
  await runDeno("task", "bundle");
  return await exists();
}

async function phases(options: readonly string[]): Promise<Record<string, number>> {
  const { output } = await runDeno("run", ...options, path("tools/bench/start_up_phases.ts"), path(GUEST));
  return JSON.parse(output);
}
