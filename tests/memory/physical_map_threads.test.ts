/** PhysicalMap of several threads: they map, remap and revoke the same pages, and table, page tables and references agree. */

import { assert, assertEquals } from "@std/assert";
import { P2M_TYPE, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import { TRANSPORT } from "../../src/memory/stage_area.ts";
import { Thread } from "../linux/threads.ts";
import { repetitions, testWith, USERFAULT } from "../support/capabilities.ts";
import { FIRST, SERVER, TestWindows } from "./test_windows.ts";
import type { Places } from "./window_threads.ts";

const PAGES = 12, FRAMES = 16, BASE = 0x10, THREADS = 3, ROUNDS = repetitions(2000);
const MODULE = import.meta.resolve("./window_threads.ts");

for (const [name, transport] of Object.entries(TRANSPORT)) {
  testWith([USERFAULT], `threads that map and revoke the same pages agree in the end (${name})`, async () => {
    using test = new TestWindows();
    const area = await test.add(PAGES, transport);
    test.bring(FRAMES, BASE);
    const places: Places = {
      stage: test.table.address,
      p2m: test.p2mAddress,
      banks: test.machine.tableAddress,
      words: new Int32Array(new SharedArrayBuffer(4)),
      threads: THREADS,
    };
    using stack = new DisposableStack();
    const threads = Array.from({ length: THREADS }, (_, thread) => {
      return stack.use(new Thread<number[]>(MODULE, "churn", places, thread, SERVER, FIRST, PAGES, ROUNDS));
    });
    assertEquals((await Promise.all(threads.map(({ result }) => result))).flat(), []);
    let granted = 0;
    for (let gfn = FIRST as number; gfn < FIRST + PAGES; gfn++) {
      const entry = test.p2m.lookup(gfn), isGranted = p2mType(entry) === P2M_TYPE.GRANT_MAP_RW;
      if (isGranted) granted++;
      if (transport === TRANSPORT.EXIT) continue;
      if (isGranted) test.table.lock.hold(() => assertEquals(test.map.supply(area, gfn), 0));
      const frame = p2mMfn(entry) - test.banks.firstMfn(0);
      assertEquals(test.seen(gfn), isGranted ? BASE + frame : "missing", `gfn 0x${gfn.toString(16)}`);
    }
    assert(test.machine.references === granted, `${test.machine.references} references to ${granted} pages`);
    assertEquals(test.table.areas[0].tally.maps > ROUNDS, true);
    test.map.close(area);
    test.map.runs.sweep(test.kvm.vm);
    await test.stage.removeWindow(area);
    assertEquals(test.machine.references, 0);
  });
}
