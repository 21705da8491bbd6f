/** How long the end of a run waits for those who take their time. */

import type { OutcomeKind } from "./outcome.ts";

/** How long a model may take to flush its output after an ending that nobody wants to wait for. */
const GRACE_MS = 500;

/** Endings after which nobody waits for a console that does not take its output. */
export const IMPATIENT: ReadonlySet<OutcomeKind> = new Set(["timeout", "signal", "left", "stopped", "internal"]);

/** Waits for it, but not for long. */
export async function withinGrace(work: Promise<unknown>): Promise<void> {
  await happensBefore(work, performance.now() + GRACE_MS);
}

/** Waits until it happens, or until then. @returns whether it has happened */
export async function happensBefore(what: Promise<unknown>, deadlineMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), Math.max(0, deadlineMs - performance.now()));
  const happened = await Promise.race([what.then(() => true), promise]);
  clearTimeout(timer);
  return happened;
}
