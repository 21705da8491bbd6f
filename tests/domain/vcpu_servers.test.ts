/** VcpuMachine and its servers: slots in several pages, slots that cannot be used, servers that go or change hands. */

import { assert, assertEquals } from "@std/assert";
import { STATUS } from "../../src/domain/outcome.ts";
import { NEXT } from "../../src/domain/vcpu_machine.ts";
import { TRACE_END } from "../../src/domain/trace.ts";
import { RANGE, STATE, TYPE } from "../../src/ioreq/abi.ts";
import { vcpuPort } from "../../src/ioreq/notification.ts";
import { ServerView } from "../../src/ioreq/server_view.ts";
import { type Access, BareVcpu } from "./bare_vcpu.ts";

const READ_60: Access = { kind: "port", port: 0x60, size: 1 };
const WRITE_60: Access = { kind: "port", port: 0x60, size: 1, data: [7] };

for (const [id, vcpus] of [[127, 128], [127, 129], [128, 129], [255, 300], [256, 300], [299, 300], [1023, 1024]]) {
  Deno.test(`vCPU ${id} of ${vcpus} asks through its own slot, in page ${id >> 7}, and its own event channel`, () => {
    using subject = new BareVcpu(id, vcpus);
    subject.server(2, { PORT: [[0x60, 0x60]] });
    const page = subject.page(2);
    assertEquals(subject.exit(READ_60), NEXT.WAIT);
    const asked = Array.from({ length: vcpus }, (_, vcpu) => vcpu).filter((vcpu) => page.state(vcpu) !== STATE.NONE);
    assertEquals(asked, [id]);
    const ports: number[] = [];
    subject.view(2).area!.channels.drain((port) => ports.push(port));
    assertEquals(ports, [vcpuPort(id)]);
    subject.answer(2, BigInt(id & 0xff));
    assertEquals([subject.machine.resumed(), subject.read(READ_60)], [NEXT.ENTER, [id & 0xff]]);
    assertEquals(subject.access(WRITE_60), [{ server: 2, type: "PIO", address: 0x60, size: 1, data: 7n }]);
  });
}

/** What is the matter with a vCPU's slot, and whether the slot is as it was afterwards. */
const UNUSABLE: Record<string, (subject: BareVcpu) => void> = {
  "it is READY": (subject) => subject.page(2).setState(1, STATE.READY),
  "it is INPROCESS": (subject) => subject.page(2).setState(1, STATE.INPROCESS),
  "it has an answer that nobody waits for": (subject) => subject.page(2).setState(1, STATE.IORESP_READY),
  "it is in no state that there is": (subject) => subject.page(2).setState(1, 11),
  "its event channel is another vCPU's": (subject) => subject.page(2).setPort(1, vcpuPort(0)),
  "its event channel is none": (subject) => subject.page(2).setPort(1, 0),
  "its event channel is garbage": (subject) => subject.page(2).setPort(1, 0xffff_ffff),
  "the server has no pages": ({ control: { servers } }) => servers.change(() => servers.server(2).setPages(0n, 0n)),
};

for (const [name, spoil] of Object.entries(UNUSABLE)) {
  Deno.test(`a slot that cannot be used is nobody's request, and counted: ${name}`, () => {
    using subject = new BareVcpu(1, 2);
    subject.server(0, { PORT: [[0x60, 0x60]] }).server(2, { PORT: [[0x60, 0x60]] });
    const page = subject.page(2), server = subject.control.servers.server(2);
    spoil(subject);
    const before = [page.state(1), page.port(1)];
    assertEquals([subject.exit(READ_60), subject.read(READ_60)], [NEXT.ENTER, [0xff]]);
    assertEquals(subject.exit(WRITE_60), NEXT.ENTER);
    assertEquals([server.unhandled, page.state(1), page.port(1)], [2, ...before]);
    assertEquals(subject.page(0).state(1), STATE.NONE, "no other server is asked instead");
    assertEquals([subject.view(2).area!.channels.pending, subject.record.served[2]], [false, 0]);
    assertEquals(subject.control.trace(1).recorded, 0);
    // Once the slot is what it should be, the next request goes there.
    subject.server(2, { PORT: [[0x60, 0x60]] });
    assertEquals([subject.access(READ_60, [5n]).length, subject.read(READ_60)], [1, [5]]);
  });
}

