/** The figures as a table for people. */

import type { Figure, Value } from "./harness.ts";

/** One line a figure, with its target; what misses it is marked. */
export function formatReport(
  host: Record<string, string | number>,
  figures: Record<string, Figure>,
  values: Record<string, Value>,
): string {
  const lines = [Object.entries(host).map(([name, value]) => `${name} ${value}`).join(", ")];
  for (const [key, { what, target }] of Object.entries(figures)) {
    const value = values[key];
    const number = value === null ? "-" : typeof value === "number" ? String(value) : "";
    const verdict = target === undefined ? "" : `  target ${target}${Number(number) > target ? "  MISSED" : ""}`;
    lines.push(`${key.padEnd(28)}${number.padStart(9)}  ${what}${verdict}`);
    if (value === null || typeof value === "number") continue;
    for (const [part, amount] of Object.entries(value)) {
      lines.push(`${"".padEnd(28)}${String(amount).padStart(9)}  ${part}`);
    }
  }
  return lines.join("\n");
}
