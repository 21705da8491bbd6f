import { DEVICE_STATE_BYTES, vcpuPort } from "../../src/ioreq/notification.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { loadModel } from "../../src/dm/model.ts";
import { RANGE, STATE } from "../../src/ioreq/abi.ts";
import { DmOpError } from "../../src/ioreq/dm_op_error.ts";
import * as calls from "../../src/linux/calls.ts";
import { pipe } from "../../src/linux/descriptor.ts";
import { eventDescriptor, signalEvent } from "../../src/linux/event_descriptor.ts";
import { POLLHUP, POLLIN, POLLOUT } from "../../src/linux/poll.ts";
import { FakeDomain, Recorder, type Request } from "./fake_domain.ts";

const BASE = 0xfed0_0000;
const byte = new Uint8Array(1);

const inb = (address: number): Request => ({ type: "port", address, size: 1 });
const load = (address: number, size: number): Request => ({ type: "memory", address, size });
const store = (address: number, size: number, value: bigint): Request => ({ type: "memory", address, size, value });

Deno.test("mapPorts() and mapMemory() claim their ranges at the server, and refuse an overlap with Xen's error", () => {
  using domain = new FakeDomain();
  domain.runtime.mapPorts(0x60, 5, new Recorder());
  domain.runtime.mapMemory(BASE, 0x1000, new Recorder());
  assertEquals(domain.server.ranges[RANGE.PORT].list(), [[0x60, 0x64]]);
  assertEquals(domain.server.ranges[RANGE.MEMORY].list(), [[BASE, BASE + 0xfff]]);
  assertThrows(() => domain.runtime.mapPorts(0x64, 1, new Recorder()), DmOpError, "EEXIST");
  assertThrows(() => domain.runtime.mapMemory(BASE, 0, new Recorder()), DmOpError, "EINVAL");
  assertEquals(domain.serve(inb(0x64)), [0x14n], "the refused handler has taken the port");
});

/** What the handlers at ports 0x100-0x107 and memory BASE to BASE + 0xf see of one access, and what comes back. */
const ACCESSES: [Request, seen: string[], data?: bigint][] = [
  [{ type: "port", address: 0x103, size: 1 }, ["pr1@3"], 0x13n],
  [{ type: "port", address: 0x102, size: 2 }, ["pr2@2"], 0x1312n],
  [{ type: "port", address: 0x104, size: 4 }, ["pr4@4"], 0x17161514n],
  [{ type: "port", address: 0x107, size: 1, value: 0xabn }, ["pw1@7=ab"]],
  [{ type: "port", address: 0x100, size: 4, value: 0xfedcba98n }, ["pw4@0=fedcba98"]],
  [load(BASE + 8, 4), ["mr4@8"], 0x1b1a1918n],
  [load(BASE, 8), ["mr4@0", "mr4@4"], 0x17161514_13121110n],
  [load(BASE + 3, 8), ["mr4@3", "mr4@7"], 0x1a191817_16151413n],
  [store(BASE, 8, 0x8877665544332211n), ["mw4@0=44332211", "mw4@4=88776655"]],
  [store(BASE + 5, 2, 0xffff_1234n), ["mw2@5=1234"]],
  [store(BASE + 5, 1, 0x1234n), ["mw1@5=34"]],
];

Deno.test("a handler sees offset, width and masked value of every access, 8 bytes as two of 4, low half first", () => {
  for (const [request, seen, data] of ACCESSES) {
    using domain = new FakeDomain();
    const log: string[] = [];
    domain.runtime.mapPorts(0x100, 8, new Recorder("p", log));
    domain.runtime.mapMemory(BASE, 16, new Recorder("m", log));
    const [answer] = domain.serve(request);
    assertEquals(log, seen, JSON.stringify(seen));
    if (data !== undefined) assertEquals(answer, data, JSON.stringify(seen));
  }
});

Deno.test("what a handler returns is masked to the width, whatever it is", () => {
  const table: [value: number, size: number, data: bigint][] = [
    [-1, 1, 0xffn],
    [-1, 2, 0xffffn],
    [-1, 4, 0xffff_ffffn],
    [0x1_2345, 2, 0x2345n],
    [0x80000000, 4, 0x8000_0000n],
    [-0x80000000, 4, 0x8000_0000n],
    [2 ** 32 + 5, 4, 5n],
    [NaN, 4, 0n],
    [undefined as unknown as number, 1, 0n],
  ];
  for (const [value, size, data] of table) {
    using domain = new FakeDomain();
    domain.runtime.mapMemory(BASE, 8, { read: () => value, write() {} });
    assertEquals(domain.serve(load(BASE, size)), [data], `${value} as ${size} bytes`);
  }
});

