/** What this process holds that a leak would add to. */

/** Counted by every leak test; each has more of its own. */
export interface Holdings {
  readonly descriptors: number;
  readonly threads: number;
}

export function holdings(): Holdings {
  return { descriptors: openDescriptors(), threads: entries("/proc/self/task") };
}

/** How many there are; one of them is the look's own. */
export function openDescriptors(): number {
  return entries("/proc/self/fd");
}

function entries(path: string): number {
  return Array.from(Deno.readDirSync(path)).length;
}

/**
 * Threads of terminated Workers end a little later: what is left when nothing ends any more. Needs --expose-gc.
 * @param turns of 20 ms in which nothing may have ended
 */
export async function settledHoldings<Counted extends Holdings>(count: () => Counted, turns: number): Promise<Counted> {
  let last = count();
  for (let unchanged = 0; unchanged < turns;) {
    (globalThis as unknown as { gc(): void }).gc();
    await new Promise((resolve) => setTimeout(resolve, 20));
    const now = count();
    unchanged = now.threads < last.threads || now.descriptors < last.descriptors ? 0 : unchanged + 1;
    last = now;
  }
  return last;
}
