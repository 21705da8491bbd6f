/**
 * many_vcpus_run.ts ROUNDS: boots guests/ioreq-many with 1024 vCPUs on native carriers, prints as JSON when its requests
 * came, and ends. Without ROUNDS it goes on for ever, prints when every vCPU has asked, and ends when stdin does.
 */

import { path } from "./harness.ts";
import { TIME, type TimedConfiguration } from "./many_vcpus_model.ts";
import { startMachine } from "../../src/machine/machine.ts";

export const VCPUS = 1024;

/** As the device model has seen it; milliseconds since 1970. */
export interface Times {
  readonly first: number;
  readonly all: number;
  readonly last: number;
}

/** More rounds than anybody waits for. */
const FOR_EVER = 65534;

const LOOK_MS = 20;

if (import.meta.main) {
  const [rounds] = Deno.args;
  const times = new SharedArrayBuffer(3 * 8), at = new Float64Array(times);
  const configuration: TimedConfiguration = { address: 0xfd00_0000, vcpus: VCPUS, times };
  const machine = await startMachine({
    image: path("guests/ioreq-many.img"),
    vcpus: VCPUS,
    carrier: "native",
    cmdline: `rounds=${rounds ?? FOR_EVER}`,
    deviceModels: [{ module: path("tools/bench/many_vcpus_model.ts"), configuration }],
  }, { input: -1, output: -1, escape: null });
  if (rounds !== undefined) {
    const { status, reason } = await machine.ended;
    if (status !== 0) throw new Error(`ioreq-many: ${reason}`);
  } else {
    while (at[TIME.ALL] === 0) await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  console.log(JSON.stringify({ first: at[TIME.FIRST], all: at[TIME.ALL], last: at[TIME.LAST] } satisfies Times));
  if (rounds === undefined) { for await (const _ of Deno.stdin.readable); }
  await machine[Symbol.asyncDispose]();
  Deno.exit(0);
}
