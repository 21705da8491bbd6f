/** The review's remarks on error paths (seed 000): whatever step fails, what it leaves is what there was. */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { BUFIOREQ, type Bufioreq } from "../../src/ioreq/abi.ts";
import { EAGAIN, ENOMEM } from "../../src/linux/errno.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import type { Gfn } from "../../src/memory/address.ts";
import { MachineMemoryError } from "../../src/memory/bank.ts";
import { FRAME_TYPE, FrameError } from "../../src/memory/frame_table.ts";
import { ArenaFullError } from "../../src/memory/vmap.ts";
import { refusal, TestDomain } from "./test_domain.ts";

/** A device model. */
const A = 1;

/** More than two pages. */
const VCPUS = 300;

/** The two ways of getting the pages. */
const WAYS: Record<string, (domain: TestDomain, id: number) => unknown> = {
  "as a resource": ({ servers }, id) => servers.acquire(A, id, 1, 3),
  "by gfn": ({ servers }, id) => servers.info(A, id, true),
};
const [AS_RESOURCE, BY_GFN] = Object.values(WAYS);

/** A domain whose windows and guest frames were in use before: what is left of that is no leak. */
function usedDomain(bufioreq: Bufioreq): TestDomain {
  const domain = new TestDomain({ vcpus: VCPUS }), { servers } = domain;
  for (const way of Object.values(WAYS)) {
    const id = servers.create(A, bufioreq);
    way(domain, id);
    servers.setEnabled(A, id, true);
    servers.destroy(A, id);
  }
  return domain;
}

/** What the host and the frames may refuse a step with, and what the caller is told. */
const FAILURES: Record<string, [error: () => Error, errno: string]> = {
  "ENOMEM of the host": [() => new LinuxError("mmap", ENOMEM, "test"), "ENOMEM"],
  "EAGAIN of the host": [() => new LinuxError("memfd_create", EAGAIN, "test"), "ENOMEM"],
  "no more machine memory": [() => new MachineMemoryError("test"), "ENOMEM"],
  "a full arena": [() => new ArenaFullError("default", 3), "ENOMEM"],
  "a frame in use": [() => new FrameError("test"), "EINVAL"],
};

/** What is tried, after what has to be there. */
const ATTEMPTS: Record<string, { before?: (domain: TestDomain) => unknown; body: (domain: TestDomain) => unknown }> = {
  "create()": { body: ({ servers }) => servers.create(A, BUFIOREQ.ATOMIC) },
  "pages as a resource": {
    before: ({ servers }) => servers.create(A, BUFIOREQ.ATOMIC),
    body: (domain) => AS_RESOURCE(domain, 0),
  },
  "pages by gfn": {
    before: ({ servers }) => servers.create(A, BUFIOREQ.ATOMIC),
    body: (domain) => BY_GFN(domain, 0),
  },
  "pages by gfn, no buffered one": {
    before: ({ servers }) => servers.create(A, BUFIOREQ.OFF),
    body: (domain) => BY_GFN(domain, 0),
  },
  "enabling by gfn": {
    before(domain) {
      BY_GFN(domain, domain.servers.create(A, BUFIOREQ.ATOMIC));
    },
    body: ({ servers }) => servers.setEnabled(A, 0, true),
  },
};

for (const [name, { before, body }] of Object.entries(ATTEMPTS)) {
  Deno.test(`review: every error path is balanced, never EAGAIN: ${name}, each step failing in turn`, () => {
    for (const [failure, [error, errno]] of Object.entries(FAILURES)) {
      using domain = usedDomain(BUFIOREQ.ATOMIC);
      const empty = domain.holdings();
      before?.(domain);
      const holdings = domain.holdings(), server = domain.table.server(0);
      const state = () => [server.exists, server.enabled, server.slots, server.buffered];
      const pointers = state();
      let k = 0;
      for (;; k++) {
        const steps = domain.failAt(k, error);
        try {
          body(domain);
          if (steps() <= k) break;
        } catch {
          domain.failAt(k, error);
          assertEquals(refusal(() => body(domain)), errno, `${failure} at step ${k}`);
        }
        domain.before = () => {};
        assertEquals(domain.holdings(), holdings, `${failure} at step ${k}`);
        assertEquals(state(), pointers);
      }
      assert(k >= 2, "no step has failed");
      domain.before = () => {};
      assertNotEquals(domain.holdings(), holdings);
      domain.servers[Symbol.dispose]();
      assertEquals(domain.holdings(), empty, "what came after the failures");
    }
  });
}

