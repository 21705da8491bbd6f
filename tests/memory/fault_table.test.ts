/** FaultTable: entries by page, their states, who waits in them, and what is counted of it. */

import { assert, assertEquals } from "@std/assert";
import type { Gfn } from "../../src/memory/address.ts";
import { FAULT, FaultTable } from "../../src/memory/fault_table.ts";
import { AREA, type Area, TRANSPORT } from "../../src/memory/stage_area.ts";
import { MAX_FAULTS } from "../../src/memory/stage_layout.ts";
import { TestStage } from "./test_stage.ts";

const FIRST = 0x1000 as Gfn, SERVER = 3;

/** A table with an area of 2^13 pages, as two isolates see it. */
class TestFaults extends TestStage {
  readonly faults = new FaultTable(this.table);
  readonly other = new FaultTable(this.table);
  readonly area: Area = this.begin(FIRST);

  begin(first: Gfn): Area {
    const area = this.table.freeArea()!;
    area.begin(first, 0x2000, first * 0x1000);
    area.setWindow(SERVER, TRANSPORT.FAULT, 0);
    area.state = AREA.WINDOW;
    return area;
  }

  /** An entry that a server was asked about. */
  sent(page: number, write = false): number {
    const entry = this.faults.open(this.area, FIRST + page, write);
    this.faults.sent(entry, page % 128);
    return entry;
  }
}

Deno.test("an entry is found by its page, by every isolate, until it is closed", () => {
  using test = new TestFaults();
  assertEquals([test.faults.find(FIRST), test.table.openFaults], [-1, 0]);
  const entry = test.faults.open(test.area, FIRST + 5, true);
  assertEquals([test.other.find(FIRST + 5), test.other.find(FIRST + 4), test.table.openFaults], [entry, -1, 1]);
  assertEquals(
    [test.other.state(entry), test.other.gfn(entry), test.other.slot(entry), test.other.isWrite(entry)],
    [FAULT.QUEUED, FIRST + 5, -1, true],
  );
  assertEquals(test.other.area(entry), test.table.areas[test.area.id]);
  test.other.close(entry);
  assertEquals([test.faults.find(FIRST + 5), test.faults.state(entry), test.table.openFaults], [-1, FAULT.FREE, 0]);
});

Deno.test("a place that is free again is the next page's, with nothing of the one before", () => {
  using test = new TestFaults();
  const first = test.sent(1, true);
  test.faults.countRetry(first);
  test.faults.waits(first, 2);
  test.faults.close(first);
  const next = test.faults.open(test.area, FIRST + 9, false);
  assertEquals(next, first);
  assertEquals([test.faults.isWrite(next), test.faults.slot(next), test.faults.countRetry(next)], [false, -1, 1]);
  assertEquals(test.table.faultOf[2], 0);
});

Deno.test("there are entries for 4096 pages, and what comes after that is told so", () => {
  using test = new TestFaults();
  for (let page = 0; page < MAX_FAULTS; page++) assertEquals(test.faults.open(test.area, FIRST + page, false), page);
  assertEquals(test.faults.open(test.area, FIRST + MAX_FAULTS, false), -1);
  assertEquals(test.table.openFaults, MAX_FAULTS);
  assertEquals(test.faults.find(FIRST + MAX_FAULTS - 1), MAX_FAULTS - 1);
  test.faults.close(17);
  assertEquals([test.faults.open(test.area, FIRST + MAX_FAULTS, false), test.table.openFaults], [17, MAX_FAULTS]);
});

Deno.test("entries are found behind places that are free", () => {
  using test = new TestFaults();
  const entries = [0, 1, 2, 3].map((page) => test.sent(page));
  for (const entry of [entries[0], entries[2]]) test.faults.close(entry);
  assertEquals([0, 1, 2, 3].map((page) => test.faults.find(FIRST + page)), [-1, entries[1], -1, entries[3]]);
  const visited: number[] = [];
  test.faults.forEach(test.area, (entry) => visited.push(test.faults.gfn(entry) - FIRST));
  assertEquals(visited, [1, 3]);
});

Deno.test("next() goes through the entries of one state", () => {
  using test = new TestFaults();
  const states = [FAULT.QUEUED, FAULT.SENT, FAULT.QUEUED, FAULT.IDLE, FAULT.SENT];
  states.forEach((state, page) => {
    if (state === FAULT.QUEUED) return test.faults.open(test.area, FIRST + page, false);
    test.sent(page);
    if (state === FAULT.IDLE) test.faults.resolve(FIRST + page, 1);
  });
  for (const state of [FAULT.QUEUED, FAULT.SENT, FAULT.IDLE]) {
    const found: number[] = [];
    for (let entry = test.faults.next(0, state); entry >= 0; entry = test.faults.next(entry + 1, state)) {
      found.push(entry);
    }
    assertEquals(found, states.flatMap((one, entry) => one === state ? [entry] : []));
  }
});

