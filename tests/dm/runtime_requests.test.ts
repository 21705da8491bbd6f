/** DeviceModelRuntime beyond plain accesses: PCI functions, ranges given up, buffered writes, invalidations, interrupts. */

import { assertEquals, assertThrows } from "@std/assert";
import { DIR_READ, DIR_WRITE, RANGE, STATE, TYPE } from "../../src/ioreq/abi.ts";
import { DmOpError } from "../../src/ioreq/dm_op_error.ts";
import { vcpuPort } from "../../src/ioreq/notification.ts";
import { FakeDomain, Recorder, type Request } from "./fake_domain.ts";

const BASE = 0xa_0000;
const inb = (address: number): Request => ({ type: "port", address, size: 1 });
const outb = (address: number, value: bigint): Request => ({ type: "port", address, size: 1, value });
const load = (address: number, size: number): Request => ({ type: "memory", address, size });
const store = (address: number, size: number, value: bigint): Request => ({ type: "memory", address, size, value });

/** A request that is neither port nor memory. @returns the low half of the slot's data afterwards */
function ask(domain: FakeDomain, type: number, high: number, low: number, size: number, value?: number): number {
  const { page } = domain;
  domain.answered = () => domain.release();
  page.fill(5, type, low, high, size);
  page.setData(5, value ?? 0, 0);
  page.publish(5, STATE.READY, value === undefined ? DIR_READ : DIR_WRITE);
  domain.view.area!.channels.send(vcpuPort(5));
  domain.runtime.serve();
  assertEquals(page.state(5), STATE.IORESP_READY);
  return page.dataLow(5);
}

const SBDF = 2 << 8 | 3 << 3 | 1;

Deno.test("mapPci() claims one function, by bus, device and function, and refuses what is none or taken", () => {
  using domain = new FakeDomain();
  domain.runtime.mapPci(2, 3, 1, new Recorder());
  domain.runtime.mapPci(0, 0, 0, new Recorder());
  domain.runtime.mapPci(255, 31, 7, new Recorder());
  assertEquals(domain.server.ranges[RANGE.PCI].list(), [[0, 0], [SBDF, SBDF], [0xffff, 0xffff]]);
  assertThrows(() => domain.runtime.mapPci(2, 3, 1, new Recorder()), DmOpError, "EEXIST");
  for (const [bus, device, fn] of [[256, 0, 0], [0, 32, 0], [0, 0, 8], [-1, 0, 0], [0, NaN, 0]]) {
    assertThrows(() => domain.runtime.mapPci(bus, device, fn, new Recorder()), RangeError, "no PCI function");
  }
});

const CONFIGURATION: [register: number, size: number, value: number | undefined, seen: string, data: number][] = [
  [0, 4, undefined, "r4@0", 0x13121110],
  [0x0e, 1, undefined, "r1@14", 0x1e],
  [0x46, 2, undefined, "r2@70", 0x5756],
  [0xff, 1, undefined, "r1@255", 0x0f],
  [0x10, 4, 0xfedcba98, "w4@16=fedcba98", 0],
  [0x05, 2, 0x1234_5678, "w2@5=5678", 0],
  [0x3c, 1, 0x1ff, "w1@60=ff", 0],
];

Deno.test("a PCI handler sees register, width and masked value, and answers with as many bytes", () => {
  for (const [register, size, value, seen, data] of CONFIGURATION) {
    using domain = new FakeDomain();
    const handler = new Recorder(), other = new Recorder();
    domain.runtime.mapPci(2, 3, 1, handler);
    domain.runtime.mapPci(2, 3, 2, other);
    const answer = ask(domain, TYPE.PCI_CONFIG, SBDF, register, size, value);
    assertEquals([handler.log, other.log], [[seen], []]);
    if (value === undefined) assertEquals(answer, data, seen);
  }
});

Deno.test("what a PCI handler returns is masked, and a function that nobody has reads all ones and takes no writes", () => {
  for (const size of [1, 2, 4]) {
    const ones = 2 ** (8 * size) - 1;
    using domain = new FakeDomain();
    domain.runtime.mapPci(2, 3, 1, { read: () => -1, write() {} });
    assertEquals(ask(domain, TYPE.PCI_CONFIG, SBDF, 0, size), ones);
    using empty = new FakeDomain();
    assertEquals(ask(empty, TYPE.PCI_CONFIG, SBDF, 0, size), ones);
    using other = new FakeDomain();
    ask(other, TYPE.PCI_CONFIG, SBDF, 0, size, 5);
  }
});