Deno.test("one vCPU's slot that cannot be used is no other vCPU's business", () => {
  using subject = new BareVcpu(1, 3);
  subject.server(2, { PORT: [[0x60, 0x60]] });
  for (const vcpu of [0, 2]) {
    subject.page(2).setPort(vcpu, 0);
    subject.page(2).setState(vcpu, STATE.INPROCESS);
  }
  subject.exit(READ_60);
  subject.answer(2, 9n);
  assertEquals([subject.machine.resumed(), subject.read(READ_60)], [NEXT.ENTER, [9]]);
});

/** How a server goes away while a request waits for it. */
const GONE: Record<string, (subject: BareVcpu) => void> = {
  "it was destroyed": ({ control: { servers } }) => servers.change(() => servers.server(2).destroy()),
  "another was created with its id": (subject) => subject.server(2, {}),
  "its slot became NONE": (subject) => subject.page(2).setState(1, STATE.NONE),
};

for (const [name, end] of Object.entries(GONE)) {
  Deno.test(`a request whose server is gone reads all ones, a write is dropped, and the guest goes on: ${name}`, () => {
    for (const state of [STATE.READY, STATE.INPROCESS]) {
      using subject = new BareVcpu(1, 2);
      subject.server(2, { PORT: [[0x60, 0x63]], MEMORY: [[0x1000, 0x1fff]] });
      const wide: Access = { kind: "memory", address: 0x1008, size: 8 };
      for (const access of [{ ...READ_60, size: 4 }, WRITE_60, wide]) {
        assertEquals(subject.exit(access), NEXT.WAIT);
        subject.page(2).setState(1, state);
        assertEquals([subject.machine.settled, subject.machine.resumed()], [false, NEXT.WAIT]);
        end(subject);
        assertEquals([subject.machine.settled, subject.machine.resumed()], [true, NEXT.ENTER]);
        assertEquals(subject.read(access), access.data ?? new Array(access.size).fill(0xff));
        subject.server(2, { PORT: [[0x60, 0x63]], MEMORY: [[0x1000, 0x1fff]] });
      }
      const ends = subject.control.trace(1).entries().map(({ end }) => end);
      assertEquals([ends, subject.record.served[2]], [[TRACE_END.GONE, TRACE_END.GONE, TRACE_END.GONE], 0]);
      assertEquals(subject.control.stopping, false);
    }
  });
}

Deno.test("the rest of an access goes to whoever claims it after its server has gone", () => {
  using subject = new BareVcpu();
  subject.server(2, { MEMORY: [[0x1000, 0x1fff]] }).server(0, { MEMORY: [[0x1000, 0x1fff]] });
  const access: Access = { kind: "memory", address: 0x1000, size: 6 };
  assertEquals(subject.exit(access), NEXT.WAIT);
  subject.control.servers.change(() => subject.control.servers.server(2).destroy());
  assertEquals([subject.machine.resumed(), subject.page(0).address(0)], [NEXT.WAIT, 0x1004]);
  subject.answer(0, 0x0201n);
  assertEquals([subject.machine.resumed(), subject.read(access)], [NEXT.ENTER, [0xff, 0xff, 0xff, 0xff, 1, 2]]);
});

Deno.test("disabling a server leaves the request that it has, and its answer counts", () => {
  using subject = new BareVcpu();
  const { servers } = subject.control;
  subject.server(2, { PORT: [[0x60, 0x60]] });
  subject.exit(READ_60);
  servers.change(() => servers.server(2).setEnabled(false));
  assertEquals(subject.machine.resumed(), NEXT.WAIT);
  subject.answer(2, 6n);
  assertEquals([subject.machine.resumed(), subject.read(READ_60)], [NEXT.ENTER, [6]]);
  assertEquals([subject.exit(READ_60), subject.read(READ_60)], [NEXT.ENTER, [0xff]]);
});

Deno.test("a server that changes hands asks again: INPROCESS may go back to READY once, then it is answered", () => {
  using subject = new BareVcpu(1, 2);
  subject.server(2, { PORT: [[0x60, 0x60]] });
  const page = subject.page(2), server = subject.control.servers.server(2);
  subject.exit(READ_60);
  page.setState(1, STATE.INPROCESS);
  assertEquals(subject.machine.resumed(), NEXT.WAIT);
  server.countTakeover();
  assert(page.advance(1, STATE.INPROCESS, STATE.READY));
  assertEquals([subject.machine.settled, subject.machine.resumed()], [false, NEXT.WAIT]);
  page.setState(1, STATE.INPROCESS);
  assertEquals(subject.machine.resumed(), NEXT.WAIT);
  subject.answer(2, 3n);
  assertEquals([subject.machine.resumed(), subject.read(READ_60)], [NEXT.ENTER, [3]]);
});

