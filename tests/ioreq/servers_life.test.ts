/** How ioreq servers end, and how they outlive their device models. */

import { assertEquals } from "@std/assert";
import { BUFIOREQ, RANGE, STATE } from "../../src/ioreq/abi.ts";
import { vcpuPort } from "../../src/ioreq/notification.ts";
import { refusal, TestDomain } from "./test_domain.ts";

/** Two device models. */
const A = 1, B = 2;

Deno.test("destroy() gives everything back and leaves only the windows, which show zeroes to whoever looks late", () => {
  using domain = new TestDomain({ vcpus: 300 });
  const { servers, table } = domain, empty = domain.holdings();
  for (const way of ["none", "resource", "gfn"]) {
    const id = servers.create(A, BUFIOREQ.ATOMIC);
    if (way === "resource") servers.acquire(A, id, 0, 4);
    if (way === "gfn") servers.info(A, id, true);
    servers.mapRange(A, id, RANGE.PORT, 1, 2);
    servers.setEnabled(A, id, true);
    const { slots, ring, area } = domain.view(id), { wakes } = domain;
    slots?.publish(299, STATE.READY, 0);
    ring?.push(1, 2, 4, 5, 6, false);
    servers.destroy(A, id);
    assertEquals([slots?.state(299) ?? 0, ring?.pending ?? false, area!.released], [STATE.NONE, false, false], way);
    const { exists, enabled, slots: address, buffered, notification } = table.server(id);
    assertEquals([exists, enabled, address, buffered, notification], [false, false, 0n, 0n, 0n]);
    assertEquals([table.select(RANGE.PORT, 1, 2), domain.wakes > wakes, servers.of(A)], [-1, true, []]);
    assertEquals(refusal(() => servers.destroy(A, id)), "ENOENT");
    // The pool's frames stay the guest's, with their memory.
    const gfns = way === "gfn" ? 4 : 0, { descriptors, mappings } = empty;
    const guests = {
      banks: gfns,
      descriptors: descriptors + gfns,
      mappings: mappings + gfns,
      p2m: [...domain.p2m].sort(),
    };
    assertEquals({ ...domain.holdings(), areas: 0 }, { ...empty, ...guests }, way);
  }
});

Deno.test("destroy() tells the device model to leave before its memory goes", () => {
  using domain = new TestDomain();
  const { servers } = domain, id = servers.create(A, BUFIOREQ.OFF);
  const { notification } = servers.memory(A, id), words = new Int32Array(notification.directmap.buffer);
  let released = 0;
  domain.before = (step) => released = step === "hide" ? words[0] : released;
  servers.destroy(A, id);
  assertEquals(released, 1);
});

Deno.test("release() tells every device model to leave and takes no server away", () => {
  using domain = new TestDomain();
  for (const emulator of [A, B]) domain.servers.create(emulator, BUFIOREQ.OFF);
  domain.servers.release();
  assertEquals([0, 1].map((id) => [domain.view(id).area!.released, domain.table.server(id).exists]), [
    [true, true],
    [true, true],
  ]);
});

Deno.test("abandon() takes the servers of one emulator away, and no other's", () => {
  using domain = new TestDomain();
  const { servers } = domain;
  for (const emulator of [A, B, A]) servers.create(emulator, BUFIOREQ.OFF);
  servers.abandon(A, false);
  assertEquals([servers.of(A), servers.of(B)], [[], [1]]);
  servers.abandon(A, false);
  assertEquals(servers.of(B), [1]);
});

