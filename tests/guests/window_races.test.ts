/** What happens at one time to a page of a window: vCPUs that wait for it, maps, revocations. On both transports. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { STATE } from "../../src/ioreq/abi.ts";
import { COMMAND } from "../../src/ioreq/command_ring.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { KVM, READ_ONLY_FAULTS } from "../support/capabilities.ts";
import { type DirectedStage, ONES, turn, WINDOW, WINDOW_GFN as GFN, WINDOW_PAGES } from "../support/directed.ts";
import { BASE, endsWell, FAULT_ONLY, FRAMES, requests, testRace } from "../support/window_scene.ts";

testRace([KVM], "what is mapped, remapped, revoked and written is what the guest sees", {}, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  assertEquals(await windows.map(GFN, memory, 2, 3), [""]);
  assertEquals(await (await stage.read(PAGE_SIZE)).done, BASE + 3);
  assertEquals(await windows.map(GFN + 1, memory, 7), [""]);
  assertEquals(await (await stage.read(PAGE_SIZE)).done, BASE + 7, "remapped");
  assertEquals(await (await stage.read(0)).done, BASE + 2, "its neighbour");
  await (await stage.write(PAGE_SIZE + 9, 0x21)).done;
  assertEquals(memory.bytes[7 * PAGE_SIZE + 9], 0x21);
  memory.bytes[7 * PAGE_SIZE + 10] = 0x22;
  assertEquals(await (await stage.read(PAGE_SIZE + 10)).done, 0x22);
  assertEquals(windows.violations, []);
  assertEquals(await windows.revoke(GFN, WINDOW_PAGES), [""]);
  const read = await stage.read(PAGE_SIZE + 9);
  await stage.violated(GFN + 1);
  await windows.map(GFN + 1, memory, 7);
  windows.answer(GFN + 1);
  assertEquals(await read.done, 0x21);
  await endsWell(scene);
});

testRace(
  [KVM],
  "a violation may be answered by more pages than were asked for, and those ask no more",
  {},
  async (scene) => {
    const { stage, memory } = scene, { windows } = stage;
    const read = await stage.read(0);
    await stage.violated(GFN);
    windows.push({ op: COMMAND.MAP, gfn: GFN, count: FRAMES, memory: memory.id }); // with the answer: nobody is rung for it
    windows.answer(GFN);
    assertEquals(await read.done, BASE);
    for (let page = 1; page < FRAMES; page++) {
      assertEquals(await (await stage.read(page * PAGE_SIZE)).done, BASE + page);
    }
    await endsWell(scene);
  },
);

testRace(
  [KVM],
  "a write to a read-only page is a violation, and goes on when the page is writable",
  {},
  async (scene) => {
    const { stage, memory } = scene, { windows } = stage;
    const [refusal] = await windows.map(GFN, memory, 1, 1, true);
    if (refusal === "EOPNOTSUPP" && !READ_ONLY_FAULTS.present) return await endsWell(scene); // as documented
    assertEquals(refusal, "");
    assertEquals(await (await stage.read(4)).done, BASE + 1);
    const write = await stage.write(4, 0x33);
    await stage.violated(GFN);
    assertEquals([write.isDone, memory.bytes[PAGE_SIZE + 4]], [false, BASE + 1]);
    await windows.map(GFN, memory, 1);
    windows.answer(GFN);
    await write.done;
    assertEquals([memory.bytes[PAGE_SIZE + 4], await (await stage.read(4)).done], [0x33, 0x33]);
    await endsWell(scene);
  },
);

testRace([KVM], "a write that is answered by a read-only page is asked for again", {}, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  await windows.map(GFN, memory, 1, 1, true);
  const write = await stage.write(4, 0x33);
  for (let round = 0; round < 3; round++) {
    await stage.violated(GFN);
    windows.push({ op: COMMAND.MAP, gfn: GFN, memory: memory.id, frame: 1, readOnly: true });
    windows.answer(GFN);
    await windows.taken();
  }
  await stage.violated(GFN);
  assertEquals([write.isDone, memory.bytes[PAGE_SIZE + 4]], [false, BASE + 1]);
  await windows.map(GFN, memory, 1);
  windows.answer(GFN);
  await write.done;
  await endsWell(scene);
});

testRace([KVM], "a page that is never mapped ends the run after 16 answers", {}, async ({ stage }) => {
  await stage.read(0);
  assertEquals(await answerToTheEnd(stage), 16);
  const { status, reason } = await stage.vm.exited;
  assertEquals(status, 125, reason);
  assertMatch(reason, /^ioreq server 1 answered 16 times that gfn 0xd0 is to be tried again, and has not mapped it/);
});

/** Answers each violation until the run is over. @returns how many there were */
async function answerToTheEnd(stage: DirectedStage, before: () => void = () => {}): Promise<number> {
  let answers = 0, ended = false;
  void stage.vm.exited.then(() => ended = true);
  while (!ended) {
    if (stage.windows.violations.length > 0) {
      before();
      stage.windows.answer(GFN);
      answers++;
    }
    await turn();
  }
  return answers;
}

testRace([KVM], "answers do not count while the window changes under them", {}, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  const read = await stage.read(0);
  const asksAgain = () => read.isDone || windows.violations.length > 0;
  for (let round = 0; round < 40; round++) {
    await stage.until(asksAgain);
    if (read.isDone) break; // it was quicker than the revocation
    assertEquals(await windows.map(GFN, memory, round % FRAMES), [""]);
    await windows.revoke(GFN);
    windows.answer(GFN);
  }
  await stage.until(asksAgain);
  if (!read.isDone) {
    await windows.map(GFN, memory, 5);
    windows.answer(GFN);
  }
  assert(await read.done >= BASE);
  await endsWell(scene);
});

