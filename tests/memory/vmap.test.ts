/** Vmap: what its areas show, where they begin and end, and what they cost. */

import { assert, assertEquals, assertLess, assertMatch, assertThrows } from "@std/assert";
import * as calls from "../../src/linux/calls.ts";
import { EFAULT } from "../../src/linux/errno.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { type Mfn, PAGE_SIZE, SUPERPAGE_FRAMES } from "../../src/memory/address.ts";
import { MachineMemory } from "../../src/memory/bank.ts";
import { Vmap, VMAP_ARENA_BYTES, type VmapKind } from "../../src/memory/vmap.ts";
import { mappingBudget } from "../../src/memory/vmap_budget.ts";
import { mappingsIn, openDescriptors, residentGrowth } from "../linux/process.ts";
import { ARENA_PAGES, firstWords, isEmpty, pageAddress, VmapMachine, ZEROES } from "./vmap_machine.ts";

Deno.test("vmap() shows any frames in their order, and vunmap() makes their addresses free", () => {
  using test = new VmapMachine();
  const arena = test.arenaAddress("default");
  const table: Mfn[][] = [
    [test.mfn(0, 0)],
    [test.mfn(0, 0), test.mfn(0, 1), test.mfn(0, 2)],
    [test.mfn(0, 2), test.mfn(0, 1), test.mfn(0, 0)],
    [test.mfn(2, 11), test.mfn(0, 511), test.mfn(1, 0), test.mfn(1, 4), test.mfn(0, 7)],
    [test.mfn(1, 3), test.mfn(1, 3), test.mfn(1, 3)],
  ];
  for (const mfns of table) {
    const area = test.vmap.vmap(mfns);
    assertEquals([area.pages, firstWords(area)], [mfns.length, mfns as number[]]);
    test.vmap.vunmap(area.address);
    assertEquals([test.vmap.areas, isEmpty(arena, ARENA_PAGES.default)], [0, true]);
  }
});

Deno.test("what is written through an area is in the frames, and the other way round", () => {
  using test = new VmapMachine();
  const mfns = [test.mfn(2, 3), test.mfn(0, 9), test.mfn(2, 4)];
  const one = test.vmap.vmap(mfns), other = test.vmap.vmap(mfns.toReversed(), "payload");
  new Uint32Array(viewAt(one.address, 3 * PAGE_SIZE))[PAGE_SIZE / 4] = 77;
  assertEquals(test.frame(mfns[1]), 77);
  test.setFrame(mfns[2], 88);
  assertEquals(firstWords(one), [mfns[0], 77, 88]);
  assertEquals(firstWords(other), [88, 77, mfns[0]]);
});

Deno.test("vmapContiguous() shows frames from one on, over the border of two banks, too", () => {
  using test = new VmapMachine();
  const table: [first: Mfn, count: number, mappings: number][] = [
    [test.mfn(0, 3), 40, 1],
    [test.mfn(0, SUPERPAGE_FRAMES - 2), 4, 2],
  ];
  for (const [first, count, mappings] of table) {
    const area = test.vmap.vmapContiguous(first, count);
    assertEquals(firstWords(area), Array.from({ length: count }, (_, index) => first + index));
    assertEquals(mappingsIn(area.address, count * PAGE_SIZE).length, mappings);
    test.vmap.vunmap(area.address);
  }
});

Deno.test("a run is one of the host's mappings, and a free arena is one, whatever was in it", () => {
  using test = new VmapMachine();
  const arena = test.arenaAddress("default");
  const mappings = () => mappingsIn(arena, (ARENA_PAGES.default + 1) * PAGE_SIZE).length;
  assertEquals(mappings(), 1);
  const one = test.vmap.vmap([0, 1, 2, 9, 4, 5].map((frame) => test.mfn(0, frame)));
  assertEquals(mappings(), 1 + 3 + 1);
  const other = test.vmap.vmapContiguous(test.mfn(2, 0), 12);
  assertEquals(mappings(), 5 + 2);
  test.vmap.vunmap(one.address);
  test.vmap.vunmap(other.address);
  assertEquals(mappings(), 1);
});