Deno.test("unmapPorts() and unmapMemory() give up what one call has claimed, and nothing else", () => {
  using domain = new FakeDomain();
  const { runtime, server } = domain, log: string[] = [];
  runtime.mapPorts(0x60, 4, new Recorder("a", log));
  runtime.mapPorts(0x64, 4, new Recorder("b", log));
  runtime.mapMemory(BASE, 0x1000, new Recorder("m", log));
  runtime.mapMemory(BASE + 0x1000, 0x1000, new Recorder("n", log));
  runtime.unmapPorts(0x60);
  runtime.unmapMemory(BASE + 0x1000);
  assertEquals(server.ranges.map((set) => set.list()), [[[0x64, 0x67]], [[BASE, BASE + 0xfff]], []]);
  // Selection knows it, and so does the runtime, to which a request may have been on its way.
  assertEquals(domain.serve(inb(0x63), load(BASE + 0x1000, 2), inb(0x64), load(BASE, 1)), [
    0xffn,
    0xffffn,
    0x10n,
    0x10n,
  ]);
  assertEquals(log, ["br1@0", "mr1@0"]);
});

Deno.test("what was given up can be claimed again, by another handler", () => {
  using domain = new FakeDomain();
  const { runtime } = domain, log: string[] = [];
  for (const name of ["a", "b"]) {
    runtime.mapPorts(0x60, 2, new Recorder(name, log), { buffered: true });
    runtime.mapMemory(BASE, 16, new Recorder(name, log), { buffered: true });
    if (name === "b") break;
    runtime.unmapPorts(0x60);
    runtime.unmapMemory(BASE);
  }
  domain.serve(inb(0x61), load(BASE + 1, 1));
  assertEquals(log, ["br1@1", "br1@1"]);
});

Deno.test("what nobody has claimed from there on cannot be given up", () => {
  using domain = new FakeDomain();
  domain.runtime.mapPorts(0x60, 4, new Recorder());
  domain.runtime.mapMemory(BASE, 16, new Recorder());
  const refused = [() => domain.runtime.unmapPorts(0x61), () => domain.runtime.unmapMemory(0x60)];
  for (const body of [...refused, () => domain.runtime.unmapPorts(BASE)]) {
    assertThrows(body, RangeError, "nothing was claimed");
  }
  assertEquals(domain.server.ranges.map(({ length }) => length), [1, 1, 0]);
});

Deno.test("a range may be buffered: the server sends its writes through the ring, be it video memory or not", () => {
  using domain = new FakeDomain();
  domain.runtime.mapMemory(BASE, 0x2_0000, new Recorder(), { buffered: true });
  domain.runtime.mapPorts(0x80, 1, new Recorder(), { buffered: true });
  domain.runtime.mapPorts(0x90, 1, new Recorder());
  domain.runtime.mapMemory(0x1000, 0x1000, new Recorder(), { buffered: false });
  assertEquals(domain.server.bufferedRanges.map((set) => set.list()), [[[0x80, 0x80]], [[BASE, BASE + 0x1_ffff]]]);
});

Deno.test("buffered writes reach their handlers in their order, 8 bytes as two of 4, before the access that follows", () => {
  using domain = new FakeDomain();
  const { runtime, view: { ring, area } } = domain, log: string[] = [];
  runtime.mapMemory(BASE, 0x1000, new Recorder("m", log), { buffered: true });
  runtime.mapPorts(0x80, 4, new Recorder("p", log), { buffered: true });
  const push = (type: number, address: number, size: number, low: number, high = 0) => {
    ring!.push(type, address, size, low, high, true);
    area!.channels.send(area!.bufferedPort);
  };
  push(TYPE.COPY, BASE, 1, 0x41);
  push(TYPE.PIO, 0x82, 2, 0x1234);
  push(TYPE.COPY, BASE + 8, 8, 0x44332211, 0x88776655);
  push(TYPE.COPY, BASE + 0xfff, 1, 9);
  push(TYPE.COPY, 0xb_0000, 1, 9); // nobody's (any more)
  domain.serve(load(BASE, 1), store(BASE, 1, 7n), outb(0x81, 6n));
  assertEquals(log, [
    "mw1@0=41",
    "pw2@2=1234",
    "mw4@8=44332211",
    "mw4@12=88776655",
    "mw1@4095=9",
    "mr1@0",
    "mw1@0=7",
    "pw1@1=6",
  ]);
  assertEquals(ring!.pending, false);
});

