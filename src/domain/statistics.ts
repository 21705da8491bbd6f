/** What a domain counts while it runs. */

import { clock } from "../linux/calls.ts";
import type { Descriptor } from "../linux/descriptor.ts";
import { exitName } from "../kvm/run_page.ts";
import { haltedNanoseconds } from "../kvm/vcpu_statistics.ts";
import { type AddressRange, type Gfn, PAGE_SIZE } from "../memory/address.ts";
import { type RegionTally, tallyOf } from "../memory/region_frames.ts";
import { AREA, TRANSPORT } from "../memory/stage_area.ts";
import { MAX_SERVERS, RANGE } from "../ioreq/abi.ts";
import type { OutsideAccesses } from "../ioreq/notification.ts";
import { ServerView } from "../ioreq/server_view.ts";
import type { ControlBlock } from "./control_block.ts";
import { VCPU_STATE } from "./vcpu_record.ts";

/** Requests within one range of a server. */
export interface RangeStatistics {
  /** What the range is of. */
  readonly kind: "port" | "memory";
  /** The first port or guest-physical address. */
  readonly first: number;
  /** The last one. */
  readonly last: number;
  /** Answered or buffered. */
  readonly requests: number;
  /** Microseconds from a request to its answer. */
  readonly meanUs: number;
}

/** What one ioreq server did. */
export interface ServerStatistics {
  /** 0 to 7. */
  readonly id: number;
  /** Requests that it answered. */
  readonly requests: number;
  /** Accesses that it claimed and could not be sent: its slot was not free, or it had no pages. */
  readonly unhandled: number;
  /** Guest memory that its device model wanted and was not granted; undefined: never. */
  readonly outside: OutsideAccesses | undefined;
  /** The ranges that were asked for, most first. */
  readonly ranges: readonly RangeStatistics[];
}

/** What was shown in a window, and how long vCPUs waited for it. */
export interface WindowStatistics {
  /** Whose window it is. */
  readonly server: number;
  /** The first guest-physical address. */
  readonly first: number;
  /** The last one. */
  readonly last: number;
  /** How violations reach the server. */
  readonly transport: "fault" | "exit";
  /** Accesses that had to wait for the server; several vCPUs at one page are one on the fault transport. */
  readonly violations: number;
  /** Pages mapped, those included that were mapped already. */
  readonly maps: number;
  /** Pages taken back. */
  readonly revokes: number;
  /** Answers to a violation after which the page was not mapped. */
  readonly retries: number;
  /** How many waits took up to 1, 2, 4, ... microseconds, and longer than all before. */
  readonly waits: readonly number[];
  /** Of all waits. */
  readonly meanWaitUs: number;
  /** Of all waits. */
  readonly longestWaitUs: number;
}

/** What stood in an extended region, in pages, at the end or at the moment. */
export interface RegionStatistics extends AddressRange, RegionTally {
  /** Frames in each of {@linkcode REGION_PARTS} parts of the region, the last excepted of the same size. */
  readonly parts: readonly number[];
}

/** Parts of a region that are counted apart. */
export const REGION_PARTS = 64;

/** Where a vCPU's time went, in milliseconds. */
export interface VcpuStatistics {
  /** In KVM_RUN, without {@linkcode haltedMs}. */
  readonly guestMs: number;
  /** Outside KVM_RUN, the wait for servers included. */
  readonly outsideMs: number;
  /** From requests to their answers. */
  readonly waitingMs: number;
  /** Halted in the guest: known when the vCPU has stopped, since KVM does not say it of one that is in KVM_RUN; else 0. */
  readonly haltedMs: number;
}

/** Counted since the domain was made. */
export interface Statistics {
  /** Exits by KVM's reason. */
  readonly exits: Readonly<Record<string, number>>;
  /** Exits by I/O port, most first. */
  readonly ports: readonly { readonly port: number; readonly exits: number }[];
  /** By their ids. */
  readonly servers: readonly ServerStatistics[];
  /** By their addresses. */
  readonly windows: readonly WindowStatistics[];
  /** Pages of RAM: all that the guest may have, those that it gave back, and how many have memory if that comes on demand. */
  readonly ram: {
    /** First and last addresses. */
    readonly ranges: readonly AddressRange[];
    readonly pages: number;
    readonly ballooned: number;
    readonly populated: number | undefined;
  };
  /** By their addresses. */
  readonly regions: readonly RegionStatistics[];
  /** Memory that ioreq servers claim, beside their windows. */
  readonly claims: readonly (AddressRange & { readonly server: number })[];
  /** By their ids. */
  readonly vcpus: readonly VcpuStatistics[];
  /** How often the code was changed under the guest, and for how long vCPUs were kept out of it for that. */
  readonly successions: SuccessionStatistics;
}

