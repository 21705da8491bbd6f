/** IoreqServers: each operation with each of Xen's refusals (xen/common/ioreq.c, facts/xen.md). */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { BUFIOREQ, type Bufioreq, MAX_SERVERS, RANGE, type RangeType, STATE } from "../../src/ioreq/abi.ts";
import { bufferedPort, vcpuPort } from "../../src/ioreq/notification.ts";
import { refusal, TestDomain } from "./test_domain.ts";

/** Two device models. */
const A = 1, B = 2;

Deno.test("create() gives the lowest free id, of a server that is disabled, claims nothing and has no pages", () => {
  using domain = new TestDomain();
  const { servers, table } = domain;
  assertEquals([servers.create(A, BUFIOREQ.OFF), servers.create(B, BUFIOREQ.OFF), servers.create(A, 2)], [0, 1, 2]);
  servers.destroy(B, 1);
  assertEquals([servers.create(A, BUFIOREQ.LEGACY), servers.create(B, BUFIOREQ.OFF)], [1, 3]);
  for (const id of [0, 1, 2, 3]) {
    const { exists, enabled, slots, buffered, ranges, vcpus } = table.server(id);
    assertEquals([exists, enabled, slots, buffered, vcpus], [true, false, 0n, 0n, domain.vcpus]);
    assertEquals(ranges.map(({ length }) => length), [0, 0, 0]);
  }
  assertEquals([servers.of(A), servers.of(B), servers.of(9)], [[0, 1, 2], [3], []]);
});

Deno.test("create() refuses a ninth server (ENOSPC), and other handling of buffered requests (EINVAL)", () => {
  using domain = new TestDomain();
  const { servers } = domain;
  for (const bufioreq of [-1, 3, 255, NaN]) {
    assertEquals(refusal(() => servers.create(A, bufioreq as Bufioreq)), "EINVAL", `${bufioreq}`);
  }
  for (let id = 0; id < MAX_SERVERS; id++) assertEquals(servers.create(A, BUFIOREQ.OFF), id);
  const before = domain.holdings();
  assertEquals(refusal(() => servers.create(B, BUFIOREQ.OFF)), "ENOSPC");
  assertEquals(refusal(() => servers.create(B, 3 as Bufioreq)), "EINVAL");
  assertEquals(domain.holdings(), before);
  servers.destroy(A, 5);
  assertEquals(servers.create(B, BUFIOREQ.OFF), 5);
});

/** Every operation on a server that exists. */
const OPERATIONS: Record<string, (domain: TestDomain, emulator: number, id: number) => unknown> = {
  "info() without gfns": ({ servers }, emulator, id) => servers.info(emulator, id, false),
  "info() with gfns": ({ servers }, emulator, id) => servers.info(emulator, id, true),
  "gfnPages()": ({ servers }, emulator, id) => servers.gfnPages(emulator, id),
  "acquire()": ({ servers }, emulator, id) => servers.acquire(emulator, id, 1, 1),
  "memory()": ({ servers }, emulator, id) => servers.memory(emulator, id),
  "mapRange()": ({ servers }, emulator, id) => servers.mapRange(emulator, id, RANGE.PORT, 1, 2),
  "unmapRange()": ({ servers }, emulator, id) => servers.unmapRange(emulator, id, RANGE.PORT, 60, 61),
  "bufferRange()": ({ servers }, emulator, id) => servers.bufferRange(emulator, id, RANGE.PORT, 1, 2),
  "setEnabled()": ({ servers }, emulator, id) => servers.setEnabled(emulator, id, true),
  "destroy()": ({ servers }, emulator, id) => servers.destroy(emulator, id),
};

