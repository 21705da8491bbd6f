/** What vmap costs, against the bare mmap calls in C. */

import { benchmark, missing, path, round, runDeno, taskOptions } from "./harness.ts";
import type { Measured } from "./vmap_areas.ts";

const CHILD = path("tools/bench/vmap_areas.ts");

/** Areas of each kind; the second comes close to the host's limit of mappings. */
const AREAS = { scattered: 5_000, contiguous: 30_000 };

export const vmap = benchmark({
  figures: {
    vmap_map_ratio: { what: "CPU time of vmap and vunmap, against mmap in C, the worse of both layouts", target: 1.3 },
    vmap_ratios: {
      what: "the same, and for each call: 5 000 areas of 8 scattered frames, 30 000 of 8 contiguous ones",
    },
    vmap_cpu_us: { what: "CPU time of a call, us" },
    vmap_lookup_ns: { what: "the area of an address, among as many, the worse of both layouts, ns", target: 1000 },
  },
  async measure({ quick }) {
    const ratios: Record<string, number> = {}, cpuUs: Record<string, number> = {};
    const worst: number[] = [], lookupsNs: number[] = [];
    for (const [layout, areas] of Object.entries(AREAS)) {
      const size = [String(quick ? areas / 10 : areas), quick ? "3" : "15"];
      const { output } = await runDeno("run", ...taskOptions("bench"), CHILD, layout, ...size);
      const { calls, lookupNs }: Measured = JSON.parse(output);
      for (const [call, { ratio, us }] of Object.entries(calls)) {
        if (ratio !== null) ratios[`${call}, ${layout}`] = Number(ratio.toFixed(3));
        cpuUs[`${call}, ${layout}`] = Number(us.toFixed(2));
      }
      if (calls.both.ratio !== null) worst.push(calls.both.ratio);
      lookupsNs.push(lookupNs);
    }
    return {
      vmap_map_ratio: worst.length > 0 ? round(Math.max(...worst), 3) : missing("vmap is not compared with C: no gcc"),
      vmap_ratios: ratios,
      vmap_cpu_us: cpuUs,
      vmap_lookup_ns: round(Math.max(...lookupsNs), 1),
    };
  },
});
