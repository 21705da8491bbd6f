/** What both kinds of Workers do: take one start message, run, report. */

import type { Report } from "./messages.ts";

/** Waits for the start message, runs `body` and reports how it ended. */
export function serveOnce<Start>(body: (start: Start, report: (report: Report) => void) => void | Promise<void>): void {
  const report = (message: Report) => self.postMessage(message);
  self.onmessage = async (event: MessageEvent<Start>) => {
    try {
      await body(event.data, report);
      report({ kind: "stopped" });
    } catch (error) {
      report({ kind: "failed", message: error instanceof Error ? error.stack ?? error.message : String(error) });
    }
  };
}

declare const self: Worker;
