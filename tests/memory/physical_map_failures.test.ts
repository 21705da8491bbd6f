/** PhysicalMap where a system call fails in the middle, and where other threads do something between two of them. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { ENOMEM } from "../../src/linux/errno.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import type { Gfn } from "../../src/memory/address.ts";
import { P2M_TYPE, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import { AREA, TRANSPORT } from "../../src/memory/stage_area.ts";
import { failing, replacing, thenOnce } from "../support/replacing.ts";
import { FIRST, map, name, OTHER_SERVER, PAGES, SERVER, testWindow, type TestWindows } from "./test_windows.ts";

/** Frame n of memory 0 is full of this much more than n. */
const BASE = 0x10;

/** What is granted has a reference, and page tables show nothing else. */
function assertConsistent(test: TestWindows): void {
  const [area] = test.table.areas;
  let granted = 0;
  for (let gfn = area.first; gfn < area.first + area.count; gfn++) {
    const entry = test.p2m.lookup(gfn), type = p2mType(entry), seen = test.seen(gfn);
    const isGranted = type === P2M_TYPE.GRANT_MAP_RW || type === P2M_TYPE.GRANT_MAP_RO;
    if (isGranted) granted++;
    if (seen === "missing") continue; // it is supplied when somebody waits for it
    const frame = isGranted ? p2mMfn(entry) - test.machine.bankOf(p2mMfn(entry))!.firstMfn : undefined;
    assertEquals(parseInt(`${seen}`) - BASE, frame, `what is shown at gfn 0x${gfn.toString(16)}`);
  }
  assertEquals(test.machine.references, granted);
}

for (const method of ["register", "continue", "protect"] as const) {
  for (const at of [0, 1, 2]) {
    testWindow(
      `map() of which call ${at} of ${method} fails keeps p2m, page tables and references together`,
      (test) => {
        const { userfault, protects } = { userfault: test.map.userfault, protects: test.table.protects };
        if (method === "protect" && !protects) return;
        // Pages that show other frames, pages that show nothing, pages that show these frames already.
        map(test, 0, 8);
        map(test, 2, 8);
        map(test, 4, 4, 1, protects);
        map(test, 6, 6, 1, protects);
        const run = () => replacing(userfault, method, failing(at, -ENOMEM), () => map(test, 0, 0, PAGES));
        const errno = run();
        assert(errno === "ENOMEM" || errno === "", errno);
        assertConsistent(test);
        assertEquals(map(test, 0, 0, PAGES), "", "once more");
        assertEquals(test.show(FIRST, PAGES), Array.from({ length: PAGES }, (_, page) => BASE + page));
        assertEquals(test.machine.references, PAGES);
      },
    );
  }
}

testWindow("a page whose remap failed is what the p2m says when it is waited for", (test) => {
  map(test, 0, 3);
  const errno = replacing(test.map.userfault, "continue", failing(0, -ENOMEM), () => map(test, 0, 9));
  assertEquals(errno, "ENOMEM");
  const entry = test.p2m.lookup(FIRST);
  if (p2mType(entry) !== P2M_TYPE.GRANT_MAP_RW) return;
  test.table.lock.hold(() => assertEquals(test.map.supply(test.table.areas[0], FIRST), 0));
  assertEquals(test.seen(FIRST), BASE + p2mMfn(entry) - test.machine.bankOf(p2mMfn(entry))!.firstMfn);
});

testWindow("revocations hold the p2m lock until flush(): nobody can give the window up in between", (test) => {
  const [held] = [new Int32Array(viewAt(test.table.address, 4))];
  map(test, 0, 0, PAGES);
  test.map.revoke(SERVER, FIRST, 2);
  assertEquals(test.map.revoke(SERVER, FIRST + 2, PAGES), 22 /* EINVAL */);
  assertNotEquals(held[0], 0);
  test.map.flush();
  assertEquals([held[0], test.show(FIRST, 2)], [0, ["missing", "missing"]]);
});

const MANY = 1300, BIG = FIRST + 0x1000 as Gfn;

testWindow(
  "a window that goes during a long map is ENOENT, whatever its place in the table is by then",
  async (test) => {
    const area = await test.add(MANY, TRANSPORT.FAULT, BIG), memory = 2;
    test.bring(MANY, 0, memory);
    const placed: number[] = [], { host, slot } = area;
    const become = () => {
      test.map.close(area);
      area.begin(FIRST + 0x4000 as Gfn, 1, 0x1000);
      area.setWindow(OTHER_SERVER, TRANSPORT.FAULT, 9);
      area.state = AREA.WINDOW;
    };
    const result = replacing(
      test.map.userfault,
      "register",
      (original, address, sizeBytes) => placed.push(address) && original(address, sizeBytes),
      () =>
        replacing(
          test.table.lock,
          "release",
          thenOnce(become),
          () => test.map.map(SERVER, BIG, MANY, memory, 0, false),
        ),
    );
    area.begin(BIG, MANY, host);
    area.setWindow(SERVER, TRANSPORT.FAULT, slot);
    area.state = AREA.DEAD;
    await test.stage.removeWindow(area);
    assertEquals({ result: name(result), runs: placed.length }, { result: "ENOENT", runs: 1 });
  },
);

testWindow("memory that goes during a long map of it is ENOENT, and no successor of it is shown", async (test) => {
  const area = await test.add(MANY, TRANSPORT.FAULT, BIG), memory = 2, bank = test.bring(MANY, 0, memory);
  let successor: typeof bank | undefined;
  const go = () => {
    test.table.setMemory(SERVER, memory, -1);
    test.map.forgetBank(SERVER, bank.firstMfn, bank.frames);
    bank[Symbol.dispose]();
    successor = test.machine.allocate("somebody else's", MANY, 1);
  };
  const result = replacing(
    test.table.lock,
    "release",
    thenOnce(go),
    () => test.map.map(SERVER, BIG, MANY, memory, 0, false),
  );
  const references = successor!.frameTable.references;
  test.map.close(area);
  await test.stage.removeWindow(area);
  assertEquals({ result: name(result), references }, { result: "ENOENT", references: 0 });
});
