/** The remarks of the review of Xen's multi-page series (seed 000; issue 4, point 2), each answered by a test. */

import { assert, assertEquals } from "@std/assert";
import { BUFIOREQ, IOREQ_BYTES, STATE } from "../../src/ioreq/abi.ts";
import { GfnPool } from "../../src/ioreq/gfn_pool.ts";
import { ioreqPages } from "../../src/ioreq/slots.ts";
import { ENOMEM } from "../../src/linux/errno.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import type { Bank } from "../../src/memory/bank.ts";
import { FRAME_TYPE } from "../../src/memory/frame_table.ts";
import { Thread } from "../linux/threads.ts";
import { between } from "../support/between.ts";
import { sharedPool } from "./pool_threads.ts";
import { DOMID, refusal, TestDomain } from "./test_domain.ts";

const THREADS = new URL("./pool_threads.ts", import.meta.url).href;

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

Deno.test("review: the pool is synchronised: two servers created at once never share a gfn", async () => {
  const shared = sharedPool(16);
  using stack = new DisposableStack();
  const threads = [0, 1].map(() => stack.use(new Thread<number>(THREADS, "createServers", shared, 150)));
  assertEquals(await Promise.all(threads.map((thread) => thread.result)), [0, 0]);
});

Deno.test("review: the pool is synchronised: a server that looks for gfns while another takes them gets others", () => {
  const pool = GfnPool.memory(16);
  using one = new TestDomain({ vcpus: VCPUS, gfns: 16, pool });
  using other = new TestDomain({ vcpus: VCPUS, gfns: 16, pool }); // another isolate's
  for (const { servers } of [one, other]) servers.create(A, BUFIOREQ.ATOMIC);
  let others: readonly number[] = [];
  const take = (_call: number, words: unknown) => {
    if (words === pool && others.length === 0) others = other.servers.info(A, 0, true).ioreqGfns;
  };
  const own = between("load", take, () => one.servers.info(A, 0, true).ioreqGfns);
  assertEquals([own.length, others.length, new Set([...own, ...others]).size], [3, 3, 6]);
});

Deno.test("review: gfns need not be consecutive: a fragmented pool serves, and a slot is still array[vcpu_id]", () => {
  using domain = new TestDomain({ vcpus: VCPUS, gfns: 9 });
  const { servers, guestFrames: { pool } } = domain;
  const all = Array.from({ length: 9 }, () => pool.allocate()!);
  for (const gfn of all.filter((_, index) => index % 2 === 0)) pool.release(gfn); // 0, 2, 4, 6, 8
  const id = servers.create(A, BUFIOREQ.ATOMIC), { ioreqGfns, bufioreqGfn } = servers.info(A, id, true);
  assertEquals([...ioreqGfns, bufioreqGfn].map((gfn) => gfn! - pool.base), [0, 2, 4, 6]);
  const { slots } = domain.view(id), banks = servers.gfnPages(A, id).slice(1);
  for (const vcpu of [0, 127, 128, 255, 256, 299]) {
    slots!.setData(vcpu, 1000 + vcpu, 0);
    const words = new Uint32Array(banks[vcpu >> 7].directmap.buffer, (vcpu & 127) * IOREQ_BYTES, 8);
    assertEquals(words[2], 1000 + vcpu, `vCPU ${vcpu}`);
  }
  const other = servers.create(A, BUFIOREQ.OFF);
  assertEquals(refusal(() => servers.info(A, other, true)), "ENOMEM", "one gfn is left, and three are needed");
  assertEquals([pool.available, domain.machine.references], [1, 4]);
});

for (const [way, getPages] of Object.entries(WAYS)) {
  Deno.test(`review: pointers are cleared and mappings gone before references are dropped (${way})`, () => {
    using domain = new TestDomain({ vcpus: VCPUS });
    const { servers, table } = domain, log: string[] = [];
    domain.allocated = ({ frameTable }, name) => {
      const putType = frameTable.putType.bind(frameTable);
      frameTable.putType = (mfn) => {
        look(`${name.replace(/-[^-]*$/, "")} dropped`);
        putType(mfn);
      };
    };
    const id = servers.create(A, BUFIOREQ.ATOMIC), server = table.server(id);
    getPages(domain, id);
    servers.setEnabled(A, id, true);
    const addresses = [server.slots, server.slots + BigInt(2 * PAGE_SIZE), server.buffered];
    const bytes = addresses.map((address) => new Uint8Array(viewAt(address, PAGE_SIZE)));
    const mark = () => bytes.forEach((page) => page[99] = 1);
    mark();
    function look(what: string): void {
      const pointers = [server.enabled, server.slots !== 0n, server.buffered !== 0n].filter(Boolean).length;
      const shown = bytes.filter((page) => page[99] === 1).length;
      log.push(`${what}: ${pointers} pointers, ${shown} pages shown, ${domain.machine.references} references`);
    }
    domain.before = (step) => {
      if (step === "add") mark(); // pages were cleared before they go back to the guest
      if (step === "hide") look("window");
    };
    servers.destroy(A, id);
    const page = way === "by gfn" ? "gfn" : "xenolith-ioreq";
    assertEquals(log, [
      `window: 0 pointers, 3 pages shown, 4 references`,
      `window: 0 pointers, 1 pages shown, 4 references`,
      `${page} dropped: 0 pointers, 0 pages shown, 4 references`,
      `${page} dropped: 0 pointers, 0 pages shown, 3 references`,
      `${page} dropped: 0 pointers, 0 pages shown, 2 references`,
      `${page} dropped: 0 pointers, 0 pages shown, 1 references`,
      `window: 0 pointers, 0 pages shown, 0 references`,
    ]);
  });
}

