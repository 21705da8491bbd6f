/** GuestRam: RAM that is populated on demand, given back, and had again; frames and counts are right at every step. */

import { assert, assertEquals } from "@std/assert";
import { type Gfn, type Mfn, PAGE_SIZE } from "../../src/memory/address.ts";
import type { Bank } from "../../src/memory/bank.ts";
import { GuestMemory } from "../../src/memory/guest_memory.ts";
import { GuestRam } from "../../src/memory/guest_ram.ts";
import { P2M_TYPE, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import type { Area } from "../../src/memory/stage_area.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { failing, replacing } from "../support/replacing.ts";
import { fill, TestWindows } from "./test_windows.ts";

const RAM_PAGES = 1024, FIRST = 0x10 as Gfn;

class TestRam extends TestWindows {
  readonly ram = new GuestRam(this.map, this.banks);
  readonly bank: Bank = this.machine.allocate("ram-test", RAM_PAGES, 1);
  readonly area: Area;

  constructor(onDemand: boolean) {
    super();
    this.stage.mapRam(FIRST * PAGE_SIZE, RAM_PAGES * PAGE_SIZE, this.bank, 0, onDemand);
    this.area = this.table.areaOf(FIRST)!;
  }

  /** What the p2m has of a page: a type, and whether the frame is its own. */
  entry(page: number): [type: string, own: boolean] {
    const entry = this.p2m.lookup(FIRST + page), type = p2mType(entry);
    const name = Object.entries(P2M_TYPE).find(([, number]) => number === type)![0];
    return [name, p2mMfn(entry) === this.bank.firstMfn + page];
  }

  /** A vCPU touches a page that is missing. */
  touch(page: number): number {
    return this.table.lock.hold(() => this.ram.fault(this.area, FIRST + page, false));
  }

  get counts() {
    const { populated, ballooned } = this.table;
    return { populated, ballooned, reservation: this.ram.reservation };
  }
}

function testRam(name: string, onDemand: boolean, body: (test: TestRam) => void): void {
  testWith([USERFAULT], name, () => {
    using test = new TestRam(onDemand);
    body(test);
    assertEquals(test.machine.references, 0);
  });
}

testRam("RAM on demand has no memory until it is touched, and then zeroes", true, (test) => {
  assertEquals(test.entry(7), ["POPULATE_ON_DEMAND", true]);
  assertEquals([test.seen(FIRST + 7), test.counts.populated], ["missing", 0]);
  assertEquals(test.touch(7), 0);
  assertEquals([test.seen(FIRST + 7), test.entry(7), test.counts.populated], [0, ["RAM_RW", true], 1]);
  assertEquals([test.touch(7), test.counts.populated], [0, 1], "a second vCPU at the same page");
  assertEquals(test.seen(FIRST + 8), "missing");
});

testRam("what the hypervisor wrote before is there when the guest comes, and counts as populated", true, (test) => {
  const memory = new GuestMemory(test.p2m, test.banks, (gfn) => test.ram.touch(gfn));
  memory.write((FIRST + 3) * PAGE_SIZE, new Uint8Array([0x5a]));
  assertEquals(test.counts.populated, 1);
  const read = new Uint8Array(1);
  memory.read((FIRST + 4) * PAGE_SIZE, read);
  assertEquals([read[0], test.counts.populated], [0, 1], "reading populates nothing");
  assertEquals([test.touch(3), test.seen(FIRST + 3)], [0, 0x5a]);
});

for (const onDemand of [true, false]) {
  testRam(
    `what is given back reads as ones, has no frame, and comes back empty (on demand: ${onDemand})`,
    onDemand,
    (test) => {
      for (const page of [5, 6, 7]) if (onDemand) test.touch(page);
      for (const page of [5, 6, 7]) fill(test.bank.file, page, 0x40 + page);
      const before = test.counts;
      assertEquals(test.ram.decrease(FIRST + 6, 1), 1);
      assertEquals(test.counts, {
        populated: before.populated - 1,
        ballooned: 1,
        reservation: RAM_PAGES - 1,
      });
      assertEquals(p2mType(test.p2m.lookup(FIRST + 6)), P2M_TYPE.INVALID);
      assertEquals(test.ram.decrease(FIRST + 6, 1), 0, "it has none to give");
      assertEquals([test.touch(6), test.touch(6)], [0, 0], "it may look");
      assertEquals(test.counts.reservation, RAM_PAGES - 1);
      assertEquals([test.ram.populate(FIRST + 6, 1), test.ram.populate(FIRST + 6, 1)], [1, 0]);
      assertEquals([test.touch(6), test.seen(FIRST + 6), test.entry(6)], [0, 0, ["RAM_RW", true]]);
      assertEquals(test.counts, before);
      assertEquals([test.touch(5), test.seen(FIRST + 5), test.touch(7), test.seen(FIRST + 7)], [0, 0x45, 0, 0x47]);
    },
  );
}

testRam("pages out and in, in any order and again and again, keep all counts", true, (test) => {
  for (let round = 0; round < 20; round++) {
    for (let page = round % 3; page < 64; page += 3) if (page % 2 === 0) test.touch(page);
    const out = Array.from({ length: 64 }, (_, page) => page).filter((page) => (page * 7 + round) % 4 !== 0);
    for (const page of out) assertEquals(test.ram.decrease(FIRST + page, 1), 1, `page ${page}, round ${round}`);
    assertEquals([test.counts.ballooned, test.ram.reservation], [out.length, RAM_PAGES - out.length]);
    for (const page of out) if (page % 5 === 0) test.touch(page);
    for (const page of out.reverse()) assertEquals(test.ram.populate(FIRST + page, 1), 1);
  }
  let populated = 0;
  for (let page = 0; page < RAM_PAGES; page++) if (test.entry(page)[0] === "RAM_RW") populated++;
  assertEquals(test.counts, { populated, ballooned: 0, reservation: RAM_PAGES });
});

testRam("a run that is given back or had ends at the first page that cannot be", false, (test) => {
  assertEquals(test.ram.decrease(FIRST + 10, 5), 5);
  assertEquals(test.ram.decrease(FIRST + 8, 5), 2, "two, and then comes one that is out");
  assertEquals(test.ram.decrease(FIRST + RAM_PAGES - 2, 100), 2);
  assertEquals(test.ram.decrease(FIRST + RAM_PAGES, 1), 0);
  assertEquals(test.ram.decrease(0, 1), 0);
  assertEquals(test.ram.decrease(2 ** 52, 2), 0);
  assertEquals(test.ram.populate(FIRST + 8, 100), 7);
  assertEquals(test.ram.populate(FIRST, 1), 0, "it was never out");
  assertEquals([test.counts.ballooned, test.counts.reservation], [2, RAM_PAGES - 2]);
});

testRam(
  "a frame that somebody else holds keeps its memory, and is not given anew as long as it is held",
  false,
  (test) => {
    const mfn = test.bank.firstMfn + 4 as Mfn;
    fill(test.bank.file, 4, 0x66);
    test.bank.frameTable.get(mfn);
    assertEquals(test.ram.decrease(FIRST + 4, 1), 1);
    assertEquals(new Uint8Array(test.bank.directmap.buffer)[4 * PAGE_SIZE], 0x66);
    assertEquals([test.ram.populate(FIRST + 4, 1), test.counts.ballooned], [0, 1]);
    test.bank.frameTable.put(mfn);
    assertEquals(test.ram.populate(FIRST + 4, 1), 1);
    assertEquals(new Uint8Array(test.bank.directmap.buffer)[4 * PAGE_SIZE], 0, "nothing of what was there");
  },
);

testRam("RAM that cannot be registered gives nothing back, and counts nothing", false, (test) => {
  const before = test.counts;
  const given = replacing(test.map.userfault, "register", failing(0, -12), () => test.ram.decrease(FIRST, 4));
  assertEquals([given, test.counts], [0, before]);
  assertEquals(test.entry(0), ["RAM_RW", true]);
  assertEquals(test.ram.decrease(FIRST, 4), 4);
});

testRam("a host without memory for a page is an error, and not a page of somebody else's", true, (test) => {
  const errno = replacing(test.map.userfault, "zero", failing(0, -12), () => test.touch(3));
  assertEquals([errno, test.seen(FIRST + 3)], [12, "missing"]);
  assertEquals([test.touch(3), test.seen(FIRST + 3)], [0, 0]);
  assert(test.counts.populated === 1);
});
