/**
 * The process in which one hook of a payload runs: an endless loop in it ends with the process, which no thread of ours would.
 * Lines of JSON on stdin, and an answer to each on stdout; what a hook says goes to stderr.
 */

import { describe } from "../domain/worker.ts";
import { linesOf } from "../machine/lines.ts";
import type { Hook, HookContext, HookName } from "./hooks.ts";

/** To the process: the URL of the hooks' module, then which of its hooks is to run. */
export type HookStart =
  | { readonly module: string }
  | { readonly name: HookName; readonly context: HookContext };

/** From the process, for each: why it fails or vetoes, or that it does not. */
export interface HookEnd {
  readonly veto?: string;
}

console.log = console.info = console.debug = console.error;

let hooks: Record<string, Hook> = {};
for await (const line of linesOf(Deno.stdin.readable)) {
  const end: HookEnd = await carryOut(JSON.parse(line));
  await Deno.stdout.write(new TextEncoder().encode(`${JSON.stringify(end)}\n`));
}

async function carryOut(start: HookStart): Promise<HookEnd> {
  try {
    if ("module" in start) hooks = await import(start.module);
    else await hooks[start.name](start.context);
    return {};
  } catch (error) {
    return { veto: describe(error) };
  }
}
