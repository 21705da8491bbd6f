/** vCPUs that wait for pages when something ends or stops: servers, runs, pauses. On both transports. */

import { assertEquals } from "@std/assert";
import { STATE } from "../../src/ioreq/abi.ts";
import { COMMAND } from "../../src/ioreq/command_ring.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { KVM } from "../support/capabilities.ts";
import { ONES, turn, WINDOW, WINDOW_GFN as GFN, WINDOW_PAGES } from "../support/directed.ts";
import { BASE, bring, endsWell, FRAMES, requests, testRace } from "../support/window_scene.ts";

testRace(
  [KVM],
  "the guest goes on with ones when the server dies, and nobody is asked again",
  { vcpus: 2 },
  async (scene) => {
    const { stage } = scene, reads = [await stage.read(0, 0), await stage.read(PAGE_SIZE, 1)];
    await stage.violated(GFN, GFN + 1);
    stage.windows.model[Symbol.dispose]();
    for (const read of reads) assertEquals(await read.done, ONES);
    for (const vcpu of [0, 1]) assertEquals(await (await stage.read(5 * PAGE_SIZE, vcpu)).done, ONES);
    await endsWell(scene);
  },
);

testRace(
  [KVM],
  "after a server's death another has its window, and sees nothing of before",
  { vcpus: 2 },
  async (scene) => {
    const { stage, transport } = scene, read = await stage.read(0, 0);
    await stage.violated(GFN);
    stage.windows.model[Symbol.dispose]();
    assertEquals(await read.done, ONES);
    await (await stage.write(1, 0x55)).done;
    const successor = stage.windows = await stage.attach(), memory = await bring(successor, 0x60);
    await successor.mapWindow(WINDOW, WINDOW_PAGES, transport);
    await successor.model.setEnabled(true);
    const again = await stage.read(0, 1);
    await stage.violated(GFN);
    await successor.map(GFN, memory, 0);
    successor.answer(GFN);
    assertEquals(await again.done, 0x60);
    await endsWell(scene);
  },
);

testRace([KVM], "held, those who wait are the successor's", { vcpus: 2, hold: true }, async (scene) => {
  const { stage, memory } = scene;
  await stage.windows.map(GFN + 2, memory, 0);
  assertEquals(await (await stage.read(2 * PAGE_SIZE, 0)).done, BASE);
  const reads = [await stage.read(0, 0), await stage.read(PAGE_SIZE, 1)];
  await stage.violated(GFN, GFN + 1);
  stage.windows.model[Symbol.dispose]();
  const successor = stage.windows = await stage.attach(), next = await bring(successor, 0x60);
  await successor.openPager();
  await successor.model.setEnabled(true);
  await stage.violated(GFN, GFN + 1);
  for (const page of [0, 1]) {
    await successor.map(GFN + page, next, page);
    successor.answer(GFN + page);
    assertEquals(await reads[page].done, 0x60 + page);
  }
  const gone = await stage.read(2 * PAGE_SIZE, 0);
  await stage.violated(GFN + 2);
  await successor.map(GFN + 2, next, 2);
  successor.answer(GFN + 2);
  assertEquals(await gone.done, 0x62, "what the predecessor has mapped went with it");
  await endsWell(scene);
});

testRace(
  [KVM],
  "held, what the predecessor has ordered and nobody carried out is not done",
  { hold: true },
  async (scene) => {
    const { stage, memory } = scene;
    stage.windows.push({ op: COMMAND.MAP, gfn: GFN + 3, memory: memory.id, frame: 1 });
    stage.windows.model[Symbol.dispose]();
    const successor = stage.windows = await stage.attach(), next = await bring(successor, 0x60);
    await successor.openPager();
    await successor.model.setEnabled(true);
    assertEquals([next.id, await successor.revoke(GFN)], [memory.id, [""]]);
    const read = await stage.read(3 * PAGE_SIZE);
    await stage.until(() => read.isDone || successor.violations.length > 0);
    assertEquals([read.isDone, successor.violations], [false, [GFN + 3]]);
    await successor.map(GFN + 3, next, 0);
    successor.answer(GFN + 3);
    assertEquals(await read.done, 0x60);
    await endsWell(scene);
  },
);