Deno.test("a buffered write that is made while a handler works comes before the next access, even of a lower vCPU", () => {
  using domain = new FakeDomain();
  const { runtime, view: { ring, area } } = domain, log: string[] = [];
  runtime.mapMemory(BASE, 16, new Recorder("m", log), { buffered: true });
  runtime.mapPorts(0x60, 1, {
    read() {
      log.push("read");
      ring!.push(TYPE.COPY, BASE, 1, 5, 0, true);
      area!.channels.send(area!.bufferedPort);
      domain.send({ ...load(BASE + 1, 1), vcpu: 1 });
      return 0;
    },
    write() {},
  });
  domain.answered = (vcpu) => vcpu === 1 && domain.release();
  domain.send({ ...inb(0x60), vcpu: 40 });
  domain.runtime.serve();
  assertEquals(log, ["read", "mw1@0=5", "mr1@1"]);
});

Deno.test("a full ring is drained whole, by its event alone", () => {
  using domain = new FakeDomain();
  const { runtime, view: { ring, area } } = domain;
  let writes = 0;
  runtime.mapMemory(BASE, 0x1000, {
    read: () => 0,
    write(offset) {
      assertEquals(offset, writes);
      if (++writes === 511) domain.release();
    },
  }, { buffered: true });
  for (let n = 0; n < 511; n++) ring!.push(TYPE.COPY, BASE + n, 1, 0, 0, true);
  area!.channels.send(area!.bufferedPort);
  runtime.serve();
  assertEquals([writes, ring!.pending], [511, false]);
});

Deno.test("what is in the ring when the domain stops is still delivered: the last words of a guest", () => {
  using domain = new FakeDomain();
  const { runtime, view: { ring, area } } = domain, log: string[] = [];
  runtime.mapPorts(0x80, 1, new Recorder("", log), { buffered: true });
  runtime.beforeStop(() => log.push("stop"));
  ring!.push(TYPE.PIO, 0x80, 1, 0x21, 0, true);
  area!.channels.send(area!.bufferedPort);
  domain.release();
  runtime.serve();
  assertEquals(log, ["w1@0=21", "stop"]);
});

Deno.test("onInvalidate(): all are called before the answer, and nothing else is", () => {
  using domain = new FakeDomain();
  const log: string[] = [];
  const states = () => domain.page.state(5);
  domain.runtime.mapMemory(0, 0x1000, new Recorder("m", log));
  domain.runtime.onInvalidate(() => log.push(`one in state ${states()}`));
  domain.runtime.onInvalidate(() => log.push(`other in state ${states()}`));
  ask(domain, TYPE.INVALIDATE, 0, 0, 4, 0xffff_ffff);
  assertEquals(log, [`one in state ${STATE.INPROCESS}`, `other in state ${STATE.INPROCESS}`]);
  using empty = new FakeDomain();
  ask(empty, TYPE.INVALIDATE, 0, 0, 4, 0xffff_ffff);
});

Deno.test("interrupts go to the domain as they are asked for, while the access that asks is under way", () => {
  using domain = new FakeDomain();
  const { runtime } = domain;
  runtime.mapPorts(0x60, 1, {
    read: () => 0,
    write() {
      runtime.setPciIntxLevel(3, 1, true);
      runtime.injectMsi(0xfee0_1000, 0x31);
      runtime.setPciIntxLevel(3, 1, false);
      runtime.setIrqLevel(17, true);
      assertEquals(domain.page.state(0), STATE.INPROCESS);
    },
  });
  domain.serve(outb(0x60, 1n));
  assertEquals(domain.asked, [["intx", 3, 1, true], ["msi", 0xfee0_1000, 0x31], ["intx", 3, 1, false]]);
  assertEquals(domain.lines, [[17, true]]);
});
