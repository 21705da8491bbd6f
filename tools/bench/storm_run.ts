/** A run of guests/revoke under tools/bench/storm_model.ts: what is mapped, taken back and moved, and what went wrong. */

import { withCounts } from "./control_blocks.ts";
import { path } from "./harness.ts";
import { STORM, type StormConfiguration } from "./storm_model.ts";
import { startMachine } from "../../src/machine/machine.ts";

export interface StormOptions {
  readonly vcpus: number;
  /** Visits of each vCPU: the guest's operations, and what brings forth the others. */
  readonly rounds: number;
  readonly seed: number;
  readonly transport?: "fault" | "exit";
  /** Default 64. */
  readonly pages?: number;
  /** The device model's operations with each violation. Default 4. */
  readonly operations?: number;
}

export interface Storm {
  /** Visits, maps, revocations, moves. */
  readonly operations: number;
  /** One line each. */
  readonly errors: readonly string[];
  /** Accesses that left the guest though the transport was "fault". */
  readonly exits: number;
  readonly violations: number;
  readonly revokes: number;
  /** The longest, and the mean. */
  readonly worstRevokeUs: number;
  readonly meanRevokeUs: number;
}

const ADDRESS = 0xfd00_0000, PORT = 0x510, PAGE_BYTES = 4096;

/** Runs it to its end. Never rejects for what goes wrong with pages: those are errors of the result. */
export async function runStorm(options: StormOptions): Promise<Storm> {
  const { vcpus, rounds, seed, transport = "fault", pages = 64, operations = 4 } = options;
  const results = new SharedArrayBuffer(STORM.LENGTH * 8), at = new Float64Array(results);
  const configuration: StormConfiguration = {
    address: ADDRESS,
    pages,
    port: PORT,
    seed,
    transport,
    operations,
    results,
  };
  const what = {
    image: path("guests/revoke.img"),
    vcpus,
    cmdline: `address=${ADDRESS} size=${pages * PAGE_BYTES} port=${PORT} rounds=${rounds}`,
    deviceModels: [{ module: path("tools/bench/storm_model.ts"), configuration }],
  };
  const { result: machine, counts } = await withCounts(() =>
    startMachine(what, { input: -1, output: -1, escape: null })
  );
  const errors: string[] = [];
  try {
    const { status, reason } = await machine.ended;
    if (status !== 0) errors.push(`the guest: ${reason}`);
    if (at[STORM.ERRORS] > 0) errors.push(`${at[STORM.ERRORS]} operations failed`);
    if (counts.references !== 0) errors.push(`${counts.references} references to frames are left`);
    if (counts.openFaults !== 0) errors.push(`${counts.openFaults} faults are open`);
    const { violations, maps, revokes } = counts.tally;
    const exits = machine.statistics.exits;
    const unasked = Object.keys(exits).filter((reason) => !["IO", "MMIO", "HLT", "INTR", "SHUTDOWN"].includes(reason));
    if (unasked.length > 0) errors.push(`exits that nobody asked for: ${unasked.join(", ")}`);
    if (maps < revokes) errors.push(`${revokes} pages were revoked, and ${maps} mapped`);
    return {
      operations: vcpus * rounds + at[STORM.MAPS] + at[STORM.REVOKES] + at[STORM.MOVES],
      errors,
      exits: transport === "fault" ? exits.MMIO ?? 0 : 0,
      violations,
      revokes: at[STORM.TIMED],
      worstRevokeUs: at[STORM.WORST_US],
      meanRevokeUs: at[STORM.SUM_US] / at[STORM.TIMED],
    };
  } finally {
    await machine[Symbol.asyncDispose]();
  }
}
