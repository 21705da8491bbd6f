/** VcpuMachine and the buffered ring: which writes go there, in which order, and what happens when it is full. */

import { assertEquals } from "@std/assert";
import { NEXT, VcpuMachine } from "../../src/domain/vcpu_machine.ts";
import { TRACE_END } from "../../src/domain/trace.ts";
import { BUFIOREQ, type Bufioreq, RANGE, TYPE } from "../../src/ioreq/abi.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { type Access, BareVcpu } from "./bare_vcpu.ts";

const VIDEO = 0xa_0000, SERVER = 3, SLOTS = 511;

const store = (address: number, ...data: number[]): Access => ({ kind: "memory", address, size: data.length, data });
const load = (address: number, size: number): Access => ({ kind: "memory", address, size });
const out = (port: number, size: number, ...data: number[]): Access => {
  return { kind: "port", port, size, count: data.length / size, data };
};

type Buffered = [type: keyof typeof TYPE, address: number, size: number, data: bigint];

/** A server with a ring that claims ports 0x80-0x8f and memory up to 16 MiB; ports 0x80-0x83 are buffered, too. */
function vcpu(bufioreq: Bufioreq = BUFIOREQ.ATOMIC): BareVcpu {
  const vcpu = new BareVcpu(1, 2).server(SERVER, { PORT: [[0x80, 0x8f]], MEMORY: [[0, 0xff_ffff]] }, bufioreq);
  const { bufferedRanges } = vcpu.control.servers.server(SERVER);
  vcpu.control.servers.change(() => bufferedRanges[RANGE.PORT].add(0x80, 0x83));
  return vcpu;
}

/** What the device model finds in the ring, and the events that it was sent. */
function drain(vcpu: BareVcpu): { writes: Buffered[]; events: string[] } {
  const { ring, area } = vcpu.view(SERVER), writes: Buffered[] = [], events: string[] = [];
  ring!.drain((type, address, size, low, high) => {
    const name = type === TYPE.PIO ? "PIO" : "COPY";
    writes.push([name, address, size, BigInt(low) | (BigInt(high) << 32n)]);
  });
  area!.channels.drain((port) => events.push(port === area!.bufferedPort ? "buffered" : `port ${port}`));
  return { writes, events };
}

const BUFFERED: Record<string, [Access, Buffered[]]> = {
  "a byte": [store(VIDEO, 0x41), [["COPY", VIDEO, 1, 0x41n]]],
  "a word": [store(VIDEO + 1, 0x41, 7), [["COPY", VIDEO + 1, 2, 0x741n]]],
  "a double word with its highest bit": [store(0xb_fffc, 1, 2, 3, 0x84), [["COPY", 0xb_fffc, 4, 0x84030201n]]],
  "8 bytes": [store(VIDEO, 1, 2, 3, 4, 5, 6, 7, 0x88), [["COPY", VIDEO, 8, 0x8807060504030201n]]],
  "6 bytes, in order": [store(VIDEO, 1, 2, 3, 4, 5, 6), [["COPY", VIDEO, 4, 0x04030201n], [
    "COPY",
    VIDEO + 4,
    2,
    0x0605n,
  ]]],
  "a port": [out(0x82, 2, 9, 8), [["PIO", 0x82, 2, 0x0809n]]],
  "a string to a port, in order": [out(0x80, 1, 5, 6, 7), [["PIO", 0x80, 1, 5n], ["PIO", 0x80, 1, 6n], [
    "PIO",
    0x80,
    1,
    7n,
  ]]],
};

for (const [name, [access, expected]] of Object.entries(BUFFERED)) {
  for (const [mode, bufioreq] of [["LEGACY", BUFIOREQ.LEGACY], ["ATOMIC", BUFIOREQ.ATOMIC]] as const) {
    Deno.test(`${mode}: a write to a buffered range goes on at once: ${name}`, () => {
      using subject = vcpu(bufioreq);
      assertEquals([subject.exit(access), subject.machine.resumed()], [NEXT.ENTER, NEXT.ENTER]);
      assertEquals(drain(subject), { writes: expected, events: ["buffered"] });
      assertEquals(subject.read(access), access.data, "a write changes nothing in the run page");
      assertEquals(subject.access(load(VIDEO, 1)).length, 1, "the slot is free, and no request is under way");
    });
  }
}

const SYNCHRONOUS: Record<string, Access> = {
  "a read of a buffered range": load(VIDEO, 4),
  "a read of a buffered port": { kind: "port", port: 0x80, size: 1 },
  "a write beside the buffered range": store(VIDEO - 1, 1),
  "a write behind the buffered range": store(0xc_0000, 1),
  "a write that begins in the buffered range only": store(0xb_ffff, 1, 2),
  "a write that ends in the buffered range only": store(VIDEO - 1, 1, 2),
  "a write to another port": out(0x84, 1, 1),
  "a write to ports of which only the first is buffered": out(0x83, 2, 1, 2),
};

for (const [name, access] of Object.entries(SYNCHRONOUS)) {
  Deno.test(`not buffered: ${name}`, () => {
    using subject = vcpu();
    assertEquals(subject.access(access).length, 1);
    assertEquals(drain(subject).writes, []);
  });
}

