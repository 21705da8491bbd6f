/** What a virtio disk's back end costs by itself, from the queue to io_uring and back, against C doing the same. */

import { benchmark, missing, path, round, runDeno, taskOptions } from "./harness.ts";
import { makeDisk } from "./disk_image.ts";
import type { Measured } from "./block_backend_loop.ts";

const CHILD = path("tools/bench/block_backend_loop.ts");

/** How many reads are asked for together, and whether each is in a table of its own, as Linux has it. */
const KINDS = { "32 at a time": [32, "direct"], "32 at a time, tables": [32, "table"], "one by one": [1, "direct"] };

export const blockBackend = benchmark({
  figures: {
    blk_backend_ratio_vs_c: {
      what: "CPU time of 4 KiB reads by the back end, 32 at a time, against C, the worse of two kinds",
      target: 1.3,
    },
    blk_backend_ratios: { what: "the same, and of reads one by one" },
    blk_backend_us: { what: "CPU time of such a read, us" },
    blk_backend_c_us: { what: "the same in C, us" },
  },
  async measure({ quick }) {
    const ratios: Record<string, number> = {}, us: Record<string, number> = {}, inCUs: Record<string, number> = {};
    const file = await makeDisk();
    try {
      for (const [name, [depth, kind]] of Object.entries(KINDS)) {
        const size = quick ? ["3200", "3"] : ["96000", "15"];
        const args = [...taskOptions("bench"), CHILD, file, String(depth), String(kind), ...size];
        const measured: Measured = JSON.parse((await runDeno("run", ...args)).output);
        us[name] = round(measured.ns / 1000, 3)!;
        if (measured.ratio === null || measured.inCNs === null) continue;
        ratios[name] = round(measured.ratio, 3)!;
        inCUs[name] = round(measured.inCNs / 1000, 3)!;
      }
    } finally {
      await Deno.remove(file);
    }
    const together = [ratios["32 at a time"], ratios["32 at a time, tables"]].filter((ratio) => ratio !== undefined);
    const isCompared = together.length > 0;
    return {
      blk_backend_ratio_vs_c: isCompared ? Math.max(...together) : missing("no back end in C: no gcc"),
      blk_backend_ratios: isCompared ? ratios : null,
      blk_backend_us: us,
      blk_backend_c_us: isCompared ? inCUs : null,
    };
  },
});