for (const [name, operation] of Object.entries(OPERATIONS)) {
  Deno.test(`${name} is refused to another emulator (EPERM) and for an unknown server (ENOENT), and changes nothing`, () => {
    using domain = new TestDomain();
    const id = domain.servers.create(A, BUFIOREQ.ATOMIC);
    domain.servers.mapRange(A, id, RANGE.PORT, 60, 69);
    const before = domain.holdings(), ranges = () => domain.table.server(id).ranges.map((set) => set.list());
    assertEquals(refusal(() => operation(domain, B, id)), "EPERM");
    for (const unknown of [1, 7, 8, 0xffff, -1, 0.5]) {
      assertEquals(refusal(() => operation(domain, A, unknown)), "ENOENT", `${unknown}`);
    }
    assertEquals([domain.holdings(), ranges()], [before, [[[60, 69]], [], []]]);
    assertEquals([domain.table.server(id).exists, domain.table.server(id).enabled], [true, false]);
    operation(domain, A, id);
  });
}

const RANGES: Record<string, [type: number, first: number, last: number, mapped: string, unmapped: string]> = {
  "what is mapped": [RANGE.PORT, 60, 69, "EEXIST", ""],
  "a part of it": [RANGE.PORT, 62, 63, "EEXIST", ""],
  "more than it": [RANGE.PORT, 50, 80, "EEXIST", "ENOENT"],
  "what overlaps its end": [RANGE.PORT, 69, 70, "EEXIST", "ENOENT"],
  "its neighbour": [RANGE.PORT, 70, 71, "", "ENOENT"],
  "the same numbers as memory": [RANGE.MEMORY, 60, 69, "", "ENOENT"],
  "the same numbers as PCI functions": [RANGE.PCI, 60, 69, "", "ENOENT"],
  "an end before its start": [RANGE.PORT, 61, 60, "EINVAL", "EINVAL"],
  "an end before its start, of no known type": [9, 61, 60, "EINVAL", "EINVAL"],
  "no known type": [3, 100, 109, "EINVAL", "EINVAL"],
  "a negative type": [-1, 100, 109, "EINVAL", "EINVAL"],
  "no address": [RANGE.MEMORY, 0, 2 ** 53, "EINVAL", "EINVAL"],
};

for (const [name, [type, first, last, mapped, unmapped]] of Object.entries(RANGES)) {
  Deno.test(`mapRange() of ${name}: ${mapped || "done"}; unmapRange(): ${unmapped || "done"}`, () => {
    for (const [operation, errno] of [["mapRange", mapped], ["unmapRange", unmapped]] as const) {
      using domain = new TestDomain();
      const { servers } = domain, id = servers.create(A, BUFIOREQ.OFF);
      servers.mapRange(A, id, RANGE.PORT, 60, 69);
      const lists = () => domain.table.server(id).ranges.map((set) => set.list());
      const before = lists(), body = () => servers[operation](A, id, type as RangeType, first, last);
      if (errno === "") {
        body();
        assertNotEquals(lists(), before);
      } else {
        assertEquals(refusal(body), errno);
        assertEquals(lists(), before);
      }
    }
  });
}

Deno.test("an end before its start is EINVAL even where there is no such server (Xen looks at it first)", () => {
  using domain = new TestDomain();
  assertEquals(refusal(() => domain.servers.mapRange(A, 3, RANGE.PORT, 2, 1)), "EINVAL");
  assertEquals(refusal(() => domain.servers.unmapRange(A, 3, RANGE.PORT, 2, 1)), "EINVAL");
});

Deno.test("two servers may claim the same range: the higher id is asked, while it is enabled", () => {
  using domain = new TestDomain();
  const { servers, table } = domain;
  for (const emulator of [A, B]) {
    const id = servers.create(emulator, BUFIOREQ.OFF);
    servers.mapRange(emulator, id, RANGE.MEMORY, 0x1000, 0x1fff);
  }
  const selected = () => table.select(RANGE.MEMORY, 0x1000, 0x1003);
  assertEquals(selected(), -1);
  servers.setEnabled(A, 0, true);
  assertEquals(selected(), 0);
  servers.setEnabled(B, 1, true);
  assertEquals(selected(), 1);
  servers.setEnabled(B, 1, false);
  assertEquals(selected(), 0);
  servers.setEnabled(B, 1, true);
  servers.unmapRange(B, 1, RANGE.MEMORY, 0x1000, 0x1000);
  assertEquals([selected(), table.select(RANGE.MEMORY, 0x1004, 0x1007)], [0, 1]);
  servers.destroy(B, 1);
  assertEquals(table.select(RANGE.MEMORY, 0x1004, 0x1007), 0);
});