/** Successions (docs/live-patching.md). */
export interface SuccessionStatistics {
  /** How many there were. */
  readonly count: number;
  /** The longest of them, in milliseconds. */
  readonly longestMs: number;
  /** All together, in milliseconds. */
  readonly totalMs: number;
}

/** A request as the trace has it. Times are microseconds since the domain was made. */
export interface TracedRequest {
  /** Who asked. */
  readonly vcpu: number;
  /** Who was asked. */
  readonly server: number;
  /** One of the ioreq types (xen/hvm/ioreq.h: PIO 0, COPY 1, PCI_CONFIG 2, INVALIDATE 8). */
  readonly type: number;
  /** The port or the guest-physical address. */
  readonly address: number;
  /** Bytes of the access. */
  readonly size: number;
  /** Whether the guest gave the data. */
  readonly write: boolean;
  /** Whether it was answered, its device model went away, it went through the buffered ring, or was to be tried again. */
  readonly end: "answered" | "gone" | "buffered" | "retried";
  /** When. */
  readonly sentUs: number;
  /** Until the answer. */
  readonly durationUs: number;
}

/** By {@linkcode TRACE_END}. */
const END_NAMES = ["answered", "gone", "buffered", "retried"] as const;

const startTicks = clock(), startMs = performance.now();

/** Ticks of the time-stamp counter in a millisecond, measured since this module was loaded. */
export function ticksPerMs(): number {
  return (clock() - startTicks) / (performance.now() - startMs);
}

const NO_SUCCESSIONS: SuccessionStatistics = { count: 0, longestMs: 0, totalMs: 0 };

/** Reads the counters; exact once the domain has stopped, else of some moment just now. */
export function statisticsOf(
  control: ControlBlock,
  vcpuDescriptors: readonly Descriptor[],
  successions: SuccessionStatistics = NO_SUCCESSIONS,
): Statistics {
  const perMs = ticksPerMs();
  const exits: Record<string, number> = {};
  const ports = new Map<number, number>();
  const requests = new Float64Array(MAX_SERVERS);
  const vcpus = Array.from({ length: control.vcpus }, (_, id): VcpuStatistics => {
    const record = control.vcpu(id);
    record.exits.forEach((count, reason) => {
      if (count > 0) exits[exitName(reason)] = (exits[exitName(reason)] ?? 0) + count;
    });
    record.served.forEach((count, server) => requests[server] += count);
    const { guest, outside } = record.ticks;
    const stopped = record.state === VCPU_STATE.STOPPED;
    const haltedMs = stopped ? (haltedNanoseconds(vcpuDescriptors[id]) ?? 0) / 1e6 : 0;
    return {
      guestMs: Math.max(0, guest / perMs - haltedMs),
      outsideMs: outside / perMs,
      waitingMs: control.trace(id).waited / perMs,
      haltedMs,
    };
  });
  for (let vcpu = 0; vcpu < control.vcpus; vcpu += control.vcpusPerWaiter) {
    control.portCounts(vcpu).forEach((count, port) => {
      if (count > 0) ports.set(port, (ports.get(port) ?? 0) + count);
    });
  }
  return {
    exits,
    ports: [...ports].map(([port, count]) => ({ port, exits: count })).sort((one, other) => other.exits - one.exits),
    windows: windowStatistics(control),
    ram: ramStatistics(control),
    regions: regionStatistics(control),
    claims: claimStatistics(control),
    servers: Array.from(requests, (count, id) => serverStatistics(control, id, count, perMs))
      .filter(({ id, requests, unhandled }) => requests > 0 || unhandled > 0 || control.servers.server(id).exists),
    vcpus,
    successions,
  };
}

