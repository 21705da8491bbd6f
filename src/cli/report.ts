/** What a run counted, for people (--stats) and for programs (--json). */

import type { Outcome } from "../domain/outcome.ts";
import { REGION_PARTS, type Statistics } from "../domain/statistics.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import { drawPhysicalMap, type MapPart, PLATFORM_PARTS } from "./physical_map.ts";
import { UsageError } from "../machine/options.ts";

/** Characters of the longest bar. */
const WAIT_BAR = 40;

const MOST_PORTS = 16, MOST_VCPUS = 32;

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
    servers: statistics.servers.map(({ ranges, ...server }) => ({
      ...server,
      ranges: ranges.map(({ meanUs, ...range }) => ({ ...range, mean_us: round(meanUs) })),
    })),
    windows: statistics.windows.map(({ meanWaitUs, longestWaitUs, ...window }) => ({
      ...window,
      mean_wait_us: round(meanWaitUs),
      longest_wait_us: round(longestWaitUs),
    })),
    ram: statistics.ram,
    regions: statistics.regions.map(({ parts: _, ...region }) => region),
    ports: statistics.ports.map(({ port, exits }) => ({ port, exits })),
    patches: {
      count: statistics.successions.count,
      longest_ms: round(statistics.successions.longestMs),
      total_ms: round(statistics.successions.totalMs),
    },
    vcpus: statistics.vcpus.map((vcpu) => ({
      guest_ms: round(vcpu.guestMs),
      outside_ms: round(vcpu.outsideMs),
      waiting_ms: round(vcpu.waitingMs),
      halted_ms: round(vcpu.haltedMs),
    })),
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
    ...serverTable(servers),
    ...windowTable(statistics.windows),
    ...ramLine(statistics.ram),
    ...successionLine(statistics.successions),
    "",
    "physical map",
    ...physicalMap(statistics),
    "",
    "vcpu       in guest ms   halted ms   waiting ms   outside ms",
    ...vcpus.slice(0, MOST_VCPUS).map(({ guestMs, haltedMs, waitingMs, outsideMs }, id) =>
      String(id).padEnd(8) + ms(guestMs, 14) + ms(haltedMs, 12) + ms(waitingMs, 13) + ms(outsideMs, 13)
    ),
    ...(vcpus.length > MOST_VCPUS ? [`... and ${vcpus.length - MOST_VCPUS} more; --json has all`] : []),
  ].join("\n");
}

function successionLine({ count, longestMs, totalMs }: Statistics["successions"]): string[] {
  if (count === 0) return [];
  const mean = (totalMs / count).toFixed(2);
  return [
    "",
    `for other code the guest was stopped ${count} times: for ${mean} ms, ${longestMs.toFixed(2)} at most`,
  ];
}

function physicalMap({ ram, regions, windows, claims }: Statistics): string[] {
  const parts: MapPart[] = [
    ...PLATFORM_PARTS,
    ...ram.ranges.map((range): MapPart => ({ ...range, kind: "RAM", what: "RAM" })),
    ...regions.map((region): MapPart => {
      const pages = (region.last - region.first + 1) / PAGE_SIZE, perPart = Math.ceil(pages / REGION_PARTS);
      const filled = region.parts.map((count) => count / perPart);
      return { ...region, kind: "region", what: `extended region${regionUse(region)}`, filled };
    }),
    ...windows.map((window): MapPart => ({ ...window, kind: "window", what: `window of server ${window.server}` })),
    ...claims.map((claim): MapPart => ({ ...claim, kind: "window", what: `claimed by server ${claim.server}` })),
  ];
  return drawPhysicalMap(parts, 2 ** 32);
}

function regionUse({ grants, special, device, lent }: Statistics["regions"][number]): string {
  const counts: [number, string][] = [[grants, "granted"], [special, "of the hypervisor"], [device, "of devices"]];
  const used = counts.filter(([pages]) => pages > 0).map(([pages, what]) => `${pages} ${what}`);
  const uses = lent > 0 ? [...used, `${lent} lent to devices`] : used;
  return uses.length === 0 ? "" : `; pages: ${uses.join(", ")}`;
}

/** A line a server and range; "waiting" is the time from a request to its answer. */
function serverTable(servers: Statistics["servers"]): string[] {
  if (servers.length === 0) return [];
  return [
    "server  range                            requests    mean us",
    ...servers.flatMap(({ id, requests, unhandled, outside, ranges }) => [
      `${String(id).padEnd(8)}${"all".padEnd(32)}${String(requests).padStart(9)}` +
      (unhandled > 0 ? `   (${unhandled} not taken)` : "") +
      (outside === undefined ? "" : `   (${outside.count} outside its memory, last ${hex(outside.last)})`),
      ...ranges.map(({ kind, first, last, requests, meanUs }) =>
        `        ${`${kind} ${hex(first)}-${hex(last)}`.padEnd(32)}${String(requests).padStart(9)}` +
        meanUs.toFixed(2).padStart(11)
      ),
    ]),
  ];
}

/** A line a window, and below it how many waits took how long. */
function windowTable(windows: Statistics["windows"]): string[] {
  return windows.flatMap((window) => [
    `window of server ${window.server}, ${hex(window.first)}-${hex(window.last)}, by ${window.transport}: ` +
    `${window.violations} violations, ${window.maps} pages mapped, ${window.revokes} revoked` +
    (window.retries > 0 ? `, ${window.retries} asked again` : ""),
    ...waitTable(window),
  ]);
}

function waitTable({ waits, meanWaitUs, longestWaitUs }: Statistics["windows"][number]): string[] {
  if (waits.length === 0) return [];
  const most = Math.max(...waits), first = waits.findIndex((count) => count > 0);
  return [
    `  waits: mean ${meanWaitUs.toFixed(1)} us, longest ${longestWaitUs.toFixed(1)} us`,
    ...waits.map((count, power) =>
      `  up to ${String(2 ** power).padStart(8)} us ${String(count).padStart(9)} ${
        "#".repeat(Math.ceil(count / most * WAIT_BAR))
      }`.trimEnd()
    ).slice(first),
  ];
}

function ramLine({ pages, ballooned, populated }: Statistics["ram"]): string[] {
  if (ballooned === 0 && populated === undefined) return [];
  const onDemand = populated === undefined ? "" : `, ${populated} populated on demand`;
  return [`RAM: ${pages} pages, ${ballooned} given back${onDemand}`];
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function ms(value: number, width: number): string {
  return value.toFixed(2).padStart(width);
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
