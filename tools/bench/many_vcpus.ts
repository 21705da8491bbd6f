/** What a thousand vCPUs take: until each has had an answer, for an answer while all of them ask, in memory. */

import { benchmark, median, path, round, runDeno, taskOptions } from "./harness.ts";
import { type Times, VCPUS } from "./many_vcpus_run.ts";
import { mappingsOf, sizeOf } from "./mappings.ts";
import { TextLineStream } from "./text_lines.ts";

const CHILD = ["run", ...taskOptions("run"), path("tools/bench/many_vcpus_run.ts")], KIB_PER_MIB = 1024;

/** Each round is a write and a read. */
const ROUNDS = 10, REQUESTS = VCPUS * ROUNDS * 2;

export const manyVcpus = benchmark({
  figures: {
    vcpus1024_first_ioreq_ms: { what: "from the command to the first answer of each of 1024 vCPUs, ms", target: 1500 },
    vcpus1024_us_per_ioreq: { what: "a request while each of them has 20, us", target: 30 },
    vcpus1024_rss_mib: { what: "Pss meanwhile, without the guest's RAM, MiB", target: 160 },
  },
  async measure({ quick }) {
    const firstMs: number[] = [], requestUs: number[] = [];
    for (let run = 0; run < (quick ? 1 : 9); run++) {
      const startMs = performance.timeOrigin + performance.now();
      const { first, all, last }: Times = JSON.parse((await runDeno(...CHILD, String(ROUNDS))).output);
      firstMs.push(all - startMs);
      requestUs.push((last - first) * 1000 / REQUESTS);
    }
    return {
      vcpus1024_first_ioreq_ms: round(median(firstMs), 0),
      vcpus1024_us_per_ioreq: round(median(requestUs), 2),
      vcpus1024_rss_mib: round(await residentKib() / KIB_PER_MIB, 1),
    };
  },
});

/** What the process takes while all vCPUs have asked, and go on asking. */
async function residentKib(): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), { args: CHILD, stdin: "piped", stdout: "piped" }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream()).getReader();
  if ((await lines.read()).done) throw new Error("ioreq-many with 1024 vCPUs has ended");
  const others = mappingsOf(child.pid).filter((mapping) => !mapping.includes("memfd:xenolith-ram"));
  await child.stdin.close();
  await lines.cancel();
  await child.status;
  return others.reduce((sum, mapping) => sum + sizeOf(mapping, "Pss"), 0);
}
