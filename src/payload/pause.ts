/** What an operation on a running domain comes to. */

/** What hooks have thrown that have no say, since what they follow is done: a line each. */
export interface Aftermath {
  readonly failed: readonly string[];
}

/** What an operation that has the guest stand still has taken. */
export interface Pause extends Aftermath {
  /** Milliseconds for which vCPUs were kept out of the guest. */
  readonly pausedMs: number;
}

/** How long it took, for people. */
export function describePause({ pausedMs, failed }: Pause): string {
  return `the guest stood still for ${pausedMs.toFixed(1)} ms${describeAftermath({ failed })}`;
}

/** What is to be said after the rest. */
export function describeAftermath({ failed }: Aftermath): string {
  return failed.map((line) => `; but ${line}`).join("");
}