Deno.test("a page that is mapped lets a queued entry go, and leaves one that is asked, idle", () => {
  using test = new TestFaults();
  const queued = test.faults.open(test.area, FIRST, false), sent = test.sent(1), beside = test.sent(2);
  test.faults.resolve(FIRST, 2);
  assertEquals([queued, sent, beside].map((entry) => test.faults.state(entry)), [FAULT.FREE, FAULT.IDLE, FAULT.SENT]);
  assertEquals(test.table.openFaults, 2);
  assertEquals(test.area.tally.waits.reduce((sum, count) => sum + count), 2, "two have waited");
  test.faults.resolve(FIRST, 2);
  assertEquals(test.area.tally.waits.reduce((sum, count) => sum + count), 2, "and nobody since");
});

Deno.test("who waits again for a page that is still asked for is waited for anew, for what it does now", () => {
  using test = new TestFaults();
  const entry = test.sent(0);
  for (const write of [true, false]) {
    test.faults.resolve(FIRST, 1);
    const since = test.faults.since(entry);
    test.faults.again(entry, write);
    assertEquals([test.faults.state(entry), test.faults.isWrite(entry)], [FAULT.SENT, write]);
    assert(test.faults.since(entry) >= since);
  }
});

Deno.test("answers are counted from the last time that the page was mapped", () => {
  using test = new TestFaults();
  const entry = test.sent(0);
  assertEquals([1, 2, 3].map(() => test.faults.countRetry(entry)), [1, 2, 3]);
  test.faults.resolve(FIRST, 1);
  test.faults.again(entry, false);
  assertEquals(test.faults.countRetry(entry), 1);
});

Deno.test("all vCPUs of an entry are forgotten with it, and nobody else", () => {
  using test = new TestFaults();
  const entry = test.sent(0), other = test.sent(1);
  for (const vcpu of [0, 1, 7, 4095]) test.faults.waits(entry, vcpu);
  test.faults.waits(other, 2);
  assertEquals([0, 1, 2, 7, 4095].map((vcpu) => test.table.faultOf[vcpu]), [1, 1, 2, 1, 1].map((one) => entry + one));
  test.faults.resolve(FIRST, 1);
  assertEquals([0, 1, 2, 7, 4095].map((vcpu) => test.table.faultOf[vcpu]), [0, 0, other + 1, 0, 0]);
  test.faults.close(other);
  assert(test.table.faultOf.every((fault) => fault === 0));
});

Deno.test("an entry remembers the generation of its area when the server was asked", () => {
  using test = new TestFaults();
  const entry = test.sent(0), before = test.area.generation;
  assertEquals(test.faults.generation(entry), before);
  test.area.countMaps(1);
  assertEquals([test.faults.generation(entry), test.area.generation], [before, before + 1]);
  test.faults.sent(entry, 3);
  assertEquals([test.faults.generation(entry), test.faults.slot(entry)], [before + 1, 3]);
});

Deno.test("forEach() visits the pages of one area, also when each is closed as it is visited", () => {
  using test = new TestFaults();
  const other = test.begin(0x10_0000 as Gfn);
  for (let page = 0; page < 5; page++) {
    test.sent(page);
    test.faults.open(other, other.first + page, false);
  }
  const visited: number[] = [];
  test.faults.forEach(test.area, (entry) => {
    visited.push(test.faults.gfn(entry) - FIRST);
    test.faults.close(entry);
  });
  assertEquals([visited, test.table.openFaults], [[0, 1, 2, 3, 4], 5]);
});

Deno.test("an entry whose window is gone is nobody's page, and still asked of its server until it is closed", () => {
  using test = new TestFaults();
  const entry = test.sent(4);
  test.faults.orphan(entry);
  assertEquals([test.faults.isOrphan(entry), test.faults.find(FIRST + 4), test.table.openFaults], [true, -1, 1]);
  assertEquals([test.faults.server(entry), test.faults.slot(entry)], [SERVER, 4]);
  test.faults.forEach(test.area, () => assert(false));
  test.faults.close(entry);
  test.faults.orphan(entry);
  assertEquals(test.table.openFaults, 0);
  assertEquals(test.faults.isOrphan(test.sent(4)), false);
});