Deno.test("above 1 MiB nothing can be buffered: a slot has 20 bits for the address", () => {
  using subject = vcpu();
  const { bufferedRanges } = subject.control.servers.server(SERVER);
  subject.control.servers.change(() => bufferedRanges[RANGE.MEMORY].add(0xf_0000, 0x1f_ffff));
  assertEquals(subject.access(store(0x10_0000, 1)).length, 1);
  assertEquals(subject.access(store(0x1f_fff8, 1, 2, 3, 4, 5, 6, 7, 8)).length, 1);
  assertEquals(subject.access(store(0xf_ffff, 1, 2)), [], "it begins below, and Xen looks at that only");
  assertEquals(drain(subject).writes, [["COPY", 0xf_ffff, 2, 0x0201n]]);
});

Deno.test("a server without a ring, and one that has no pages yet, buffer nothing", () => {
  using subject = vcpu(BUFIOREQ.OFF);
  assertEquals(subject.access(store(VIDEO, 1)).length, 1);
  using other = vcpu();
  other.control.servers.change(() => other.control.servers.server(SERVER).setPages(0n, 0n));
  assertEquals(other.exit(store(VIDEO, 1)), NEXT.ENTER);
  assertEquals(other.control.servers.server(SERVER).unhandled, 1);
});

Deno.test("PCI configuration is never buffered, even if its ports are; the latch is both kept and buffered", () => {
  using subject = new BareVcpu().server(SERVER, { PORT: [[0xcf8, 0xcff]], PCI: [[0, 0xff]] }, BUFIOREQ.ATOMIC);
  const { bufferedRanges } = subject.control.servers.server(SERVER);
  subject.control.servers.change(() => bufferedRanges[RANGE.PORT].add(0xcf8, 0xcff));
  assertEquals(subject.access(out(0xcf8, 4, 0x10, 0, 0, 0x80)), []);
  assertEquals(subject.control.cf8 >>> 0, 0x8000_0010);
  assertEquals(drain(subject).writes, [["PIO", 0xcf8, 4, 0x8000_0010n]]);
  assertEquals(subject.access(out(0xcfc, 4, 1, 2, 3, 4)).map(({ type }) => type), ["PCI_CONFIG"]);
  assertEquals(drain(subject).writes, []);
});

Deno.test("a full ring falls back to the slot, and what is in the ring comes before it", () => {
  for (const [size, room] of [[1, 0], [8, 1], [8, 0]]) {
    using subject = vcpu();
    for (let n = 0; n < SLOTS - room; n++) assertEquals(subject.exit(store(VIDEO + n, n & 0xff)), NEXT.ENTER);
    subject.view(SERVER).area!.channels.drain(() => {}); // the events of all those
    const [request] = subject.access(store(VIDEO, ...new Array(size).fill(7)));
    assertEquals([request.address, request.size, request.type], [VIDEO, size, "COPY"]);
    const { writes } = drain(subject);
    assertEquals(writes.map(([, address]) => address), Array.from({ length: SLOTS - room }, (_, n) => VIDEO + n));
    assertEquals(subject.access(store(VIDEO, 1)), [], "there is room again");
  }
});

Deno.test("writes of all vCPUs and of both kinds stand in one ring in the order in which they were made", () => {
  using subject = vcpu();
  const machines = [subject.machine, new VcpuMachine(subject.control, subject.record)], expected: Buffered[] = [];
  for (let n = 0; n < 30; n++) {
    subject.machine = machines[(n >> 1) & 1];
    subject.exit(n % 2 === 0 ? store(VIDEO + n, n) : out(0x81, 1, n));
    expected.push(n % 2 === 0 ? ["COPY", VIDEO + n, 1, BigInt(n)] : ["PIO", 0x81, 1, BigInt(n)]);
  }
  assertEquals(drain(subject).writes, expected);
});

Deno.test("LEGACY pointers run on, ATOMIC ones are kept small", () => {
  for (const [bufioreq, far] of [[BUFIOREQ.LEGACY, true], [BUFIOREQ.ATOMIC, false]] as const) {
    using subject = vcpu(bufioreq);
    const pointers = new Uint32Array(viewAt(subject.control.servers.server(SERVER).buffered, 8));
    for (let n = 0; n < 3 * SLOTS; n++) {
      subject.exit(store(VIDEO, 1));
      drain(subject);
    }
    subject.exit(store(VIDEO, 1));
    assertEquals(pointers[0] > SLOTS, far);
    assertEquals(pointers[1] - pointers[0], 1);
  }
});

Deno.test("a buffered write is traced, counted in its range and not among the answered requests", () => {
  using subject = vcpu();
  subject.exit(store(VIDEO + 2, 1, 2, 3, 4));
  subject.exit(out(0x80, 1, 9));
  const entries = subject.control.trace(1).entries();
  assertEquals(
    entries.map(({ server, type, address, size, write, end }) => [server, type, address, size, write, end]),
    [
      [SERVER, TYPE.COPY, VIDEO + 2, 4, true, TRACE_END.BUFFERED],
      [SERVER, TYPE.PIO, 0x80, 1, true, TRACE_END.BUFFERED],
    ],
  );
  const { ranges } = subject.control.servers.server(SERVER);
  assertEquals(ranges.map((set) => set.tallies().map(({ requests }) => requests)), [[1], [1], []]);
  assertEquals([subject.record.served[SERVER], subject.control.trace(1).waited], [0, 0]);
});
