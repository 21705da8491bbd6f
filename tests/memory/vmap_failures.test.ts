/** Vmap: what it refuses, and that nothing is left of what failed. */

import { assertEquals, assertThrows } from "@std/assert";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { type Mfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { MachineMemory } from "../../src/memory/bank.ts";
import { ArenaFullError, Vmap } from "../../src/memory/vmap.ts";
import { mappingsIn } from "../linux/process.ts";
import { ARENA_PAGES, firstWords, isEmpty, pageAddress, VmapMachine, ZEROES } from "./vmap_machine.ts";

Deno.test("each arena is full for itself; that is a typed error, and what becomes free can be had again", () => {
  using test = new VmapMachine();
  const areas = Array.from(
    { length: ARENA_PAGES.payload / 2 },
    (_, frame) => test.vmap.vmap([test.mfn(0, frame)], "payload"),
  );
  const error = assertThrows(() => test.vmap.vmap([test.mfn(0, 0)], "payload"), ArenaFullError, "payload arena");
  assertEquals([error.arena, error.pages], ["payload", 2]);
  assertEquals(test.vmap.areas, areas.length);
  test.vmap.vmap([test.mfn(0, 0)]);
  test.vmap.vunmap(areas[3].address);
  test.vmap.vunmap(areas[5].address);
  assertThrows(() => test.vmap.vmapContiguous(test.mfn(0, 0), 2, "payload"), ArenaFullError);
  test.vmap.vunmap(areas[4].address);
  assertEquals(firstWords(test.vmap.vmapContiguous(test.mfn(0, 0), 5, "payload")).length, 5);
  assertThrows(() => test.vmap.vmapContiguous(test.mfn(0, 0), ARENA_PAGES.default), ArenaFullError, "65 free pages");
});

Deno.test("what is no list of the machine's frames is refused, and nothing was done", () => {
  using test = new VmapMachine();
  const arena = test.arenaAddress("default"), own = test.mfn(0, 0);
  assertThrows(() => test.vmap.vmap([]), RangeError, "no machine frames");
  for (const mfns of [[0], [own, 0], [own, test.mfn(2, 12)], [own, NaN], [own + 0.5]] as Mfn[][]) {
    assertThrows(() => test.vmap.vmap(mfns), RangeError, "is in no bank");
  }
  for (const count of [0, -1, 1.5, NaN]) assertThrows(() => test.vmap.vmapContiguous(own, count), RangeError);
  assertThrows(() => test.vmap.vmapContiguous(test.mfn(2, 10), 3), RangeError, "is in no bank");
  assertEquals([test.vmap.areas, isEmpty(arena, ARENA_PAGES.default)], [0, true]);
});

Deno.test("what is not the beginning of an area can neither be unmapped nor replaced nor retired", () => {
  using test = new VmapMachine();
  const { address } = test.vmap.vmapContiguous(test.mfn(0, 0), 3), gone = test.vmap.vmap([test.mfn(0, 0)]);
  test.vmap.vunmap(gone.address);
  const wrong = [
    address - 1n,
    address + 1n,
    pageAddress(address, -1),
    pageAddress(address, 1),
    pageAddress(address, 3),
  ];
  for (const nowhere of [...wrong, gone.address, 0n, -1n, 2n ** 47n, 2n ** 64n]) {
    assertThrows(() => test.vmap.vunmap(nowhere), RangeError, "no area of vmap begins at");
    assertThrows(() => test.vmap.replace(nowhere, [test.mfn(0, 0)]), RangeError, "no area of vmap begins at");
    assertThrows(() => test.vmap.retire(nowhere), RangeError, "no area of vmap begins at");
  }
  assertEquals([test.vmap.areas, test.vmap.pagesAt(address)], [1, 3]);
});

Deno.test("a mapping that the host refuses is undone, at whichever frame that is", () => {
  using test = new VmapMachine();
  const arena = test.arenaAddress("default");
  test.banks[1].file[Symbol.dispose]();
  for (let good = 0; good < 6; good++) {
    const mfns = Array.from({ length: 6 }, (_, index) => index === good ? test.mfn(1, 0) : test.mfn(0, 9 - index));
    assertThrows(() => test.vmap.vmap(mfns), LinuxError, "EBADF");
    assertEquals([test.vmap.areas, isEmpty(arena, ARENA_PAGES.default)], [0, true], `frame ${good}`);
  }
  assertEquals(test.arenaAddress("default"), arena, "the whole arena is free");
});

Deno.test("a replacement that the host refuses is undone, at whichever frame that is", () => {
  using test = new VmapMachine();
  const before = [0, 1, 2, 7, 4, 5].map((frame) => test.mfn(2, frame)), area = test.vmap.vmap(before);
  const mappings = mappingsIn(area.address, 6 * PAGE_SIZE).length;
  test.banks[1].file[Symbol.dispose]();
  for (let good = 0; good < 6; good++) {
    const mfns = Array.from({ length: 6 }, (_, index) => index === good ? test.mfn(1, 0) : test.mfn(0, 9 - index));
    assertThrows(() => test.vmap.replace(area.address, mfns), LinuxError, "EBADF");
    assertEquals(firstWords(area), before as number[], `frame ${good}`);
    assertEquals(mappingsIn(area.address, 6 * PAGE_SIZE).length, mappings);
  }
});

Deno.test("an area outlives the bank that it shows; what cannot be had back after a failure is zeroes", () => {
  using test = new VmapMachine();
  const mfns = [test.mfn(2, 1), test.mfn(0, 6), test.mfn(2, 2)], area = test.vmap.vmap(mfns);
  test.banks[2][Symbol.dispose]();
  assertEquals(firstWords(area), mfns as number[]);
  const successor = test.machine.allocate("its successor", 12, 2);
  assertEquals(successor.firstMfn, test.banks[2].firstMfn);
  new Uint8Array(successor.directmap.buffer).fill(0xff);
  test.banks[1].file[Symbol.dispose]();
  assertThrows(() => test.vmap.replace(area.address, [test.mfn(0, 0), test.mfn(0, 1), test.mfn(1, 0)]), LinuxError);
  assertEquals(firstWords(area), [ZEROES, mfns[1], ZEROES]);
});

Deno.test("sizes that no arena can have are refused", () => {
  using machine = new MachineMemory();
  for (const sizeBytes of [0, -PAGE_SIZE, 1, PAGE_SIZE / 2, 1.5 * PAGE_SIZE, NaN, Infinity, 2 ** 40 + PAGE_SIZE]) {
    assertThrows(() => new Vmap(machine, { payload: sizeBytes }), RangeError, "payload arena");
  }
});