testRace(
  [KVM],
  "held, an answer whose giver died before it rang is taken all the same",
  { hold: true },
  async (scene) => {
    const { stage, transport } = scene, { windows } = stage, { model } = windows;
    const read = await stage.read(0);
    await stage.violated(GFN);
    if (transport === "fault") {
      const asleep = new Int32Array(model.areaBytes.buffer);
      const PAGER_ASLEEP = 2;
      await stage.until(() => Atomics.load(asleep, PAGER_ASLEEP) === 1);
      windows.area.faults.setState(windows.asked.get(GFN)!, STATE.IORESP_RETRY);
      Atomics.store(asleep, PAGER_ASLEEP, 0);
    } else {
      model.slots.setState(0, STATE.IORESP_RETRY);
      model.wakeByHalf(0);
    }
    model[Symbol.dispose]();
    const successor = stage.windows = await stage.attach(), next = await bring(successor, 0x60);
    await successor.openPager();
    await successor.model.setEnabled(true);
    await stage.violated(GFN);
    await successor.map(GFN, next, 0);
    successor.answer(GFN);
    assertEquals(await read.done, 0x60);
    await endsWell(scene);
  },
);

testRace(
  [KVM],
  "a page that is touched while its server is disabled is ones then, and asked for afterwards",
  {},
  async (scene) => {
    const { stage, memory } = scene, { windows } = stage;
    await windows.model.setEnabled(false);
    assertEquals(await (await stage.read(0)).done, ONES);
    await windows.model.setEnabled(true);
    assertEquals(await windows.revoke(GFN), [""]);
    const read = await stage.read(0);
    await stage.until(() => read.isDone || windows.violations.length > 0);
    assertEquals(windows.violations, [GFN]);
    await windows.map(GFN, memory, 1);
    windows.answer(GFN);
    assertEquals(await read.done, BASE + 1);
    await endsWell(scene);
  },
);

testRace([KVM], "pause() resolves while vCPUs wait, and they go on after resume()", { vcpus: 2 }, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  const reads = [await stage.read(0, 0), await stage.read(PAGE_SIZE, 1)];
  await stage.violated(GFN, GFN + 1);
  await stage.vm.pause();
  await windows.map(GFN, memory, 1);
  windows.answer(GFN);
  await stage.vm.pause();
  assertEquals(reads.map(({ isDone }) => isDone), [false, false]);
  stage.vm.resume();
  assertEquals(await reads[0].done, BASE + 1);
  await stage.vm.pause();
  stage.vm.resume();
  await windows.map(GFN + 1, memory, 2);
  windows.answer(GFN + 1);
  assertEquals(await reads[1].done, BASE + 2);
  await endsWell(scene);
});

testRace([KVM], "pause() also resolves when vCPUs come to wait only then", { vcpus: 2 }, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  for (let round = 0; round < 20; round++) {
    const reads = await Promise.all([stage.read(0, 0), stage.read(0, 1)]);
    await stage.vm.pause();
    stage.vm.resume();
    await stage.until(() => windows.violations.length === requests(scene, 2).length);
    windows.push({ op: COMMAND.MAP, gfn: GFN, memory: memory.id, frame: round % FRAMES });
    windows.answer(GFN);
    for (const read of reads) assertEquals(await read.done, BASE + round % FRAMES);
    await windows.revoke(GFN);
  }
  await endsWell(scene);
});

testRace([KVM], "kick() of vCPUs that wait loses and repeats nothing", { vcpus: 2 }, async (scene) => {
  const { stage, memory } = scene, { windows } = stage;
  const write = await stage.write(0, 0x11, 0), read = await stage.read(PAGE_SIZE, 1);
  await stage.violated(GFN, GFN + 1);
  for (let count = 0; count < 10; count++) {
    stage.vm.kick();
    await turn();
  }
  assertEquals([write.isDone, read.isDone, windows.violations], [false, false, [GFN, GFN + 1]]);
  windows.push({ op: COMMAND.MAP, gfn: GFN, count: 2, memory: memory.id });
  windows.answer(GFN);
  windows.answer(GFN + 1);
  assertEquals([await read.done, await write.done, memory.bytes[0]], [BASE + 1, 0x11, 0x11]);
  await endsWell(scene);
});

testRace([KVM], "a time-out ends the run of vCPUs that wait", { vcpus: 3 }, async ({ stage }) => {
  await Promise.all([0, 1, 2].map((vcpu) => stage.read(vcpu * PAGE_SIZE, vcpu)));
  await stage.until(() => stage.windows.violations.length === 3);
  stage.vm.setTimeout(20);
  const { status, reason } = await stage.vm.exited;
  assertEquals({ status, reason }, { status: 124, reason: "time-out after 20 ms" });
});

testRace(
  [KVM],
  "disposal ends the run of vCPUs that wait, asked and not asked yet",
  { vcpus: 4 },
  async ({ stage }) => {
    await Promise.all([0, 1].map((vcpu) => stage.read(vcpu * PAGE_SIZE, vcpu)));
    await stage.violated(GFN, GFN + 1);
    await Promise.all([2, 3].map((vcpu) => stage.read(vcpu * PAGE_SIZE, vcpu)));
    await stage.vm[Symbol.asyncDispose]();
    assertEquals((await stage.vm.exited).reason, "stopped from outside");
  },
);
