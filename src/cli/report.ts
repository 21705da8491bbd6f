/** What a run counted, for people (--stats) and for programs (--json). */

import type { Outcome } from "../domain/outcome.ts";
import type { Statistics } from "../domain/statistics.ts";
import { UsageError } from "../machine/options.ts";

const MOST_PORTS = 16;

/** The report of `--json` (schema 1). */
export function jsonReport(outcome: Outcome, description: string, statistics: Statistics, wallMs: number) {
  return {
    schema: 1,
    outcome: outcome.kind,
    status: outcome.status,
    reason: description,
    vcpu: outcome.vcpu ?? null,
    rip: outcome.rip === undefined ? null : `0x${outcome.rip.toString(16)}`,
    wall_ms: round(wallMs),
    exits: statistics.exits,
    servers: statistics.servers,
    ports: statistics.ports.map(({ port, exits }) => ({ port, exits })),
    vcpus: statistics.vcpus.map((vcpu) => ({ guest_ms: round(vcpu.guestMs), outside_ms: round(vcpu.outsideMs) })),
  };
}

/** Writes the report as one line to `path`, or to stderr for "-". @throws {UsageError} the file cannot be written */
export function writeJson(path: string, report: unknown): void {
  const line = JSON.stringify(report);
  if (path === "-") return console.error(line);
  try {
    Deno.writeTextFileSync(path, line + "\n");
  } catch (error) {
    throw new UsageError(`--json ${path}: ${(error as Error).message}`);
  }
}

/** Tables for stderr. */
export function formatStatistics(statistics: Statistics, wallMs: number): string {
  const { exits, ports, servers, vcpus } = statistics;
  const total = Object.values(exits).reduce((sum, count) => sum + count, 0);
  return [
    `wall ${wallMs.toFixed(1)} ms, ${total} exits`,
    ...table("exits", Object.entries(exits).sort((one, other) => other[1] - one[1])),
    ...table("port", ports.slice(0, MOST_PORTS).map(({ port, exits }) => [`0x${port.toString(16)}`, exits])),
    ...table("server", servers.map(({ id, requests }) => [String(id), requests])),
    "vcpu        in guest ms    outside ms",
    ...vcpus.map(({ guestMs, outsideMs }, id) =>
      `${String(id).padEnd(8)}${guestMs.toFixed(2).padStart(15)}${outsideMs.toFixed(2).padStart(14)}`
    ),
  ].join("\n");
}

function table(title: string, rows: [string, number][]): string[] {
  if (rows.length === 0) return [];
  return [
    `${title.padEnd(20)}   count`,
    ...rows.map(([name, count]) => `${name.padEnd(20)}${String(count).padStart(8)}`),
  ];
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}