testRace([KVM], "a revocation while a violation is being answered has it asked again", {}, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  const read = await stage.read(0);
  await stage.violated(GFN);
  windows.push({ op: COMMAND.MAP, gfn: GFN, memory: memory.id, frame: 1 });
  windows.push({ op: COMMAND.REVOKE, gfn: GFN });
  windows.answer(GFN);
  await windows.taken();
  await stage.until(() => read.isDone || windows.violations.length > 0);
  if (!read.isDone) {
    await windows.map(GFN, memory, 2);
    windows.answer(GFN);
  }
  assert([BASE + 1, BASE + 2].includes(await read.done));
  await endsWell(scene);
});

testRace([KVM], "two vCPUs at one page are answered together", { vcpus: 3 }, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  const reads = [await stage.read(8, 0), await stage.read(16, 1), await stage.read(24, 2)];
  await stage.until(() => windows.violations.length === requests(scene, 3).length);
  assertEquals(windows.violations, requests(scene, 3));
  windows.push({ op: COMMAND.MAP, gfn: GFN, memory: memory.id, frame: 4 });
  windows.answer(GFN);
  for (const read of reads) assertEquals(await read.done, BASE + 4);
  assertEquals(windows.violations, []);
  await endsWell(scene);
});

testRace([KVM], "a page that is mapped unasked lets everybody go on, and the answer that comes late is nobody's", {
  vcpus: 2,
}, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  const reads = [await stage.read(0, 0), await stage.read(0, 1)];
  await stage.until(() => windows.violations.length === requests(scene, 2).length);
  assertEquals(await windows.map(GFN, memory, 6), [""]);
  for (const read of reads) assertEquals(await read.done, BASE + 6);
  assertEquals(windows.violations, [GFN], "it is asked still");
  await windows.revoke(GFN);
  const again = await stage.read(0, 1);
  await turn();
  windows.answer(GFN); // to the first
  await stage.violated(GFN);
  await windows.map(GFN, memory, 7);
  windows.answer(GFN);
  assertEquals(await again.done, BASE + 7);
  await endsWell(scene);
}, FAULT_ONLY);

testRace([KVM], "vCPUs at different pages wait each for its own", { vcpus: 4 }, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  const reads = await Promise.all([0, 1, 2, 3].map((vcpu) => stage.read(vcpu * PAGE_SIZE, vcpu)));
  await stage.violated(GFN, GFN + 1, GFN + 2, GFN + 3);
  for (const page of [2, 0, 3, 1]) {
    assertEquals(reads[page].isDone, false);
    await windows.map(GFN + page, memory, page);
    windows.answer(GFN + page);
    assertEquals(await reads[page].done, BASE + page);
  }
  await endsWell(scene);
});

testRace(
  [KVM],
  "a window that is given up lets those who wait in it go on, as often as one likes",
  {},
  async (scene) => {
    const { stage, transport } = scene, { windows } = stage, { client, id } = windows.model;
    for (let round = 0; round < 140; round++) {
      const read = await stage.read(0);
      await stage.violated(GFN);
      const giving = client.do("unmap_window", { id, gfn: BigInt(GFN), nr_pages: BigInt(WINDOW_PAGES) });
      if (transport === "exit") windows.answer(GFN, STATE.IORESP_READY);
      else assertEquals(await read.done, ONES);
      await read.done;
      await giving;
      if (transport === "fault") windows.answer(GFN); // late
      await windows.mapWindow(WINDOW, WINDOW_PAGES, transport);
    }
    await endsWell(scene);
  },
  FAULT_ONLY,
);

testRace(
  [KVM],
  "another window comes while vCPUs wait in one, and serves as soon as they have gone on",
  { vcpus: 2 },
  async (scene) => {
    const { stage, memory, transport } = scene, { windows } = stage;
    await stage.windows.model.client.do("unmap_window", {
      id: windows.model.id,
      gfn: BigInt(GFN),
      nr_pages: BigInt(WINDOW_PAGES),
    });
    await windows.mapWindow(WINDOW, 8, transport);
    const read = await stage.read(0, 0);
    await stage.violated(GFN);
    const mapping = windows.mapWindow(WINDOW + 8 * PAGE_SIZE, 8, transport);
    for (let count = 0; count < 5; count++) await turn();
    await windows.map(GFN, memory, 1);
    windows.answer(GFN);
    assertEquals(await read.done, BASE + 1);
    await mapping;
    const other = await stage.read(9 * PAGE_SIZE, 1);
    await stage.violated(GFN + 9);
    await windows.map(GFN + 9, memory, 2);
    windows.answer(GFN + 9);
    assertEquals(await other.done, BASE + 2);
    await endsWell(scene);
  },
);

testRace([KVM], "a violation that is answered with data on the fault transport ends the run", {}, async ({ stage }) => {
  await stage.read(0);
  await stage.violated(GFN);
  stage.windows.answer(GFN, STATE.IORESP_READY);
  const { status, reason } = await stage.vm.exited;
  assertEquals(status, 125);
  assertMatch(reason, /^ioreq server 1 answered a violation of gfn 0xd0 with data \(IORESP_READY\)/);
}, FAULT_ONLY);