Deno.test("an access that goes over from one handler to the next is cut into halves until each piece has one", () => {
  const table: [Request, seen: string[], data?: bigint][] = [
    [load(BASE + 2, 4), ["ar2@2", "br2@0"], 0x11101312n],
    [load(BASE + 3, 2), ["ar1@3", "br1@0"], 0x1013n],
    [load(BASE + 1, 4), ["ar2@1", "ar1@3", "br1@0"], 0x10131211n],
    [load(BASE + 3, 4), ["ar1@3", "br1@0", "br2@1"], 0x12111013n],
    [load(BASE + 2, 8), ["ar2@2", "br2@0", "br2@2", "cr2@0"], 0x11101312_11101312n],
    [store(BASE + 3, 4, 0xddccbbaan), ["aw1@3=aa", "bw1@0=bb", "bw2@1=ddcc"]],
    [store(BASE + 2, 8, 0x8877665544332211n), ["aw2@2=2211", "bw2@0=4433", "bw2@2=6655", "cw2@0=8877"]],
  ];
  for (const [request, seen, data] of table) {
    using domain = new FakeDomain();
    const log: string[] = [];
    ["a", "b", "c"].forEach((name, index) => domain.runtime.mapMemory(BASE + index * 4, 4, new Recorder(name, log)));
    assertEquals(domain.server.ranges[RANGE.MEMORY].length, 1, "one range to selection");
    const [answer] = domain.serve(request);
    assertEquals(log, seen);
    if (data !== undefined) assertEquals(answer, data);
  }
});

Deno.test("an access to what no handler has reads all ones and writes nowhere", () => {
  using domain = new FakeDomain();
  const handler = new Recorder();
  domain.runtime.mapMemory(BASE, 4, handler);
  assertEquals(domain.serve(load(BASE + 8, 2), store(BASE + 8, 8, 5n), inb(0x60)), [0xffffn, 5n, 0xffn]);
  assertEquals(handler.log, []);
});

Deno.test("every vCPU's request is answered in its own slot", () => {
  using domain = new FakeDomain();
  domain.runtime.mapPorts(0x100, 128, new Recorder());
  const vcpus = [0, 5, 31, 32, 100, 127];
  const woken: number[] = [];
  domain.answered = (vcpu) => {
    assertEquals([domain.page.state(vcpu), domain.page.dataLow(vcpu)], [STATE.IORESP_READY, 0x10 + vcpu & 0xff]);
    if (woken.push(vcpu) === vcpus.length) domain.release();
  };
  for (const vcpu of vcpus) domain.send({ ...inb(0x100 + vcpu), vcpu });
  domain.runtime.serve();
  assertEquals(woken, vcpus);
});

Deno.test("a slot is INPROCESS while its handler works, and an event without a request is no request", () => {
  using domain = new FakeDomain();
  const states: number[] = [];
  domain.runtime.mapPorts(0x60, 1, { read: () => states.push(domain.page.state(0)), write() {} });
  domain.view.area!.channels.send(vcpuPort(9));
  domain.serve(inb(0x60));
  assertEquals([states, domain.page.state(9)], [[STATE.INPROCESS], STATE.NONE]);
});

Deno.test("state() gives the same shared memory to the next generation that asks in the same order", () => {
  using domain = new FakeDomain();
  const first = domain.runtime.state(3), second = domain.runtime.state(8);
  assertEquals([first.byteLength, second.byteLength, second.getUint32(0)], [3, 8, 0]);
  first.setUint8(2, 0x77);
  second.setFloat64(0, 1.5);
  const runtime = domain.attach();
  assertEquals([runtime.state(3).getUint8(2), runtime.state(8).getFloat64(0)], [0x77, 1.5]);
});

Deno.test("state() aligns every piece to 8 bytes and refuses more than there is", () => {
  using domain = new FakeDomain();
  const offsets = [1, 8, 9, 4].map((size) => domain.runtime.state(size).byteOffset);
  assertEquals(offsets.map((offset) => offset - offsets[0]), [0, 8, 16, 32]);
  assertThrows(() => domain.runtime.state(70_000), RangeError, "server 3 has no 70000 bytes of device state left");
  domain.runtime.state(DEVICE_STATE_BYTES - 40);
  assertThrows(() => domain.runtime.state(1), RangeError, "no 1 bytes");
});

Deno.test("interrupt lines and the end of the run go to the domain, and the access that asked is answered", () => {
  using domain = new FakeDomain();
  domain.runtime.mapPorts(0x60, 1, {
    read() {
      domain.runtime.setIrqLevel(4, true);
      domain.runtime.shutdown("reset");
      return 0x42;
    },
    write() {},
  });
  assertEquals(domain.serve(inb(0x60)), [0x42n]);
  assertEquals([domain.lines, domain.shutdowns], [[[4, true]], ["reset"]]);
});

Deno.test("a watched descriptor is heard of while nobody asks for anything", () => {
  using domain = new FakeDomain();
  using event = eventDescriptor("watched");
  const events: number[] = [];
  domain.runtime.watch({
    descriptor: event.number,
    interest: () => POLLIN,
    ready(happened) {
      events.push(happened);
      domain.release();
    },
  });
  signalEvent(event.number);
  domain.runtime.serve();
  assertEquals(events, [POLLIN]);
});

