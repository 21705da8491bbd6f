/** Xenolith itself, as it travels into the lane's machine. */

import { LaneUnavailable } from "../lane/errors.ts";

/** Where this file is when nothing was bundled. */
const SOURCE = /src\/cli\/lane_program\.ts$/;

/** All of `run` in one file, which starts faster than its sources: made now, or the one that we were started from. */
export async function bundle(): Promise<Uint8Array> {
  const { pathname, href } = new URL(import.meta.url);
  if (!SOURCE.test(href)) return Deno.readFileSync(decodeURIComponent(pathname));
  const output = Deno.makeTempFileSync({ prefix: "xenolith-", suffix: ".js" });
  try {
    await deno(["run", "--quiet", "--allow-all", `${root()}tools/bundle/main.ts`, output]);
    return Deno.readFileSync(output);
  } finally {
    Deno.removeSync(output);
  }
}

function root(): string {
  return decodeURIComponent(new URL(import.meta.url).pathname).replace(SOURCE, "");
}

async function deno(args: string[]): Promise<void> {
  const command = new Deno.Command(Deno.execPath(), { args, cwd: root(), stdin: "null", stdout: "null" });
  const { success, stderr } = await command.output();
  if (success) return;
  const complaint = new TextDecoder().decode(stderr).trim().split("\n")[0];
  throw new LaneUnavailable(`deno ${args.join(" ")}: ${complaint}`);
}