Deno.test("before and behind each area is a page that nobody can touch", () => {
  using test = new VmapMachine();
  using file = MemoryFile.create("vmap-test", PAGE_SIZE);
  const readInto = (address: bigint) => calls.read(file.number, new Uint8Array(viewAt(address, 1)), 1n);
  const areas = [test.vmap.vmap([test.mfn(0, 0)]), test.vmap.vmapContiguous(test.mfn(2, 0), 3)];
  areas.push(test.vmap.vmapContiguous(test.mfn(0, 0), ARENA_PAGES.payload - 1, "payload"));
  for (const { address, pages } of areas) {
    for (const guard of [address - BigInt(PAGE_SIZE), pageAddress(address, pages)]) {
      assertEquals(readInto(guard), -EFAULT);
      assertEquals(readInto(guard + BigInt(PAGE_SIZE - 1)), -EFAULT);
      for (const { line } of mappingsIn(guard, PAGE_SIZE)) assertMatch(line, / ---p /);
    }
  }
});

Deno.test("pagesAt() knows where areas begin, and areaOf() every address in them", () => {
  using test = new VmapMachine();
  for (const kind of ["default", "payload"] as VmapKind[]) {
    const area = test.vmap.vmapContiguous(test.mfn(0, 0), 3, kind), { address } = area;
    const inside = [0, 1, PAGE_SIZE - 1, PAGE_SIZE, 2 * PAGE_SIZE + 5, 3 * PAGE_SIZE - 1];
    for (const offset of inside) assertEquals(test.vmap.areaOf(address + BigInt(offset)), area, `${offset}`);
    for (const offset of [-1, -PAGE_SIZE, 3 * PAGE_SIZE, 4 * PAGE_SIZE]) {
      assertEquals(test.vmap.areaOf(address + BigInt(offset)), undefined, `${offset}`);
    }
    assertEquals(test.vmap.pagesAt(address), 3);
    for (const offset of [-PAGE_SIZE, -1, 1, PAGE_SIZE, 3 * PAGE_SIZE]) {
      assertEquals(test.vmap.pagesAt(address + BigInt(offset)), 0, `${offset}`);
    }
    test.vmap.vunmap(address);
    assertEquals([test.vmap.areaOf(address), test.vmap.pagesAt(address)], [undefined, 0]);
  }
  for (const nowhere of [0n, -1n, 1n, 2n ** 47n, 2n ** 64n, -(2n ** 64n), 2n ** 2000n]) {
    assertEquals([test.vmap.areaOf(nowhere), test.vmap.pagesAt(nowhere)], [undefined, 0]);
  }
});

Deno.test("the last page of an arena is used, and the guard page behind it is in no area", () => {
  using test = new VmapMachine();
  const { address } = test.vmap.vmapContiguous(test.mfn(0, 0), ARENA_PAGES.default - 1);
  assert(test.vmap.areaOf(pageAddress(address, ARENA_PAGES.default - 2, PAGE_SIZE - 1)) !== undefined);
  assertEquals(test.vmap.areaOf(pageAddress(address, ARENA_PAGES.default - 1)), undefined);
});

Deno.test("replace() shows other frames at the same address", () => {
  using test = new VmapMachine();
  const area = test.vmap.vmap([test.mfn(0, 0), test.mfn(0, 1), test.mfn(2, 5)]);
  const others = [[test.mfn(1, 0), test.mfn(0, 4), test.mfn(0, 3)], [test.mfn(2, 0), test.mfn(2, 1), test.mfn(2, 2)]];
  for (const mfns of others) {
    test.vmap.replace(area.address, mfns);
    assertEquals(firstWords(area), mfns as number[]);
    assertEquals(test.vmap.areaOf(area.address), area);
  }
  assertEquals(mappingsIn(area.address, 3 * PAGE_SIZE).length, 1);
  for (const count of [0, 1, 2, 4]) {
    assertThrows(
      () => test.vmap.replace(area.address, others[0].concat(others[1]).slice(0, count)),
      RangeError,
      "3 pages",
    );
  }
  assertThrows(
    () => test.vmap.replace(area.address, [test.mfn(0, 0), 0 as Mfn, test.mfn(0, 0)]),
    RangeError,
    "no bank",
  );
  assertEquals(firstWords(area), others[1] as number[]);
});

