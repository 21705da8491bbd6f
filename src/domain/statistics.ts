/** What a domain counts while it runs. */

import { clock } from "../linux/calls.ts";
import { exitName } from "../kvm/run_page.ts";
import { MAX_SERVERS } from "../ioreq/abi.ts";
import type { ControlBlock } from "./control_block.ts";

/** Counted since the domain was made; times in milliseconds. */
export interface Statistics {
  /** Exits by KVM's reason. */
  readonly exits: Readonly<Record<string, number>>;
  /** Exits by I/O port, most first. */
  readonly ports: readonly { readonly port: number; readonly exits: number }[];
  /** Requests that each ioreq server answered. */
  readonly servers: readonly { readonly id: number; readonly requests: number }[];
  /** Time of each vCPU in KVM_RUN, halted included, and outside it. */
  readonly vcpus: readonly { readonly guestMs: number; readonly outsideMs: number }[];
}

const startTicks = clock(), startMs = performance.now();

/** Reads the counters; exact once the domain has stopped, else of some moment just now. */
export function statisticsOf(control: ControlBlock): Statistics {
  const ticksPerMs = (clock() - startTicks) / (performance.now() - startMs);
  const exits: Record<string, number> = {};
  const ports = new Map<number, number>();
  const requests = new Float64Array(MAX_SERVERS);
  const vcpus = Array.from({ length: control.vcpus }, (_, id) => {
    const record = control.vcpu(id);
    record.exits.forEach((count, reason) => {
      if (count > 0) exits[exitName(reason)] = (exits[exitName(reason)] ?? 0) + count;
    });
    control.portCounts(id).forEach((count, port) => {
      if (count > 0) ports.set(port, (ports.get(port) ?? 0) + count);
    });
    record.served.forEach((count, server) => requests[server] += count);
    const { guest, outside } = record.ticks;
    return { guestMs: guest / ticksPerMs, outsideMs: outside / ticksPerMs };
  });
  return {
    exits,
    ports: [...ports].map(([port, count]) => ({ port, exits: count })).sort((one, other) => other.exits - one.exits),
    servers: Array.from(requests, (count, id) => ({ id, requests: count }))
      .filter(({ id }) => control.servers.server(id).exists),
    vcpus,
  };
}
