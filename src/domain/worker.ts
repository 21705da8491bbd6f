/** What all kinds of Workers do: take one start message, run, report. */

import type { Load, Report, Start } from "./messages.ts";
import type { XenServiceState } from "./xen_service.ts";

type HandedOver = XenServiceState | void;

/**
 * Waits for the start message, runs `body` and reports how it ended.
 * @param body returns what the next Worker of the kind gets
 * @param load what can be done before that
 * @param isMissing whether an error says what the host lacks
 */
export function serveOnce<S extends Start>(
  body: (start: S, report: (report: Report) => void) => HandedOver | Promise<HandedOver>,
  load: (start: S) => Promise<unknown> = () => Promise.resolve(),
  isMissing: (error: unknown) => error is Error = (_error): _error is Error => false,
): void {
  const report = (message: Report) => self.postMessage(message);
  self.onmessage = async ({ data }: MessageEvent<S | Load>) => {
    try {
      if ("load" in data) {
        await load(data.load as S);
        return report({ kind: "loaded" });
      }
      report({ kind: "stopped", handedOver: await body(data, report) ?? undefined });
    } catch (error) {
      const isLack = isMissing(error);
      report({ kind: "failed", failure: { isLack, message: isLack ? error.message : describe(error) } });
    }
  };
}

/** One line: an outcome's reason is one. What is left of the stack is where the error was thrown, unless it is said before. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return oneLine(String(error));
  const what = oneLine(`${error.name}: ${error.message}`);
  const where = /^ {4}at .*$/m.exec(withoutColours(error.stack ?? ""))?.[0].trim();
  return where === undefined || what.includes(where) ? what : `${what} (${where})`;
}

function oneLine(text: string): string {
  return withoutColours(text).replace(/\s*\n\s*/g, " ");
}

/** Deno's own errors, of modules that do not load, have some. */
function withoutColours(text: string): string {
  return text.replace(/\p{Cc}\[[\d;]*m/gu, "");
}

declare const self: Worker;
