/** `--trace FILE`: the last requests of each vCPU as Chrome trace events, which Perfetto shows. */

import { TYPE } from "../ioreq/abi.ts";
import type { TracedRequest } from "../domain/statistics.ts";
import { UsageError } from "../machine/options.ts";

/** "Processes" of the picture: what the vCPUs waited for, and what the servers did. */
const VCPUS = 1, SERVERS = 2;

const TYPE_NAMES = new Map<number, string>(Object.entries(TYPE).map(([name, type]) => [type, name]));

/** The trace in the format of Chrome's trace viewer ("Trace Event Format", JSON object form). Times are microseconds. */
export function chromeTrace(requests: readonly TracedRequest[]) {
  const vcpus = new Set(requests.map(({ vcpu }) => vcpu)), servers = new Set(requests.map(({ server }) => server));
  return {
    displayTimeUnit: "ns",
    traceEvents: [
      named("process_name", VCPUS, 0, "vCPUs"),
      named("process_name", SERVERS, 0, "ioreq servers"),
      ...Array.from(vcpus, (vcpu) => named("thread_name", VCPUS, vcpu, `vCPU ${vcpu}`)),
      ...Array.from(servers, (server) => named("thread_name", SERVERS, server, `ioreq server ${server}`)),
      ...requests.flatMap(events),
    ],
  };
}

/** Writes the trace to `path`. @throws {UsageError} the file cannot be written */
export function writeTrace(path: string, requests: readonly TracedRequest[]): void {
  try {
    Deno.writeTextFileSync(path, JSON.stringify(chromeTrace(requests)) + "\n");
  } catch (error) {
    throw new UsageError(`--trace ${path}: ${(error as Error).message}`);
  }
}

/** The request on the vCPU's line; on the server's the same as an asynchronous event, since several may overlap. */
function events(request: TracedRequest, index: number) {
  const { vcpu, server, type, address, size, write, end, sentUs, durationUs } = request;
  const what = `${TYPE_NAMES.get(type) ?? `type ${type}`} ${write ? "write" : "read"} 0x${address.toString(16)}`;
  const args = { server, vcpu, size, end };
  const common = { name: what, cat: "ioreq", args };
  return [
    { ...common, ph: "X", ts: sentUs, dur: durationUs, pid: VCPUS, tid: vcpu },
    { ...common, ph: "b", ts: sentUs, id: index, pid: SERVERS, tid: server },
    { ...common, ph: "e", ts: sentUs + durationUs, id: index, pid: SERVERS, tid: server },
  ];
}

function named(what: "process_name" | "thread_name", pid: number, tid: number, name: string) {
  return { ph: "M", name: what, pid, tid, args: { name } };
}