Deno.test("a server that has changed hands may not go backwards by itself after that", () => {
  using subject = new BareVcpu(1, 2);
  subject.server(2, { PORT: [[0x60, 0x60]] });
  const page = subject.page(2), server = subject.control.servers.server(2);
  subject.exit(READ_60);
  page.setState(1, STATE.INPROCESS);
  subject.machine.resumed();
  server.countTakeover();
  page.setState(1, STATE.READY);
  subject.machine.resumed();
  page.setState(1, STATE.INPROCESS);
  subject.machine.resumed();
  page.setState(1, STATE.READY);
  assertEquals(subject.machine.resumed(), NEXT.STOP);
  const reason = "ioreq server 2 moved a request from state 2 to 1";
  assertEquals(subject.control.outcome, { kind: "crash", status: STATUS.CRASH, reason, vcpu: 1 });
});

Deno.test("a change of hands before a request was sent lets no state of that request go backwards", () => {
  using subject = new BareVcpu(1, 2);
  subject.server(2, { PORT: [[0x60, 0x60]] });
  subject.control.servers.server(2).countTakeover();
  subject.exit(READ_60);
  subject.page(2).setState(1, STATE.INPROCESS);
  subject.machine.resumed();
  subject.page(2).setState(1, STATE.READY);
  assertEquals(subject.machine.resumed(), NEXT.STOP);
});

Deno.test("every request is traced with its server, type, address, size, direction and end, and counted in its range", () => {
  using subject = new BareVcpu();
  subject.server(2, { PORT: [[0x60, 0x6f]], MEMORY: [[0x1000, 0x1fff], [0x3000, 0x3fff]], PCI: [[8, 8]] });
  subject.access(READ_60);
  subject.access({ kind: "port", port: 0x62, size: 2, data: [1, 2, 3, 4], count: 2 });
  subject.access({ kind: "memory", address: 0x3000, size: 8 });
  subject.access({ kind: "memory", address: 0x1001, size: 3, data: [1, 2, 3] });
  subject.access({ kind: "port", port: 0x70, size: 1 }); // nobody's
  subject.access({ kind: "port", port: 0xcf8, size: 4, data: [4, 8, 0, 0x80] });
  subject.access({ kind: "port", port: 0xcfc, size: 4 });
  const trace = subject.control.trace(0), entries = trace.entries();
  assertEquals(entries.map(({ server, type, address, size, write }) => [server, type, address, size, write]), [
    [2, TYPE.PIO, 0x60, 1, false],
    [2, TYPE.PIO, 0x62, 2, true],
    [2, TYPE.PIO, 0x62, 2, true],
    [2, TYPE.COPY, 0x3000, 8, false],
    [2, TYPE.COPY, 0x1001, 2, true],
    [2, TYPE.COPY, 0x1003, 1, true],
    [2, TYPE.PCI_CONFIG, 0xcfc, 4, false],
  ]);
  assert(entries.every(({ end, ticks }) => end === TRACE_END.ANSWERED && ticks > 0));
  const ends = entries.map(({ sent, ticks }) => sent + ticks);
  assert(entries.slice(1).every(({ sent }, index) => sent >= ends[index]), "they overlap");
  assertEquals(trace.waited, entries.reduce((sum, { ticks }) => sum + ticks, 0));
  const { ranges } = subject.control.servers.server(2);
  assertEquals(ranges[RANGE.PORT].tallies().map(({ requests }) => requests), [3]);
  assertEquals(ranges[RANGE.MEMORY].tallies().map(({ first, requests }) => [first, requests]), [[0x1000, 2], [
    0x3000,
    1,
  ]]);
  assertEquals(ranges[RANGE.PORT].tallies()[0].ticks, entries.slice(0, 3).reduce((sum, { ticks }) => sum + ticks, 0));
});

Deno.test("while a request waits, the trace says for whom and where", () => {
  using subject = new BareVcpu();
  subject.server(5, { MEMORY: [[0x1000, 0x1fff]] });
  const trace = subject.control.trace(0);
  assertEquals(trace.current, undefined);
  subject.exit({ kind: "memory", address: 0x1234, size: 4 });
  assertEquals([trace.current?.server, trace.current?.address], [5, 0x1234]);
  subject.answer(5, 0n);
  subject.machine.resumed();
  assertEquals([trace.current, new ServerView(subject.control.servers.server(5)).current], [undefined, true]);
});