Deno.test("abandon() with hold keeps the enabled servers, for the next that creates one as the same emulator", () => {
  using domain = new TestDomain();
  const { servers, table } = domain;
  for (const bufioreq of [BUFIOREQ.ATOMIC, BUFIOREQ.OFF, BUFIOREQ.OFF]) servers.create(A, bufioreq);
  servers.acquire(A, 0, 0, 2);
  servers.mapRange(A, 0, RANGE.PORT, 0x60, 0x6f);
  for (const id of [0, 2]) servers.setEnabled(A, id, true);
  const { slots, area, ring } = domain.view(0);
  slots!.publish(0, STATE.READY, 0);
  slots!.publish(1, STATE.INPROCESS, 0);
  slots!.publish(2, STATE.IORESP_READY, 0);
  ring!.push(0, 0x60, 1, 7, 0, true);
  area!.channels.drain(() => {});
  servers.abandon(A, true);
  assertEquals([servers.of(A), table.server(1).exists], [[0, 2], false], "nobody waits for one that is disabled");
  assertEquals([table.select(RANGE.PORT, 0x60, 0x60), area!.released], [0, false]);

  assertEquals(servers.create(B, BUFIOREQ.ATOMIC), 1, "another emulator gets a new one");
  const { takeovers } = table.server(0);
  assertEquals(servers.create(A, BUFIOREQ.ATOMIC), 0);
  assertEquals([0, 1, 2, 3].map((vcpu) => slots!.state(vcpu)), [
    STATE.READY,
    STATE.READY,
    STATE.IORESP_READY,
    STATE.NONE,
  ]);
  assertEquals(table.server(0).takeovers, takeovers + 1);
  const ports: number[] = [];
  area!.channels.drain((port) => ports.push(port));
  assertEquals(ports, [vcpuPort(0), vcpuPort(1), area!.bufferedPort], "what waits is told of again");
  assertEquals([table.server(0).enabled, ring!.pending], [true, true]);

  servers.mapRange(A, 0, RANGE.PORT, 0x60, 0x6f);
  servers.mapRange(A, 0, RANGE.PORT, 0x64, 0x64);
  assertEquals(refusal(() => servers.mapRange(A, 0, RANGE.PORT, 0x6f, 0x70)), "EEXIST");
  servers.mapRange(A, 0, RANGE.PORT, 0x70, 0x71);
  assertEquals(table.server(0).ranges[RANGE.PORT].list(), [[0x60, 0x71]]);
  servers.unmapRange(A, 0, RANGE.PORT, 0x60, 0x60);
  servers.mapRange(A, 0, RANGE.PORT, 0x60, 0x60);
  assertEquals(table.select(RANGE.PORT, 0x60, 0x60), 0);
});

Deno.test("a held server that buffers otherwise than its successor wants is destroyed, and the next one looked at", () => {
  using domain = new TestDomain();
  const { servers, table } = domain;
  for (const bufioreq of [BUFIOREQ.LEGACY, BUFIOREQ.OFF]) servers.setEnabled(A, servers.create(A, bufioreq), true);
  servers.abandon(A, true);
  assertEquals(servers.create(A, BUFIOREQ.OFF), 1);
  assertEquals([servers.of(A), table.server(0).exists, table.server(1).takeovers], [[1], false, 1]);
  assertEquals(servers.create(A, BUFIOREQ.OFF), 0, "no held one is left");
});

Deno.test("a held server that is abandoned again is held on, and one of a dying domain is not held", () => {
  using domain = new TestDomain();
  const { servers } = domain;
  servers.setEnabled(A, servers.create(A, BUFIOREQ.OFF), true);
  servers.abandon(A, true);
  servers.abandon(A, false);
  assertEquals(servers.of(A), [0]);
  assertEquals(servers.create(A, BUFIOREQ.OFF), 0);
  domain.dying = true;
  servers.abandon(A, true);
  assertEquals(servers.of(A), []);
});

Deno.test("disposing the servers gives back all, held ones too", () => {
  using domain = new TestDomain();
  const { servers } = domain, before = domain.holdings();
  for (const emulator of [A, B, A]) {
    const id = servers.create(emulator, BUFIOREQ.LEGACY);
    servers.acquire(emulator, id, 0, 0);
    servers.setEnabled(emulator, id, true);
  }
  servers.abandon(A, true);
  servers[Symbol.dispose]();
  assertEquals({ ...domain.holdings(), areas: 0 }, before);
});
