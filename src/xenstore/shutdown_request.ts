/** How the tool stack asks a domain to shut itself down: `control/shutdown`. */

import { domainPath } from "./path.ts";
import type { ToolStack } from "./tool_stack.ts";

/** What a domain can be asked for (docs/misc/xenstore-paths in Xen, ~/control/shutdown). */
export type ShutdownReason = "poweroff" | "halt" | "reboot" | "suspend" | "s3" | "crash";

/**
 * Asks a domain to shut down. A domain that knows how writes an empty value in return, and goes on to do it.
 * @param acknowledged called once, when the domain has seen the request
 * @returns ends the watch for that; the request stays
 * @throws {XenstoreError} EINVAL or ENOENT: the domain has no nodes
 */
export function requestShutdown(
  tools: ToolStack,
  domid: number,
  reason: ShutdownReason,
  acknowledged: () => void = () => {},
): Disposable {
  const path = `${domainPath(domid)}/control/shutdown`;
  tools.read(path);
  tools.write(path, reason);
  let isWaiting = true;
  return tools.watch(path, () => {
    if (!isWaiting || tools.readText(path) !== "") return;
    isWaiting = false;
    acknowledged();
  });
}
