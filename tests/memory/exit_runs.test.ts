/** ExitRuns: slots of the exit transport, made around mapped pages, taken away, and swept. */

import { assertEquals } from "@std/assert";
import { ENOMEM } from "../../src/linux/errno.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { type Gfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { FIRST_RUN_SLOT } from "../../src/memory/stage_layout.ts";
import { TRANSPORT } from "../../src/memory/stage_area.ts";
import { mappingsIn } from "../linux/process.ts";
import { FIRST, firstByte, map, revoke, SERVER, TestWindows } from "./test_windows.ts";

const PAGES = 16;

/** Runs `body` with a window of 16 pages, and memory 0 whose frame n is full of 0x10 + n; nothing is held afterwards. */
function testRuns(name: string, body: (test: TestWindows) => void | Promise<void>): void {
  Deno.test(name, async () => {
    using test = new TestWindows();
    const area = await test.add(PAGES, TRANSPORT.EXIT);
    test.bring(PAGES, 0x10);
    await body(test);
    test.map.close(area);
    test.map.runs.sweep(test.kvm.vm);
    assertEquals([test.machine.references, test.kvm.slots.size, test.table.staleRuns], [0, 0, 0]);
    await test.stage.removeWindow(area);
    const mapped = mappingsIn(0n, 2 ** 47).filter(({ line }) => line.includes("window-test"));
    assertEquals(mapped, [], "host addresses are left");
  });
}

/** KVM's slots: first page in the window, pages, first byte of each page; with "read-only" where it is. */
function slots(test: TestWindows): unknown[] {
  return [...test.kvm.slots.values()].sort((one, other) => one.address - other.address).map((slot) => {
    const pages = slot.sizeBytes / PAGE_SIZE;
    const bytes = Array.from({ length: pages }, (_, page) => {
      return new Uint8Array(viewAt(slot.host + BigInt(page * PAGE_SIZE), 1))[0];
    });
    return [slot.address / PAGE_SIZE - FIRST, bytes, ...(slot.readOnly ? ["read-only"] : [])];
  });
}

function ensure(test: TestWindows, page: number): void {
  test.map.runs.ensure(test.kvm.vm, FIRST + page);
}

testRuns("a page that is mapped gets a slot with all mapped pages around it whose frames go on", (test) => {
  map(test, 2, 2, 3);
  map(test, 5, 9, 2);
  ensure(test, 3);
  assertEquals(slots(test), [[2, [0x12, 0x13, 0x14]]]);
  ensure(test, 6);
  assertEquals(slots(test), [[2, [0x12, 0x13, 0x14]], [5, [0x19, 0x1a]]]);
  assertEquals([...test.kvm.slots.keys()], [FIRST_RUN_SLOT, FIRST_RUN_SLOT + 1]);
  for (let page = 2; page < 7; page++) ensure(test, page);
  assertEquals(test.kvm.slots.size, 2, "they have one");
});

testRuns("pages that are not mapped, and those of nobody, get none", (test) => {
  map(test, 0, 0);
  revoke(test, 0);
  for (const page of [0, 1, PAGES, -1, 2 ** 40]) ensure(test, page);
  assertEquals(slots(test), []);
});

testRuns("read-only pages have slots of their own, read-only", (test) => {
  map(test, 0, 0, 2);
  map(test, 2, 2, 2, true);
  ensure(test, 1);
  ensure(test, 2);
  assertEquals(slots(test), [[0, [0x10, 0x11]], [2, [0x12, 0x13], "read-only"]]);
});

testRuns(
  "a revocation of one page makes the whole run inaccessible at once, and its slot goes with the next sweep",
  (test) => {
    map(test, 0, 0, 4);
    ensure(test, 0);
    const [{ host }] = [...test.kvm.slots.values()];
    revoke(test, 1);
    assertEquals(mappingsIn(host, 4 * PAGE_SIZE).map(({ line }) => line.split(" ")[1]), ["---s"]);
    assertEquals([test.kvm.slots.size, test.table.staleRuns], [1, 1]);
    assertEquals([test.map.runs.sweep(test.kvm.vm), test.map.runs.sweep(test.kvm.vm)], [true, false]);
    assertEquals(slots(test), []);
    ensure(test, 0);
    ensure(test, 3);
    assertEquals(slots(test), [[0, [0x10]], [2, [0x12, 0x13]]], "the rest of it is mapped still");
    assertEquals(test.machine.references, 3);
  },
);

