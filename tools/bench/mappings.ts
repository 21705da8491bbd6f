/** What /proc/PID/smaps says. */

/** A field of a mapping, or of smaps_rollup, in KiB. */
export function sizeOf(mapping: string, field: "Rss" | "Pss"): number {
  return Number(mapping.match(new RegExp(`^${field}: +(\\d+) kB$`, "m"))?.[1] ?? 0);
}

/** The mappings of a process, a text each: where it is and what, then its fields. */
export function mappingsOf(process: number | "self"): string[] {
  return Deno.readTextFileSync(`/proc/${process}/smaps`).split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
}