function windowStatistics(control: ControlBlock): WindowStatistics[] {
  const windows = control.physicalMap.table.areas.filter(({ state }) => state === AREA.WINDOW);
  return windows.map(({ server, first, count, transport, tally }): WindowStatistics => {
    const { violations, maps, revokes, retries, waits, waitedUs, longestUs } = tally;
    return {
      server,
      first: first * PAGE_SIZE,
      last: (first + count) * PAGE_SIZE - 1,
      transport: transport === TRANSPORT.FAULT ? "fault" as const : "exit" as const,
      violations,
      maps,
      revokes,
      retries,
      waits: waits.slice(0, waits.findLastIndex((count) => count > 0) + 1),
      meanWaitUs: waitedUs / Math.max(1, waits.reduce((sum, count) => sum + count, 0)),
      longestWaitUs: longestUs,
    };
  }).sort((one, other) => one.first - other.first);
}

/** What servers claim, without the windows, which are ranges of theirs as well. */
function claimStatistics(control: ControlBlock): Statistics["claims"] {
  const windows = windowStatistics(control);
  return Array.from(
    { length: MAX_SERVERS },
    (_, server) =>
      control.servers.server(server).ranges[RANGE.MEMORY].list().flatMap(([start, end]) => {
        const claims: { server: number; first: number; last: number }[] = [];
        let first = start;
        for (
          const window of windows.filter((window) =>
            window.server === server && window.first <= end && window.last >= start
          )
        ) {
          if (window.first > first) claims.push({ server, first, last: window.first - 1 });
          first = window.last + 1;
        }
        if (first <= end) claims.push({ server, first, last: end });
        return claims;
      }),
  ).flat();
}

function regionStatistics(control: ControlBlock): RegionStatistics[] {
  const { table, p2m } = control.physicalMap;
  return table.regions.all.map((region) => {
    const part = Math.ceil(region.count / REGION_PARTS);
    return {
      first: region.first * PAGE_SIZE,
      last: (region.first + region.count) * PAGE_SIZE - 1,
      ...tallyOf(region, table, p2m),
      parts: Array.from({ length: REGION_PARTS }, (_, index) => {
        const first = region.first + index * part as Gfn, left = region.count - index * part;
        const { grants, special, device } = tallyOf({ ...region, first, count: clamp(left, 0, part) }, table, p2m);
        return grants + special + device;
      }),
    };
  });
}

function clamp(value: number, least: number, most: number): number {
  return Math.max(least, Math.min(most, value));
}

function ramStatistics(control: ControlBlock): Statistics["ram"] {
  const { table } = control.physicalMap, ram = table.areas.filter(({ state }) => state === AREA.RAM);
  return {
    ranges: ram.map(({ first, count }) => ({ first: first * PAGE_SIZE, last: (first + count) * PAGE_SIZE - 1 })),
    pages: ram.reduce((sum, { count }) => sum + count, 0),
    ballooned: table.ballooned,
    populated: control.populatesOnDemand ? table.populated : undefined,
  };
}

function serverStatistics(control: ControlBlock, id: number, requests: number, perMs: number): ServerStatistics {
  const server = control.servers.server(id);
  const ranges = ([["port", RANGE.PORT], ["memory", RANGE.MEMORY]] as const).flatMap(([kind, type]) =>
    server.ranges[type].tallies().filter((tally) => tally.requests > 0).map((tally): RangeStatistics => ({
      kind,
      first: tally.first,
      last: tally.last,
      requests: tally.requests,
      meanUs: tally.ticks / perMs * 1000 / tally.requests,
    }))
  );
  ranges.sort((one, other) => other.requests - one.requests);
  const outside = server.exists ? new ServerView(server).area!.outside : server.outside;
  return { id, requests, unhandled: server.unhandled, outside: outside.count === 0 ? undefined : outside, ranges };
}

/** What the trace rings hold, in the order in which it was asked. @param since ticks when the domain was made */
export function tracedRequests(control: ControlBlock, since: number): TracedRequest[] {
  const perUs = ticksPerMs() / 1000;
  return Array.from(
    { length: control.vcpus },
    (_, vcpu) =>
      control.trace(vcpu).entries().map(({ sent, ticks, end, ...rest }) => ({
        vcpu,
        sentUs: (sent - since) / perUs,
        durationUs: ticks / perUs,
        end: END_NAMES[end],
        ...rest,
      })),
  ).flat().sort((one, other) => one.sentUs - other.sentUs);
}