Deno.test("review: balanced as well when a page's frame is in use as another type, whichever of them it is", () => {
  using domain = usedDomain(BUFIOREQ.ATOMIC);
  const { servers, guestFrames } = domain, id = servers.create(A, BUFIOREQ.ATOMIC);
  for (let k = 0; k < 4; k++) {
    const { frameTable, firstMfn } = guestFrames.memory(guestFrames.pool.base + k as Gfn);
    frameTable.getType(firstMfn, FRAME_TYPE.READ_ONLY);
    const before = domain.holdings();
    assertEquals(refusal(() => BY_GFN(domain, id)), "EINVAL");
    assertEquals(domain.holdings(), before);
    frameTable.putType(firstMfn);
  }
  BY_GFN(domain, id);
});

Deno.test("review: balanced as well when the pool runs out, after however many gfns", () => {
  using domain = usedDomain(BUFIOREQ.ATOMIC);
  const { servers, guestFrames: { pool } } = domain, id = servers.create(A, BUFIOREQ.ATOMIC);
  const taken = Array.from({ length: pool.available }, () => pool.allocate()!);
  for (const gfn of taken.slice(0, 4)) {
    const before = domain.holdings();
    assertEquals(refusal(() => BY_GFN(domain, id)), "ENOMEM");
    assertEquals(domain.holdings(), before);
    pool.release(gfn);
  }
  assertEquals([pool.available, servers.info(A, id, true).ioreqGfns.length], [4, 3]);
});

Deno.test("review: balanced as well when vmap's arena is full; only windows that were made already stay", () => {
  // Each area takes a guard page, too: notification, slots (3), ring.
  const notification = (() => {
    using domain = new TestDomain();
    domain.servers.create(A, BUFIOREQ.OFF);
    return domain.vmap.areaOf(domain.table.server(0).notification)!.pages;
  })();
  const rows: [arenaPages: number, operation: string, areas: number][] = [
    [notification, "create", 0],
    [notification + 1, "acquire", 1],
    [notification + 1 + 3, "acquire", 1],
    [notification + 1 + 4, "acquire", 2],
    [notification + 1 + 4 + 2, "", 3],
  ];
  for (const [arenaPages, operation, areas] of rows) {
    using domain = new TestDomain({ vcpus: VCPUS, arenaPages });
    const { servers, vmap } = domain;
    let before = domain.holdings();
    const create = () => servers.create(A, BUFIOREQ.ATOMIC), acquire = () => servers.acquire(A, 0, 0, 4);
    if (operation === "create") {
      assertEquals(refusal(create), "ENOMEM");
    } else {
      create();
      before = domain.holdings();
      if (operation === "acquire") assertEquals(refusal(acquire), "ENOMEM", `${arenaPages} pages`);
      else acquire();
    }
    assertEquals(vmap.areas, areas, `${arenaPages} pages`);
    if (operation !== "") assertEquals({ ...domain.holdings(), areas: 0 }, { ...before, areas: 0 });
  }
});

Deno.test("review: a window that cannot be hidden keeps nothing else from being given back", () => {
  for (let failing = 0; failing < 3; failing++) {
    using domain = new TestDomain({ vcpus: VCPUS });
    const before = domain.holdings(), { servers } = domain;
    AS_RESOURCE(domain, servers.create(A, BUFIOREQ.ATOMIC));
    domain.failAt(failing, () => new LinuxError("mmap", ENOMEM, "test"));
    assertEquals(refusal(() => servers.destroy(A, 0)), "ENOMEM");
    domain.before = () => {};
    const { banks, references, types, descriptors } = domain.holdings();
    assertEquals([banks, references, types, descriptors], [0, 0, [], before.descriptors]);
    assertEquals([servers.of(A), domain.table.server(0).exists], [[], false]);
    assertEquals(servers.create(A, BUFIOREQ.ATOMIC), 0);
    AS_RESOURCE(domain, 0);
  }
});