Deno.test("bufferRange() adds what of a range is not buffered yet; video memory is from the beginning", () => {
  using domain = new TestDomain();
  const { servers, table } = domain, id = servers.create(A, BUFIOREQ.LEGACY), server = table.server(id);
  const buffered = () => server.bufferedRanges.map((set) => set.list());
  assertEquals(buffered(), [[], [[0xa_0000, 0xb_ffff]]]);
  servers.bufferRange(A, id, RANGE.MEMORY, 0xa_0000, 0xb_ffff);
  servers.bufferRange(A, id, RANGE.MEMORY, 0xb_0000, 0xc_0fff);
  servers.bufferRange(A, id, RANGE.PORT, 0x80, 0x80);
  assertEquals(buffered(), [[[0x80, 0x80]], [[0xa_0000, 0xc_0fff]]]);
  assertEquals([server.buffers(RANGE.MEMORY, 0xc_0ffe, 0xc_0fff), server.buffers(RANGE.PORT, 0x80, 0x81)], [
    true,
    false,
  ]);
});

Deno.test("bufferRange() refuses PCI functions, ends before starts, and servers without a ring (EINVAL)", () => {
  using domain = new TestDomain();
  const { servers } = domain, off = servers.create(A, BUFIOREQ.OFF), on = servers.create(A, BUFIOREQ.ATOMIC);
  const cases: [number, number, number, number][] = [
    [off, RANGE.MEMORY, 0, 1],
    [off, RANGE.PORT, 0, 1],
    [on, RANGE.PCI, 0, 1],
    [on, 3, 0, 1],
    [on, RANGE.PORT, 1, 0],
  ];
  for (const [id, type, first, last] of cases) {
    assertEquals(refusal(() => servers.bufferRange(A, id, type as RangeType, first, last)), "EINVAL");
  }
  assertEquals(domain.table.server(off).buffers(RANGE.MEMORY, 0xa_0000, 0xa_0000), false);
});

Deno.test("setEnabled() does nothing where nothing changes, and a server without pages may be enabled", () => {
  using domain = new TestDomain();
  const { servers, table } = domain, id = servers.create(A, BUFIOREQ.OFF);
  servers.setEnabled(A, id, false);
  assertEquals(table.server(id).enabled, false);
  for (let round = 0; round < 2; round++) {
    servers.setEnabled(A, id, true);
    assertEquals([table.server(id).enabled, table.server(id).slots], [true, 0n]);
  }
  servers.acquire(A, id, 1, 1);
  assertEquals(domain.view(id).slots!.port(3), vcpuPort(3), "pages that come later have their event channels, too");
});

Deno.test("every vCPU's slot has an event channel of its own, in every page, and the buffered ring one behind them", () => {
  using domain = new TestDomain({ vcpus: 300 });
  const { servers } = domain, id = servers.create(A, BUFIOREQ.LEGACY);
  servers.acquire(A, id, 0, 0);
  const { slots, area } = domain.view(id);
  const ports = Array.from({ length: 300 }, (_, vcpu) => slots!.port(vcpu));
  assertEquals([new Set(ports).size, ports.includes(0)], [300, false]);
  assertEquals([area!.bufferedPort, ports.includes(area!.bufferedPort)], [bufferedPort(300), false]);
  assertEquals(servers.info(A, id, false).bufioreqPort, area!.bufferedPort);
});

