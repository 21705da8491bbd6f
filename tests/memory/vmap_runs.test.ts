import { assertEquals, assertThrows } from "@std/assert";
import { type Mfn, SUPERPAGE_FRAMES } from "../../src/memory/address.ts";
import { type Bank, MachineMemory } from "../../src/memory/bank.ts";
import { contiguousRuns, type Run, RunRecord, runsOf } from "../../src/memory/vmap_runs.ts";
import { PAGE_WORDS } from "../../src/memory/vmap_space.ts";

/** Two banks whose mfns are neighbours, and one behind a gap. */
function threeBanks(machine: MachineMemory): { one: Bank; next: Bank; far: Bank } {
  const one = machine.allocate("one", SUPERPAGE_FRAMES, 0);
  const next = machine.allocate("next", 3, 0);
  return { one, next, far: machine.allocate("far", 8, 0) };
}

/** Each run as mfn + pages. */
function short(runs: readonly Run[]): string {
  return runs.map(({ mfn, pages }) => `${mfn}+${pages}`).join(" ");
}

Deno.test("runsOf() joins what is contiguous in one bank, and nothing else", () => {
  using machine = new MachineMemory();
  const { one, next, far } = threeBanks(machine);
  const [a, b, c] = [one.firstMfn, next.firstMfn, far.firstMfn];
  assertEquals(b, a + SUPERPAGE_FRAMES, "neighbours");
  const table: [mfns: number[], runs: string][] = [
    [[a], `${a}+1`],
    [[a, a + 1, a + 2], `${a}+3`],
    [[a + 2, a + 1, a], `${a + 2}+1 ${a + 1}+1 ${a}+1`],
    [[a, a, a + 1], `${a}+1 ${a}+2`],
    [[b - 2, b - 1, b, b + 1], `${b - 2}+2 ${b}+2`],
    [[b + 2, c, c + 1, a], `${b + 2}+1 ${c}+2 ${a}+1`],
  ];
  for (const [mfns, expected] of table) {
    const runs = runsOf(machine, mfns as Mfn[]);
    assertEquals(short(runs), expected);
    for (const { bank, mfn } of runs) assertEquals(bank, machine.bankOf(mfn));
  }
});

Deno.test("contiguousRuns() gives one run a bank", () => {
  using machine = new MachineMemory();
  const { one, next } = threeBanks(machine);
  const [a, b] = [one.firstMfn, next.firstMfn];
  assertEquals(short(contiguousRuns(machine, a, 7)), `${a}+7`);
  assertEquals(short(contiguousRuns(machine, a, SUPERPAGE_FRAMES)), `${a}+${SUPERPAGE_FRAMES}`);
  assertEquals(short(contiguousRuns(machine, b - 1 as Mfn, 4)), `${b - 1}+1 ${b}+3`);
});

Deno.test("no frames, and frames of no bank, are refused", () => {
  using machine = new MachineMemory();
  const { one, next } = threeBanks(machine), a = one.firstMfn;
  assertThrows(() => runsOf(machine, []), RangeError, "no machine frames");
  for (const foreign of [0, 1, a - 1, next.firstMfn + 3, 2 ** 28, 2 ** 53, -1, 0.5, a + 0.5, NaN, Infinity] as Mfn[]) {
    assertThrows(() => runsOf(machine, [foreign]), RangeError, "is in no bank");
    assertThrows(() => runsOf(machine, [a, foreign, a]), RangeError, "is in no bank");
    assertThrows(() => contiguousRuns(machine, foreign, 1), RangeError, "is in no bank");
  }
  assertThrows(() => contiguousRuns(machine, next.firstMfn, 4), RangeError, "is in no bank");
  for (const count of [0, -1, 0.5, NaN, Infinity]) {
    assertThrows(() => contiguousRuns(machine, a, count), RangeError, "machine frames cannot be mapped");
  }
});

Deno.test("RunRecord gives back what was noted; a bank that is gone is none, even if another has its mfns", () => {
  using machine = new MachineMemory();
  const { one, far } = threeBanks(machine);
  const record = new RunRecord(machine, new Int32Array(20 * PAGE_WORDS));
  const runs: Run[] = [
    { bank: one, mfn: one.firstMfn + 4, pages: 2 },
    { bank: far, mfn: far.firstMfn, pages: 3 },
    { bank: null, mfn: 0, pages: 1 },
  ];
  let page = 5;
  for (const run of runs) {
    record.write(page, run);
    page += run.pages;
  }
  assertEquals([record.count(5, 11), record.count(5, 7)], [3, 1]);
  assertEquals(record.read(5, 11), runs);
  far[Symbol.dispose]();
  assertEquals(record.read(5, 11), [runs[0], { ...runs[1], bank: null }, runs[2]]);
  assertEquals(machine.allocate("its successor", 8, 0).firstMfn, far.firstMfn);
  assertEquals(record.read(5, 11), [runs[0], { ...runs[1], bank: null }, runs[2]]);
});
