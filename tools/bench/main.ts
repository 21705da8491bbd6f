/**
 * `deno task bench [--json] [--quick] [NAME...]`: measures what docs/performance.md promises.
 *
 * Prints a table; with `--json` one object on stdout and nothing else. `--quick` shows in a few seconds that everything
 * can be measured, not what it measures. Names choose benchmarks; without them all are run.
 */

import { parseArgs } from "@std/cli";
import { Kvm, KvmUnavailable } from "../../src/kvm/kvm.ts";
import { STATUS } from "../../src/domain/outcome.ts";
import { blockBackend } from "./block_backend.ts";
import { dispatch } from "./dispatch.ts";
import { events } from "./events.ts";
import { exits } from "./exits.ts";
import type { Benchmark, Value } from "./harness.ts";
import { hypercalls } from "./hypercalls.ts";
import { ioreq } from "./ioreq.ts";
import { manyVcpus } from "./many_vcpus.ts";
import { notifications } from "./notifications.ts";
import { patches } from "./patches.ts";
import { platformIoreq } from "./platform_ioreq.ts";
import { qemu } from "./qemu.ts";
import { formatReport } from "./report.ts";
import { regions } from "./regions.ts";
import { revokes } from "./revokes.ts";
import { resident } from "./resident.ts";
import { startUp } from "./start_up.ts";
import { storageDaemon } from "./storage_daemon.ts";
import { storm } from "./storm.ts";
import { traceCost } from "./trace_cost.ts";
import { virtioDisk } from "./virtio_disk.ts";
import { violations } from "./violations.ts";
import { vmap } from "./vmap.ts";

/** In this order they run and are reported. */
const BENCHMARKS: Record<string, Benchmark> = {
  "exits": exits,
  "platform-ioreq": platformIoreq,
  "ioreq": ioreq,
  "qemu": qemu,
  "notifications": notifications,
  "hypercalls": hypercalls,
  "events": events,
  "many-vcpus": manyVcpus,
  "trace-cost": traceCost,
  "dispatch": dispatch,
  "start-up": startUp,
  "resident": resident,
  "vmap": vmap,
  "regions": regions,
  "violations": violations,
  "revokes": revokes,
  "storm": storm,
  "patches": patches,
  "virtio-disk": virtioDisk,
  "storage-daemon": storageDaemon,
  "block-backend": blockBackend,
};

const SCHEMA = 1;

async function main(args: string[]): Promise<number> {
  const unknown: string[] = [];
  const options = parseArgs(args, {
    boolean: ["json", "quick"],
    unknown: (argument: string, key?: string) => key === undefined ? true : unknown.push(argument) < 0,
  });
  const names = options._.length > 0 ? options._.map(String) : Object.keys(BENCHMARKS);
  unknown.push(...names.filter((name) => !Object.hasOwn(BENCHMARKS, name)));
  if (unknown.length > 0) {
    console.error(`bench: unknown ${unknown[0]}; takes --json, --quick and ${Object.keys(BENCHMARKS).join(", ")}`);
    return STATUS.USAGE;
  }
  try {
    Kvm.open()[Symbol.dispose]();
  } catch (error) {
    if (!(error instanceof KvmUnavailable)) throw error;
    console.error(`bench: ${error.message}`);
    return STATUS.HOST;
  }
  const values: Record<string, Value> = {};
  for (const name of names) {
    console.error(`bench: ${name} ...`);
    Object.assign(values, await BENCHMARKS[name].measure({ quick: options.quick === true }));
  }
  const figures = Object.assign({}, ...names.map((name) => BENCHMARKS[name].figures));
  console.log(
    options.json ? JSON.stringify({ schema: SCHEMA, host: host(), ...values }) : formatReport(host(), figures, values),
  );
  return STATUS.OK;
}

/** What the figures depend on. */
function host() {
  const cpu = Deno.readTextFileSync("/proc/cpuinfo").match(/^model name\s*: (.*)$/m)?.[1] ?? "unknown";
  return { kernel: Deno.osRelease(), cpu, cores: navigator.hardwareConcurrency, deno: Deno.version.deno };
}

Deno.exit(await main(Deno.args));