Deno.test("info() has a port for the ring only where there is one, and gfns only where they were asked for", () => {
  using domain = new TestDomain();
  const { servers } = domain;
  for (const bufioreq of Object.values(BUFIOREQ)) {
    const id = servers.create(A, bufioreq), ring = bufioreq !== BUFIOREQ.OFF, before = domain.holdings();
    const bufioreqPort = ring ? bufferedPort(domain.vcpus) : 0;
    assertEquals(servers.info(A, id, false), { ioreqGfns: [], bufioreqGfn: undefined, bufioreqPort });
    assertEquals([domain.holdings(), servers.gfnPages(A, id)], [before, []], "nothing was mapped");
    const info = servers.info(A, id, true);
    assertEquals([info.ioreqGfns.length, info.bufioreqGfn !== undefined, info.bufioreqPort], [1, ring, bufioreqPort]);
    assertEquals(servers.info(A, id, true), info, "asking again gives the same");
    assertEquals(servers.gfnPages(A, id).length, ring ? 2 : 1);
    assert(info.ioreqGfns.every((gfn) => domain.p2m.has(gfn)), "the guest sees them while the server is disabled");
  }
});

Deno.test("pages got by gfn leave the p2m while the server is enabled, and come back cleared", () => {
  using domain = new TestDomain({ vcpus: 130 });
  const { servers } = domain, id = servers.create(A, BUFIOREQ.ATOMIC);
  const { ioreqGfns, bufioreqGfn } = servers.info(A, id, true), gfns = [...ioreqGfns, bufioreqGfn!];
  const banks = servers.gfnPages(A, id).map(({ directmap }) => new Uint8Array(directmap.buffer));
  assertEquals([gfns.length, domain.p2m.size], [3, 3]);
  for (let round = 0; round < 2; round++) {
    banks.forEach((bytes) => bytes.fill(0xee)); // the guest writes there
    servers.setEnabled(A, id, true);
    assertEquals(domain.p2m.size, 0);
    const { slots, ring } = domain.view(id);
    assertEquals([ring!.pending, slots!.state(129), slots!.address(129)], [false, STATE.NONE, 0]);
    assertEquals(slots!.port(129), vcpuPort(129));
    slots!.fill(129, 1, 2, 3, 4);
    slots!.publish(129, STATE.READY, 0);
    const { wakes } = domain;
    servers.setEnabled(A, id, false);
    assertEquals(domain.p2m, new Set(gfns));
    assert(banks.every((bytes) => bytes.every((byte) => byte === 0)), "the guest sees what a vCPU has asked");
    assert(domain.wakes > wakes, "who waited for an answer looks again");
  }
});

Deno.test("a server whose pages are a resource keeps its requests while it is disabled, and no gfn moves", () => {
  using domain = new TestDomain();
  const { servers } = domain, id = servers.create(A, BUFIOREQ.OFF);
  servers.acquire(A, id, 1, 1);
  servers.setEnabled(A, id, true);
  const { slots } = domain.view(id);
  slots!.publish(2, STATE.READY, 0);
  domain.before = (step) => assert(step !== "add" && step !== "remove", step);
  servers.setEnabled(A, id, false);
  servers.setEnabled(A, id, true);
  assertEquals(slots!.state(2), STATE.READY);
});

const FRAMES: Record<
  string,
  [vcpus: number, bufioreq: Bufioreq, frame: number, count: number, answer: string | number[]]