Deno.test("review: the way that was used first is the only one: EPERM for the other, both ways round", () => {
  for (const [first, second] of [[AS_RESOURCE, BY_GFN], [BY_GFN, AS_RESOURCE]]) {
    using domain = new TestDomain({ vcpus: VCPUS });
    const { servers } = domain, id = servers.create(A, BUFIOREQ.LEGACY);
    first(domain, id);
    const before = domain.holdings();
    for (const enabled of [false, true]) {
      servers.setEnabled(A, id, enabled);
      assertEquals(refusal(() => second(domain, id)), "EPERM");
      first(domain, id);
    }
    servers.setEnabled(A, id, false);
    servers.info(A, id, false); // asks for no pages
    assertEquals(domain.holdings(), before);
    servers.destroy(A, id);
    servers.create(A, BUFIOREQ.LEGACY);
    second(domain, id);
  }
});

Deno.test("review: a way that failed is no way that was used", () => {
  for (const [first, second] of [[AS_RESOURCE, BY_GFN], [BY_GFN, AS_RESOURCE]]) {
    using domain = new TestDomain({ vcpus: VCPUS });
    const id = domain.servers.create(A, BUFIOREQ.OFF);
    domain.failAt(2, () => new LinuxError("mmap", ENOMEM, "test"));
    assertEquals(refusal(() => first(domain, id)), "ENOMEM");
    domain.before = () => {};
    second(domain, id);
  }
});

for (const [way, getPages] of Object.entries(WAYS)) {
  Deno.test(`review: a dying domain gets no pages (EINVAL), and keeps those that it has (${way})`, () => {
    using domain = new TestDomain({ vcpus: VCPUS });
    const { servers } = domain;
    for (const id of [servers.create(A, BUFIOREQ.OFF), servers.create(A, BUFIOREQ.OFF)]) {
      domain.dying = id === 1;
      if (id === 0) getPages(domain, id);
    }
    const before = domain.holdings();
    assertEquals(refusal(() => getPages(domain, 1)), "EINVAL");
    assertEquals(domain.holdings(), before);
    getPages(domain, 0);
    servers.info(A, 1, false);
    servers.destroy(A, 0);
    servers.destroy(A, 1);
  });
}

Deno.test("review: frame indices: n and above are EINVAL, the buffered one ENOENT where there is none", () => {
  for (const vcpus of [1, 128, 129, 256, 257, 1024]) {
    using domain = new TestDomain({ vcpus });
    const { servers } = domain, id = servers.create(A, BUFIOREQ.OFF), n = 1 + Math.ceil(vcpus / 128);
    assertEquals(servers.acquire(A, id, 1, n - 1).length, n - 1);
    for (const frame of [n, n + 1, 2 ** 32 - 1]) {
      assertEquals(refusal(() => servers.acquire(A, id, frame, 1)), "EINVAL");
    }
    assertEquals(refusal(() => servers.acquire(A, id, 0, 1)), "ENOENT");
  }
});

for (const [way, getPages] of Object.entries(WAYS)) {
  Deno.test(`review: pages are the domain's, each with one reference, as writable memory (${way})`, () => {
    using domain = new TestDomain({ vcpus: VCPUS });
    const { servers } = domain, id = servers.create(A, BUFIOREQ.ATOMIC);
    getPages(domain, id);
    const banks: readonly Bank[] = way === "by gfn" ? servers.gfnPages(A, id) : servers.acquire(A, id, 0, 4);
    assertEquals(banks.length, 4);
    for (const { owner, frames, frameTable, firstMfn } of banks) {
      assertEquals([owner, frames, frameTable.referencesTo(firstMfn)], [DOMID, 1, 1]);
      assertEquals(frameTable.typeOf(firstMfn), { type: FRAME_TYPE.WRITABLE, count: 1 });
    }
    getPages(domain, id);
    assertEquals(domain.machine.references, 4, "asking again takes no more");
    servers.setEnabled(A, id, true);
    servers.setEnabled(A, id, false);
    assertEquals(domain.machine.references, 4);
    servers.destroy(A, id);
    assertEquals(domain.machine.references, 0);
  });
}

Deno.test("review: sizes come from the page size: as few pages as hold a slot for every vCPU that the domain can have", () => {
  for (let vcpus = 1; vcpus <= 1100; vcpus++) {
    const bytes = vcpus * IOREQ_BYTES, pages = ioreqPages(vcpus);
    assert(pages * PAGE_SIZE >= bytes && (pages - 1) * PAGE_SIZE < bytes, `${vcpus} vCPUs: ${pages} pages`);
  }
  for (const vcpus of [1, 128, 129, 1024]) {
    using domain = new TestDomain({ vcpus });
    const { servers, vmap } = domain, id = servers.create(A, BUFIOREQ.OFF);
    assertEquals([servers.resourceFrames, servers.acquire(A, id, 1, ioreqPages(vcpus)).length], [
      1 + ioreqPages(vcpus),
      ioreqPages(vcpus),
    ]);
    assertEquals(vmap.areaOf(domain.table.server(id).slots)?.pages, ioreqPages(vcpus));
    const { slots } = domain.view(id);
    slots!.publish(vcpus - 1, STATE.READY, 0);
    assertEquals(slots!.state(vcpus - 1), STATE.READY);
  }
});
