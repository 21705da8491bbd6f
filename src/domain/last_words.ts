/** What a guest that crashed itself has said last. */

import { lastLine } from "../devices/console.ts";
import { ServerViews } from "../ioreq/server_view.ts";
import type { ControlBlock } from "./control_block.ts";
import type { Outcome } from "./outcome.ts";

/** The server of the platform model, whose device state begins with the console's. */
const PLATFORM_SERVER = 0;

/** The outcome with the last line on the console, if it is a crash that the guest itself has told of (SCHEDOP_shutdown). */
export function withLastWords(outcome: Outcome, control: ControlBlock): Outcome {
  if (outcome.kind !== "crash" || control.xen.shutdownCode < 0) return outcome;
  const state = new ServerViews(control.servers).view(PLATFORM_SERVER).area?.deviceState;
  const line = state === undefined ? "" : lastLine(state);
  return line === "" ? outcome : { ...outcome, reason: `${outcome.reason}; it last said ${JSON.stringify(line)}` };
}