Deno.test("retire() shows zeroes of nobody's, until others are shown or the area is unmapped", () => {
  using test = new VmapMachine();
  const arena = test.arenaAddress("default"), mfns = [test.mfn(0, 0), test.mfn(2, 1), test.mfn(2, 0)];
  const area = test.vmap.vmap(mfns);
  test.vmap.retire(area.address);
  assertEquals(firstWords(area), [ZEROES, ZEROES, ZEROES]);
  assertEquals([test.vmap.pagesAt(area.address), test.vmap.areaOf(area.address + 5n)], [3, area]);
  new Uint8Array(viewAt(area.address, 3 * PAGE_SIZE)).fill(0xff);
  assertEquals(mfns.map((mfn) => test.frame(mfn)), mfns as number[], "a late writer reaches nobody");
  test.vmap.retire(area.address);
  assertEquals(firstWords(area), [ZEROES, ZEROES, ZEROES]);
  const other = test.vmap.vmap(mfns);
  assert(other.address !== area.address);
  test.vmap.replace(area.address, mfns);
  assertEquals(firstWords(area), mfns as number[]);
  test.vmap.retire(area.address);
  for (const { address } of [area, other]) test.vmap.vunmap(address);
  assertEquals(isEmpty(arena, ARENA_PAGES.default), true);
});

Deno.test("vmap takes no references", () => {
  using test = new VmapMachine();
  const { address } = test.vmap.vmapContiguous(test.mfn(0, 0), 8);
  test.vmap.replace(address, Array.from({ length: 8 }, () => test.mfn(2, 0)));
  assertEquals(test.machine.references, 0);
});

Deno.test("Vmap.dispose() unmaps everything, once; after that there is no use of it", () => {
  const descriptors = openDescriptors().length;
  {
    using test = new VmapMachine();
    const arena = test.arenaAddress("default"), { address } = test.vmap.vmap([test.mfn(0, 0), test.mfn(2, 0)]);
    test.vmap.retire(test.vmap.vmap([test.mfn(0, 0)]).address);
    assertEquals(mappingBudget.taken, 2 + 1 + 1 + 1);
    test.vmap[Symbol.dispose]();
    assertEquals(mappingBudget.taken, 0);
    assertEquals(mappingsIn(arena, (ARENA_PAGES.default + 1) * PAGE_SIZE), []);
    test.vmap[Symbol.dispose]();
    const uses = [
      () => test.vmap.vmap([test.mfn(0, 0)]),
      () => test.vmap.vunmap(address),
      () => test.vmap.areaOf(address),
      () => test.vmap.pagesAt(address),
      () => test.vmap.areas,
    ];
    for (const use of uses) assertThrows(use, RangeError, "after its disposal");
  }
  assertEquals(openDescriptors().length, descriptors);
});

Deno.test("arenas have the sizes that were promised, and cost next to nothing", () => {
  using machine = new MachineMemory();
  const bank = machine.allocate("vmap-test", 8, 1);
  const both = (vmap: Vmap) => [vmap.vmap([bank.firstMfn]), vmap.vmap([bank.firstMfn], "payload")];
  const growth = residentGrowth(() => {
    const vmap = new Vmap(machine);
    both(vmap);
    return vmap;
  });
  assertLess(growth, 32 << 20);
  using vmap = new Vmap(machine);
  const areas = both(vmap);
  for (const [index, sizeBytes] of Object.values(VMAP_ARENA_BYTES).entries()) {
    const [{ start, end }] = mappingsIn(areas[index].address - BigInt(PAGE_SIZE), 1);
    assert(Number(end - start) >= sizeBytes - 2 * PAGE_SIZE, "free pages before the only area");
  }
});
