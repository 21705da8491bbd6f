/**
 * vmap_areas.ts scattered|contiguous AREAS ROUNDS: maps and unmaps so many areas in turn with vmap_areas.c, and looks
 * them up. Prints {@linkcode Measured} as JSON. It is a process of its own, as mappings are limited in each.
 */

import { type Mfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { MachineMemory } from "../../src/memory/bank.ts";
import { Vmap, type VmapArea } from "../../src/memory/vmap.ts";
import { CProgram } from "./c_program.ts";
import { clockNs, PROCESS_CPU_CLOCK } from "./clock.ts";
import { median } from "./harness.ts";

/** Medians of the rounds. */
export interface Measured {
  /** CPU time of a call, or of both for an area, and that against C; null: there is no compiler. */
  readonly calls: Record<"vmap" | "vunmap" | "both", { readonly us: number; readonly ratio: number | null }>;
  readonly lookupNs: number;
}

const FRAMES_PER_AREA = 8, BANKS = 72, FRAMES_PER_BANK = 4096;
/** Rounds until everything is compiled and the arena's table is in memory. */
const WARM_UP_ROUNDS = 4;
const LOOKUPS = 200_000;

const [layout, areaCount, rounds] = [Deno.args[0], Number(Deno.args[1]), Number(Deno.args[2])];

let state = 1;

/** As in vmap_areas.c: a linear congruential generator (Numerical Recipes). */
function below(bound: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor(bound * state / 2 ** 32);
}

using machine = new MachineMemory();
using vmap = new Vmap(machine);
const banks = Array.from({ length: BANKS }, (_, index) => machine.allocate(`bank ${index}`, FRAMES_PER_BANK, 0));
const frame = (within: number) => banks[below(BANKS)].firstMfn + below(within) as Mfn;
const lists = Array.from(
  { length: areaCount },
  () => Array.from({ length: FRAMES_PER_AREA }, () => frame(FRAMES_PER_BANK)),
);
const firsts = lists.map(() => frame(FRAMES_PER_BANK - FRAMES_PER_AREA));

const mapAll: () => VmapArea[] = layout === "contiguous"
  ? () => firsts.map((first) => vmap.vmapContiguous(first, FRAMES_PER_AREA))
  : () => lists.map((mfns) => vmap.vmap(mfns));

function unmapAll(areas: readonly VmapArea[]): void {
  for (const { address } of areas) vmap.vunmap(address);
}

/** @returns nanoseconds a lookup */
function lookUp(areas: readonly VmapArea[]): number {
  const addresses = areas.map(({ address }) => address + BigInt(below(FRAMES_PER_AREA * PAGE_SIZE)));
  const startMs = performance.now();
  for (let left = LOOKUPS, index = 0; left > 0; left--) {
    if (vmap.areaOf(addresses[index])?.pages !== FRAMES_PER_AREA) throw new Error("an area was not found");
    index = index + 1 === addresses.length ? 0 : index + 1;
  }
  return (performance.now() - startMs) * 1e6 / LOOKUPS;
}

function cpuNs<Result>(work: () => Result): [result: Result, cpuNs: number] {
  const before = clockNs(PROCESS_CPU_CLOCK);
  return [work(), clockNs(PROCESS_CPU_CLOCK) - before];
}

/** What the rounds took; in C is what the same took there. */
class Call {
  readonly #ns: number[] = [];
  readonly #ratios: number[] = [];

  add(ns: number, inC: number | undefined): void {
    this.#ns.push(ns);
    if (inC !== undefined) this.#ratios.push(ns / inC);
  }

  get result(): { us: number; ratio: number | null } {
    return {
      us: median(this.#ns) / areaCount / 1000,
      ratio: this.#ratios.length > 0 ? median(this.#ratios) : null,
    };
  }
}

await using program = await CProgram.start("vmap_areas", [layout, FRAMES_PER_AREA, BANKS, FRAMES_PER_BANK].map(String));
const calls = { vmap: new Call(), vunmap: new Call(), both: new Call() }, lookupsNs: number[] = [];
for (let round = 0; round < WARM_UP_ROUNDS + rounds; round++) {
  const [areas, mapNs] = cpuNs(mapAll);
  const mapInC = await program?.round(areaCount);
  const lookupNs = lookUp(areas);
  const [, unmapNs] = cpuNs(() => unmapAll(areas));
  const unmapInC = await program?.round(areaCount);
  if (round < WARM_UP_ROUNDS) continue;
  calls.vmap.add(mapNs, mapInC?.cpuNs);
  calls.vunmap.add(unmapNs, unmapInC?.cpuNs);
  calls.both.add(mapNs + unmapNs, mapInC && unmapInC && mapInC.cpuNs + unmapInC.cpuNs);
  lookupsNs.push(lookupNs);
}
const measured: Measured = {
  calls: { vmap: calls.vmap.result, vunmap: calls.vunmap.result, both: calls.both.result },
  lookupNs: median(lookupsNs),
};
console.log(JSON.stringify(measured));