> = {
  "the buffered page": [4, BUFIOREQ.ATOMIC, 0, 1, [0]],
  "the ioreq page": [4, BUFIOREQ.ATOMIC, 1, 1, [1]],
  "both": [4, BUFIOREQ.LEGACY, 0, 2, [0, 1]],
  "all of 300 vCPUs": [300, BUFIOREQ.ATOMIC, 0, 4, [0, 1, 2, 3]],
  "the last of 300 vCPUs": [300, BUFIOREQ.OFF, 3, 1, [3]],
  "some in the middle": [1024, BUFIOREQ.OFF, 3, 4, [3, 4, 5, 6]],
  "one beyond the last": [4, BUFIOREQ.ATOMIC, 2, 1, "EINVAL"],
  "one beyond the last of 300 vCPUs": [300, BUFIOREQ.ATOMIC, 4, 1, "EINVAL"],
  "one too many": [300, BUFIOREQ.ATOMIC, 2, 3, "EINVAL"],
  "far beyond": [4, BUFIOREQ.ATOMIC, 0xffff_ffff, 1, "EINVAL"],
  "far too many": [4, BUFIOREQ.ATOMIC, 0, 0xffff_ffff, "EINVAL"],
  "a negative one": [4, BUFIOREQ.ATOMIC, -1, 1, "EINVAL"],
  "half of one": [4, BUFIOREQ.ATOMIC, 0.5, 1, "EINVAL"],
  "no buffered page": [4, BUFIOREQ.OFF, 0, 1, "ENOENT"],
  "no buffered page, and others": [300, BUFIOREQ.OFF, 0, 4, "ENOENT"],
  "none": [300, BUFIOREQ.ATOMIC, 0, 0, []],
};

for (const [name, [vcpus, bufioreq, frame, count, answer]] of Object.entries(FRAMES)) {
  Deno.test(`acquire() of ${name}: ${typeof answer === "string" ? answer : `frames ${answer}`}`, () => {
    using domain = new TestDomain({ vcpus });
    const { servers, vmap } = domain, id = servers.create(A, bufioreq);
    assertEquals(servers.resourceFrames, 1 + Math.ceil(vcpus / 128));
    const acquire = () => servers.acquire(A, id, frame, count);
    if (typeof answer === "string") return assertEquals(refusal(acquire), answer);
    const banks = acquire(), { slots, buffered } = domain.table.server(id);
    banks.forEach(({ directmap }, index) => new Uint8Array(directmap.buffer)[5] = 1 + index);
    const pages = vmap.areaOf(slots)!.pages;
    assertEquals(pages, Math.ceil(vcpus / 128));
    const shown = Array.from({ length: 1 + pages }, (_, index) => {
      if (index === 0 && bufioreq === BUFIOREQ.OFF) return 0;
      const address = index === 0 ? buffered : slots + BigInt((index - 1) * 4096);
      return Deno.UnsafePointerView.getArrayBuffer(Deno.UnsafePointer.create(address)!, 4096);
    }).map((memory) => memory === 0 ? 0 : new Uint8Array(memory)[5]);
    assertEquals(
      shown.flatMap((mark, index) => mark === 0 ? [] : [index]),
      answer,
      "frame by frame what the window shows",
    );
    assertEquals(acquire(), banks, "the same pages again");
  });
}

Deno.test("a size query tells the number of frames and gets none: neither pages nor a decision for a way", () => {
  using domain = new TestDomain({ vcpus: 1024 });
  const { servers } = domain, id = servers.create(A, BUFIOREQ.OFF), before = domain.holdings();
  assertEquals(servers.resourceFrames, 9);
  assertEquals(domain.holdings(), before);
  assertEquals(servers.info(A, id, true).ioreqGfns.length, 8, "the other way is still open");
});

Deno.test("memory() gives a server's notification area and doorbell, which are its own", () => {
  using domain = new TestDomain();
  const { servers } = domain;
  for (const emulator of [A, B]) servers.create(emulator, BUFIOREQ.OFF);
  const [one, other] = [servers.memory(A, 0), servers.memory(B, 1)];
  assertNotEquals(one.notification.firstMfn, other.notification.firstMfn);
  assertNotEquals(one.doorbell.number, other.doorbell.number);
  domain.view(0).area!.channels.send(9);
  const words = ({ notification }: typeof one) => new Int32Array(notification.directmap.buffer, 64, 8);
  assertEquals([words(one)[0], words(other)[0]], [1 << 9, 0]);
});
