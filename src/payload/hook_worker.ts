/** The Worker in which one hook of a payload runs: an endless loop in it ends with the Worker. */

import { describe } from "../domain/worker.ts";
import type { Hook, HookContext, HookName } from "./hooks.ts";

/** To the Worker, once. */
export interface HookStart {
  /** URL of the hooks' module. */
  readonly module: string;
  readonly name: HookName;
  readonly context: HookContext;
}

/** From the Worker, once: why the hook vetoes, or that it does not. */
export interface HookEnd {
  readonly veto: string | undefined;
}

declare const self: Worker;

self.onmessage = async ({ data: { module, name, context } }: MessageEvent<HookStart>) => {
  const end = (veto: string | undefined) => self.postMessage({ veto } satisfies HookEnd);
  try {
    const hooks: Record<string, Hook> = await import(module);
    await hooks[name](context);
    end(undefined);
  } catch (error) {
    end(describe(error));
  }
};
