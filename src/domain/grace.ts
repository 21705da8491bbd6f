/** How long the end of a run waits for those who take their time. */

import type { OutcomeKind } from "./outcome.ts";

/** How long a model may take to flush its output after an ending that nobody wants to wait for. */
const GRACE_MS = 500;

/** Endings after which nobody waits for a console that does not take its output. */
export const IMPATIENT: ReadonlySet<OutcomeKind> = new Set(["timeout", "signal", "left", "stopped", "internal"]);

/**
 * How long code may take to load, and again to begin, before it is taken for an endless loop: at least, and in what it took at
 * first.
 */
export const PATIENCE = { leastMs: 10_000, factor: 20 } as const;

/** How long threads that do nothing but look whether they are to end may take to see it. */
const STUCK_MS = 5000;

/** Waits for those who would be there at once, were they not in an endless loop. */
export async function withinPatience(work: Promise<unknown>): Promise<void> {
  await happensBefore(work, performance.now() + STUCK_MS);
}

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
