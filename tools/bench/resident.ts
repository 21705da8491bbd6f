/** How much memory a small guest takes, Deno and all. */

import { benchmark, path, round, taskOptions } from "./harness.ts";
import { mappingsOf, sizeOf } from "./mappings.ts";

const PROMPT = "> ", QUIT = "quit\n", KIB_PER_MIB = 1024;

export const resident = benchmark({
  figures: {
    rss_mib: { what: "Pss of a process that runs a 64 MiB guest which touches little, MiB", target: 90 },
    rss_alone_mib: { what: "the same without another Deno process to share Deno's program with, MiB" },
  },
  async measure() {
    const args = ["run", ...taskOptions("run"), path("src/cli/main.ts"), "run", path("guests/echo.img")];
    const child = new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped" }).spawn();
    const writer = child.stdin.getWriter(), reader = child.stdout.getReader();
    let said = "";
    while (!said.endsWith(PROMPT)) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`echo.img has not come to its prompt: ${said}`);
      said += new TextDecoder().decode(value);
    }
    const figures = {
      rss_mib: round(pssKib(child.pid) / KIB_PER_MIB, 1),
      rss_alone_mib: round(pssAloneKib(child.pid) / KIB_PER_MIB, 1),
    };
    await writer.write(new TextEncoder().encode(QUIT));
    while (!(await reader.read()).done);
    await writer.close();
    await child.status;
    return figures;
  },
});

function pssKib(pid: number): number {
  return sizeOf(Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`), "Pss");
}

/** Sums up the mappings: Deno's program by what is resident of it, all others by their share. */
function pssAloneKib(pid: number): number {
  const program = Deno.execPath();
  return mappingsOf(pid)
    .reduce((sum, mapping) => sum + sizeOf(mapping, mapping.split("\n", 1)[0].endsWith(program) ? "Rss" : "Pss"), 0);
}