Deno.test("a watch with interest 0 hears of hang-ups only, and one with -1 of nothing", () => {
  using domain = new FakeDomain();
  const { reader, writer } = pipe("watched");
  using _reader = reader;
  const heard: string[] = [];
  for (const [name, interest] of [["nothing", -1], ["errors", 0]] as const) {
    domain.runtime.watch({
      descriptor: reader.number,
      interest: () => interest,
      ready(events) {
        heard.push(`${name} ${events}`);
        domain.release();
      },
    });
  }
  calls.write(writer.number, byte, 1n);
  writer[Symbol.dispose]();
  domain.runtime.serve();
  assertEquals(heard, [`errors ${POLLHUP}`]);
});

Deno.test("watches are looked at even when requests never stop", () => {
  using domain = new FakeDomain();
  using event = eventDescriptor("watched");
  domain.runtime.mapPorts(0x60, 1, new Recorder());
  let answered = 0;
  domain.answered = () => {
    assert(++answered < 10_000, "never looked at");
    domain.page.setState(0, STATE.NONE);
    domain.send(inb(0x60));
  };
  domain.runtime.watch({ descriptor: event.number, interest: () => POLLIN, ready: () => domain.release() });
  signalEvent(event.number);
  domain.send(inb(0x60));
  domain.runtime.serve();
  assert(answered >= 1);
});

Deno.test("more watches than a poll set holds are refused", () => {
  using domain = new FakeDomain();
  const watch = { descriptor: -1, interest: () => -1, ready() {} };
  for (let count = 0; count < 63; count++) domain.runtime.watch(watch);
  assertThrows(() => domain.runtime.watch(watch), RangeError, "more than 63");
});

Deno.test("beforeSleep() is called before the model sleeps, and after the requests that are there", () => {
  using domain = new FakeDomain();
  const log: string[] = [];
  domain.runtime.mapPorts(0x60, 1, new Recorder("", log));
  domain.runtime.beforeSleep(() => {
    log.push("flush");
    domain.release();
  });
  domain.answered = () => {};
  domain.send(inb(0x60));
  domain.send({ ...inb(0x60), vcpu: 1 });
  domain.runtime.serve();
  assertEquals(log, ["r1@0", "r1@0", "flush"]);
});

Deno.test("waitFor() sleeps through requests until its descriptor has something, and they are answered afterwards", () => {
  using domain = new FakeDomain();
  const { reader, writer } = pipe("waited for");
  using _reader = reader;
  using _writer = writer;
  const log: string[] = [];
  domain.runtime.mapPorts(0x60, 2, {
    read(offset) {
      log.push(`read ${offset}`);
      if (offset === 1) return 0;
      domain.send({ ...inb(0x61), vcpu: 1 });
      calls.write(writer.number, byte, 1n);
      assertEquals(domain.runtime.waitFor(reader.number, POLLIN), true);
      log.push("waited");
      return 0;
    },
    write() {},
  });
  domain.answered = (vcpu) => vcpu === 1 && domain.release();
  domain.send(inb(0x60));
  domain.runtime.serve();
  assertEquals(log, ["read 0", "waited", "read 1"]);
});

Deno.test("waitFor() gives up when the domain stops", () => {
  using domain = new FakeDomain();
  using event = eventDescriptor("waited for");
  domain.release();
  assertEquals(domain.runtime.waitFor(event.number, POLLIN), false);
});

Deno.test("inside beforeStop() only the descriptor counts for waitFor()", () => {
  using domain = new FakeDomain();
  const { reader, writer } = pipe("waited for");
  using _reader = reader;
  using _writer = writer;
  const waited: boolean[] = [];
  domain.runtime.beforeStop(() => waited.push(domain.runtime.waitFor(writer.number, POLLOUT)));
  domain.serve();
  assertEquals(waited, [true]);
});

Deno.test("beforeStop() comes once, after the last request is answered", () => {
  using domain = new FakeDomain();
  const log: string[] = [];
  domain.runtime.mapPorts(0x60, 1, new Recorder("", log));
  domain.runtime.beforeStop(() => log.push("stop"));
  domain.answered = (vcpu) => log.push(`answered ${vcpu}`);
  domain.send(inb(0x60));
  domain.send({ ...inb(0x60), vcpu: 2 });
  domain.release();
  domain.runtime.serve();
  assertEquals(log, ["r1@0", "answered 0", "r1@0", "answered 2", "stop"]);
});

Deno.test("loadModel() wants a module with a function as its default export", async () => {
  const module = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;
  const model = await loadModel(module("export default function counter() {}"));
  assertEquals(model.name, "counter");
  for (const source of ["export const model = 1;", "export default 5;"]) {
    await assertRejects(() => loadModel(module(source)), TypeError, "no default export that is a function");
  }
});
