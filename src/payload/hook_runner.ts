/** Running a payload's hooks. */

import { EINVAL, ETIME } from "../linux/errno.ts";
import type { HookEnd, HookStart } from "./hook_worker.ts";
import type { HookContext, HookName } from "./hooks.ts";
import { hooksPath, type Payload } from "./manifest.ts";
import { PayloadError } from "./payload_error.ts";

const WORKER_URL = new URL("./hook_worker.ts", import.meta.url).href;

/** How long a hook may take. */
export const HOOK_LIMIT_MS = 1000;

/**
 * Runs a hook that the payload has.
 * @param tree root of the sources in which the hooks' module stands
 * @throws {PayloadError} EINVAL: it vetoes, or fails; ETIME: it takes longer than {@linkcode HOOK_LIMIT_MS}
 */
export async function runHook(payload: Payload, name: HookName, context: HookContext, tree: URL): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const worker = new Worker(WORKER_URL, { type: "module", name: `hook:${payload.name}` });
  const late = Symbol();
  const { promise: limit, resolve: expire } = Promise.withResolvers<typeof late>();
  const timer = setTimeout(() => expire(late), HOOK_LIMIT_MS);
  worker.onmessage = ({ data }: MessageEvent<HookEnd>) => resolve(data.veto);
  worker.onerror = (event) => {
    event.preventDefault();
    resolve(event.message);
  };
  try {
    const module = new URL(hooksPath(payload), tree).href;
    worker.postMessage({ module, name, context } satisfies HookStart);
    const veto = await Promise.race([promise, limit]);
    if (veto === late) {
      throw new PayloadError(ETIME, `${payload.name}: hook ${name} takes more than ${HOOK_LIMIT_MS} ms`);
    }
    if (veto !== undefined) throw new PayloadError(EINVAL, `${payload.name}: hook ${name}: ${veto}`);
  } finally {
    clearTimeout(timer);
    worker.terminate();
  }
}