testRuns("a remap takes the run away, and the next slot shows the new frame", (test) => {
  map(test, 0, 0, 3);
  ensure(test, 0);
  map(test, 1, 8);
  ensure(test, 0);
  ensure(test, 1);
  ensure(test, 2);
  assertEquals(slots(test), [[0, [0x10]], [1, [0x18]], [2, [0x12]]]);
});

testRuns("access() reads and writes the memory itself, within a page", (test) => {
  map(test, 4, 6);
  const read = new Uint8Array(2), bank = test.machine.bankOf(test.banks.firstMfn(0))!;
  const access = (offset: number, bytes: Uint8Array<ArrayBuffer>, write: boolean) =>
    test.table.lock.hold(() => test.map.runs.access(FIRST + 4, offset, bytes, write));
  assertEquals([access(PAGE_SIZE - 2, read, false), [...read]], [true, [0x16, 0x16]]);
  assertEquals([access(0, new Uint8Array([0x99]), true), firstByte(bank.file, 6), firstByte(bank.file, 7)], [
    true,
    0x99,
    0x17,
  ]);
});

testRuns("where KVM has no slot to give, nothing is left of the attempt, and it can be made again", (test) => {
  map(test, 0, 0, 2);
  test.kvm.refusal = new LinuxError("ioctl", ENOMEM, "a slot");
  ensure(test, 0);
  assertEquals([slots(test), test.table.staleRuns], [[], 0]);
  assertEquals(mappingsIn(0n, 2 ** 47).filter(({ line }) => line.includes("window-test")), []);
  ensure(test, 0);
  assertEquals(slots(test), [[0, [0x10, 0x11]]]);
});

for (const refused of [false, true]) {
  testRuns(
    `a page that is taken back while KVM is about to have its slot (refused: ${refused}) is not shown`,
    (test) => {
      map(test, 0, 0, 2);
      const { vm } = test.kvm, add = test.kvm.setMemoryRegion;
      test.kvm.setMemoryRegion = (...args) => {
        test.kvm.setMemoryRegion = add;
        revoke(test, 0); // another thread's: the p2m lock is free
        if (refused) throw new LinuxError("ioctl", ENOMEM, "a slot");
        test.kvm.setMemoryRegion(...args);
      };
      ensure(test, 0);
      assertEquals([test.kvm.slots.size, test.table.staleRuns], refused ? [0, 0] : [1, 1]);
      test.map.runs.sweep(vm);
      ensure(test, 1);
      assertEquals(slots(test), [[1, [0x11]]]);
    },
  );
}

testRuns("a sweep that KVM refuses keeps the slot's addresses, and can be made again", (test) => {
  map(test, 0, 0, 2);
  ensure(test, 0);
  revoke(test, 0, 2);
  test.kvm.refusal = new LinuxError("ioctl", ENOMEM, "a slot");
  try {
    test.map.runs.sweep(test.kvm.vm);
  } catch (error) {
    if (!(error instanceof LinuxError)) throw error;
  }
  assertEquals([test.table.staleRuns, test.kvm.slots.size], [1, 1]);
  assertEquals(test.map.runs.sweep(test.kvm.vm), true);
  assertEquals(test.table.slotsLock.hold(() => test.kvm.slots.size), 0);
});

testRuns("slots are used again: a page that comes and goes a thousand times needs one", (test) => {
  for (let round = 0; round < 1000; round++) {
    map(test, 0, round % PAGES);
    ensure(test, 0);
    assertEquals([...test.kvm.slots.keys()].length, 1);
    revoke(test, 0);
  }
  assertEquals(test.table.runsEnd <= 2, true, `${test.table.runsEnd} runs`);
});

testRuns("a run has at most 512 pages, and goes around the page that was asked for", async (test) => {
  const many = 2000, first = FIRST + 0x1000 as Gfn, area = await test.add(many, TRANSPORT.EXIT, first);
  test.bring(many, 0, 1);
  assertEquals(test.map.map(SERVER, first, many, 1, 0, false), 0);
  const at = (page: number) => {
    test.map.runs.ensure(test.kvm.vm, first + page);
    return [...test.kvm.slots.values()].at(-1)!;
  };
  for (const page of [1000, 0, 1999, 600]) {
    const slot = at(page), start = slot.address / PAGE_SIZE - first, pages = slot.sizeBytes / PAGE_SIZE;
    assertEquals(pages <= 512 && start <= page && page < start + pages, true, `${start} + ${pages} for ${page}`);
    assertEquals(new Uint8Array(viewAt(slot.host, 1))[0], start & 255);
  }
  test.map.close(area);
  test.map.runs.sweep(test.kvm.vm);
});