Deno.test("review: disabling gives back as many pages as it can although one fails, and the failure is reported", () => {
  for (let k = 0; k < 4; k++) {
    using domain = new TestDomain({ vcpus: VCPUS });
    const { servers, p2m } = domain, id = servers.create(A, BUFIOREQ.ATOMIC);
    BY_GFN(domain, id);
    servers.setEnabled(A, id, true);
    assertEquals(p2m.size, 0);
    domain.failAt(k, () => new LinuxError("ioctl", EAGAIN, "test"));
    assertEquals(refusal(() => servers.setEnabled(A, id, false)), "ENOMEM");
    assertEquals([p2m.size, domain.table.server(id).enabled], [3, false]);
    domain.before = () => {};
    servers.setEnabled(A, id, true);
    servers.setEnabled(A, id, false);
    assertEquals(p2m.size, 4, "the next time it goes");
  }
});

Deno.test("review: disabling of which every page fails is one refusal", () => {
  using domain = new TestDomain({ vcpus: VCPUS });
  const { servers } = domain, id = servers.create(A, BUFIOREQ.ATOMIC);
  BY_GFN(domain, id);
  servers.setEnabled(A, id, true);
  domain.before = () => {
    throw new LinuxError("ioctl", EAGAIN, "test");
  };
  assertEquals(refusal(() => servers.setEnabled(A, id, false)), "ENOMEM");
});

Deno.test("review: a page that did not go back when its server was disabled goes back when the server goes", () => {
  for (const enabled of [false, true]) {
    using domain = new TestDomain({ vcpus: VCPUS });
    const { servers, p2m } = domain, id = servers.create(A, BUFIOREQ.ATOMIC);
    BY_GFN(domain, id);
    servers.setEnabled(A, id, true);
    if (!enabled) {
      domain.failAt(1, () => new LinuxError("ioctl", ENOMEM, "test"));
      refusal(() => servers.setEnabled(A, id, false));
      domain.before = () => {};
    }
    servers.destroy(A, id);
    assertEquals(p2m.size, 4);
  }
});

Deno.test("review: a page that never went back is the next server's to put back, which then has a gfn like any other", () => {
  using domain = new TestDomain({ vcpus: VCPUS });
  const { servers, p2m } = domain, id = servers.create(A, BUFIOREQ.ATOMIC);
  BY_GFN(domain, id);
  servers.setEnabled(A, id, true);
  domain.before = (step) => {
    if (step === "add") throw new LinuxError("ioctl", ENOMEM, "test");
  };
  assertEquals(refusal(() => servers.destroy(A, id)), "ENOMEM", "four failures");
  assertEquals([p2m.size, servers.of(A), domain.guestFrames.pool.available], [0, [], 64]);
  servers.create(A, BUFIOREQ.ATOMIC);
  assertEquals(refusal(() => BY_GFN(domain, id)), "ENOMEM");
  domain.before = () => {};
  BY_GFN(domain, id);
  assertEquals(p2m.size, 4);
  servers.setEnabled(A, id, true);
  assertEquals(p2m.size, 0);
  servers.setEnabled(A, id, false);
  assertEquals(p2m.size, 4);
});

Deno.test("review: one emulator's server that does not go without an error keeps no other from going", () => {
  for (const end of ["abandon", "dispose"]) {
    using domain = new TestDomain();
    const { servers } = domain;
    for (let id = 0; id < 3; id++) {
      BY_GFN(domain, servers.create(A, BUFIOREQ.OFF));
      servers.setEnabled(A, id, true);
    }
    domain.failAt(1, () => new LinuxError("ioctl", ENOMEM, "test"));
    const body = () => end === "abandon" ? servers.abandon(A, false) : servers[Symbol.dispose]();
    assertEquals(refusal(body), "ENOMEM");
    assertEquals([servers.of(A), domain.guestFrames.pool.available], [[], 64], end);
  }
});
