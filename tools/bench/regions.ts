/** What it costs a guest to map a granted page into an extended region, against the p2m's map itself. */

import { boot } from "../../src/testing/boot.ts";
import { Kvm } from "../../src/kvm/kvm.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { type Gfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { BankViews, MachineMemory } from "../../src/memory/bank.ts";
import { P2m, p2mMemory } from "../../src/memory/p2m.ts";
import { PhysicalMap } from "../../src/memory/physical_map.ts";
import { SecondStage } from "../../src/memory/second_stage.ts";
import { STAGE_BYTES, StageTable } from "../../src/memory/stage_table.ts";
import { TRANSPORT } from "../../src/memory/stage_area.ts";
import { alternate, benchmark, median, missing, path, round } from "./harness.ts";

/** The window's first gfn, its server, and its memory's number. */
const FIRST = 0x10_0000 as Gfn, SERVER = 1, MEMORY = 0;

/** Both are done so often in a process before they are timed. */
const WARM_UP = 3;

export const regions = benchmark({
  figures: {
    region_map_ratio_vs_p2m: { what: "a grant mapped into an extended region, against the p2m's map", target: 1.5 },
    region_map_us_per_page: { what: "10 000 grants mapped into an extended region, hypercalls included, us a page" },
    region_unmap_us_per_page: { what: "the same pages unmapped, us a page" },
    region_p2m_us_per_page: { what: "PhysicalMap.map() of 10 000 pages one by one, us a page" },
    region_ram_given_up_pages: { what: "pages of RAM that went for 10 000 pages mapped", target: 0 },
    region_balloon_given_up_pages: { what: "the same with ballooning" },
  },
  async measure({ quick }) {
    const count = quick ? 500 : 10_000, rounds = quick ? 1 : 7;
    const maps: number[] = [], times: RegionRound[] = [];
    const bare = async () => void maps.push(await p2mMap(count));
    await alternate(rounds, async () => void times.push(await inRegion("unpopulated", count)), bare);
    const { givenUp } = await inRegion("ballooned", count);
    const ratios = times.map(({ mapUs }, index) => mapUs / maps[index]);
    const isFault = !Number.isNaN(maps[0]);
    return {
      region_map_ratio_vs_p2m: isFault ? round(median(ratios), 2) : missing("no window by fault, whose map is taken"),
      region_map_us_per_page: round(median(times.map(({ mapUs }) => mapUs)), 2),
      region_unmap_us_per_page: round(median(times.map(({ unmapUs }) => unmapUs)), 2),
      region_p2m_us_per_page: isFault ? round(median(maps), 2) : null,
      region_ram_given_up_pages: Math.max(...times.map(({ givenUp }) => givenUp)),
      region_balloon_given_up_pages: givenUp,
    };
  },
});

interface RegionRound {
  readonly mapUs: number;
  readonly unmapUs: number;
  readonly givenUp: number;
}

/** What a guest says of it. */
async function inRegion(guest: "unpopulated" | "ballooned", count: number): Promise<RegionRound> {
  const cmdline = `count=${count} rounds=${WARM_UP}`;
  await using vm = await boot(path(`guests/${guest}.img`), { cmdline, memory: "256M", timeoutMs: 300_000 });
  const { reason } = await vm.exited, said = vm.console.text;
  const times = /mapped, (\d+) ns each, and unmapped, (\d+) ns each/.exec(said),
    pages = /(\d+) pages of RAM/.exec(said);
  if (times === null || pages === null) throw new Error(`${reason}\n${said}`);
  return { mapUs: Number(times[1]) / 1000, unmapUs: Number(times[2]) / 1000, givenUp: Number(pages[1]) };
}

/** Microseconds a page that the p2m's map takes by itself: a window of the fault transport, page by page; NaN: there is none. */
async function p2mMap(count: number): Promise<number> {
  using stack = new DisposableStack();
  const kvm = stack.use(Kvm.open()), vm = stack.use(kvm.createVm());
  const machine = stack.use(new MachineMemory()), memory = stack.use(p2mMemory());
  const table = new StageTable(stack.use(Mapping.anonymous(STAGE_BYTES, "second stage")).address);
  const map = new PhysicalMap(table, new P2m(memory.address), new BankViews(machine.tableAddress));
  const stage = stack.use(new SecondStage(vm, map));
  if (stage.withoutFaults !== undefined) return NaN;
  const bank = machine.adopt(MemoryFile.create("bench-regions", count * PAGE_SIZE), count, 0);
  table.setMemory(SERVER, MEMORY, new BankViews(machine.tableAddress).find(bank.firstMfn));
  await stage.addWindow(FIRST, count, SERVER, TRANSPORT.FAULT);
  let ms = 0;
  for (let time = 0; time < WARM_UP; time++) {
    const start = performance.now();
    for (let page = 0; page < count; page++) {
      const frame = (page + time * 7919) % count; // not what was there the last time, which would take no mapping
      const result = map.map(SERVER, FIRST + page, 1, MEMORY, frame, false);
      if (result !== 0) throw new Error(`PhysicalMap.map() of page ${page} gives ${result}`);
    }
    ms = performance.now() - start;
    map.revoke(SERVER, FIRST, count);
    map.flush();
  }
  return ms * 1000 / count;
}
