/**
 * A program for vmap_limit.test.ts: maps areas until the host's limit of mappings, works there, unmaps some and goes on.
 * It is a process of its own, whose mappings are its own. Prints a {@linkcode Report} for each kind of areas, as JSON.
 */

import { MappingLimitError } from "../../src/linux/mapping.ts";
import { type Mfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { type Bank, MachineMemory } from "../../src/memory/bank.ts";
import { Vmap, type VmapArea } from "../../src/memory/vmap.ts";
import { mappingsIn, openDescriptors } from "../linux/process.ts";
import { Thread } from "../linux/threads.ts";
import { firstWords } from "./vmap_machine.ts";

/** What holds when the process has come to its limit. */
export interface Report {
  readonly areas: number;
  readonly mappings: number;
  /** What should not have been. */
  readonly problems: string[];
}

const FRAMES_PER_AREA = 8, FRAMES_PER_BANK = 64, UNMAPPED = 100;
const ALL_ADDRESSES = 2 ** 47;

/** The frames of the area with that number, scattered over the banks. */
function scattered(banks: readonly Bank[], area: number): Mfn[] {
  return Array.from({ length: FRAMES_PER_AREA }, (_, index) => {
    const { firstMfn } = banks[(area + index) % banks.length];
    return firstMfn + (area * 5 + index * 11) % FRAMES_PER_BANK as Mfn;
  });
}

/** The same, in a row. */
function contiguous(banks: readonly Bank[], area: number): Mfn[] {
  const first = banks[area % banks.length].firstMfn + area % (FRAMES_PER_BANK - FRAMES_PER_AREA);
  return Array.from({ length: FRAMES_PER_AREA }, (_, index) => first + index as Mfn);
}

async function explore(framesOf: (banks: readonly Bank[], area: number) => Mfn[]): Promise<Report> {
  using machine = new MachineMemory();
  const banks = Array.from({ length: 3 }, () => machine.allocate("vmap-test", FRAMES_PER_BANK, 1));
  for (const { directmap, firstMfn } of banks) {
    const words = new Uint32Array(directmap.buffer);
    for (let frame = 0; frame < FRAMES_PER_BANK; frame++) words[frame * PAGE_SIZE / 4] = firstMfn + frame;
  }
  using vmap = new Vmap(machine);
  const areas: { area: VmapArea; mfns: Mfn[] }[] = [], problems: string[] = [];
  const require = (condition: boolean, problem: string) => void (condition || problems.push(problem));
  const shows = (area: VmapArea, mfns: readonly Mfn[]) => firstWords(area).join() === mfns.join();
  const isRefused = (body: () => void) => {
    try {
      body();
    } catch (error) {
      if (error instanceof MappingLimitError) return true;
      throw error;
    }
    return false;
  };
  const fill = () => {
    for (;;) {
      const mfns = framesOf(banks, areas.length);
      if (isRefused(() => areas.push({ area: vmap.vmap(mfns), mfns }))) return;
    }
  };

  fill();
  const count = areas.length, mappings = mappingsIn(0n, ALL_ADDRESSES).length;
  // The arena is taken from its end: this is all of it that was ever in use, and the free pages before that.
  const arena = areas.at(-1)!.area.address,
    sizeBytes = Number(areas[0].area.address - arena) + FRAMES_PER_AREA * PAGE_SIZE;
  const inArena = mappingsIn(arena, sizeBytes).length;
  for (let attempt = 0; attempt < 3; attempt++) fill();
  require(areas.length === count && vmap.areas === count, "what was refused was given a little later");
  require(mappingsIn(arena, sizeBytes).length === inArena, "what was refused has left mappings behind");

  const [{ area, mfns }] = areas;
  require(isRefused(() => vmap.replace(area.address, scattered(banks, 1))), "a replacement was not refused");
  require(shows(area, mfns), "a refused replacement shows");
  vmap.retire(area.address);
  require(firstWords(area).every((word) => word === 0), "an area cannot be retired at the limit");
  await work();

  for (const { area } of areas.splice(-UNMAPPED)) vmap.vunmap(area.address);
  fill();
  require(areas.length >= count, "what was unmapped cannot be mapped again");
  require(areas.slice(1).every(({ area, mfns }) => shows(area, mfns)), "an area does not show its frames");
  for (const { area } of areas) vmap.vunmap(area.address);
  require(vmap.areas === 0 && mappingsIn(arena, sizeBytes).length === 1, "unmapped areas have left mappings behind");
  return { areas: count, mappings, problems };
}

/** What the engine needs mappings for: a heap that grows, buffers, a thread. */
async function work(): Promise<void> {
  const objects = Array.from({ length: 1_000_000 }, (_, index) => ({ index }));
  const buffers = Array.from({ length: 200 }, () => new Uint8Array(1 << 20).fill(1));
  using thread = new Thread<number>(import.meta.url, "sum", [objects.length, buffers.length]);
  await thread.result;
}

/** In the Worker of {@linkcode work}. */
export function sum(numbers: number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}

if (import.meta.main) {
  const reports = { scattered: await explore(scattered), contiguous: await explore(contiguous) };
  const descriptors = openDescriptors().filter((target) => target.startsWith("/memfd:vmap-test"));
  console.log(JSON.stringify({ reports, descriptors }));
}
