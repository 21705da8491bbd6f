/** VcpuMachine.invalidate(): every enabled server is told, and the guest goes on when the last has answered. */

import { assert, assertEquals } from "@std/assert";
import { STATUS } from "../../src/domain/outcome.ts";
import { NEXT } from "../../src/domain/vcpu_machine.ts";
import { TRACE_END } from "../../src/domain/trace.ts";
import { BUFIOREQ, STATE, TYPE } from "../../src/ioreq/abi.ts";
import { vcpuPort } from "../../src/ioreq/notification.ts";
import { type Access, BareVcpu } from "./bare_vcpu.ts";

const ID = 2, READ_60: Access = { kind: "port", port: 0x60, size: 1 };

/** vCPU 2 of a domain with servers 1, 4 and 7, and 5, which is disabled. */
function vcpu(): BareVcpu {
  const vcpu = new BareVcpu(ID, 3).server(1, { PORT: [[0x60, 0x60]] }).server(4, {}, BUFIOREQ.ATOMIC).server(7, {})
    .server(5, {});
  vcpu.control.servers.change(() => vcpu.control.servers.server(5).setEnabled(false));
  return vcpu;
}

const SERVERS = [1, 4, 7];

function states(vcpu: BareVcpu): number[] {
  return [1, 4, 5, 7].map((id) => vcpu.page(id).state(ID));
}

Deno.test("an INVALIDATE has type 8, size 4 and all ones as data, and goes to every enabled server with its event", () => {
  using subject = vcpu();
  assertEquals(subject.machine.invalidate(), NEXT.WAIT);
  for (const id of SERVERS) {
    const page = subject.page(id), ports: number[] = [];
    assertEquals([page.type(ID), page.size(ID), page.count(ID), page.address(ID)], [TYPE.INVALIDATE, 4, 1, 0]);
    assertEquals([page.dataLow(ID), page.dataHigh(ID)], [0xffff_ffff, 0xffff_ffff]);
    assertEquals([page.state(ID), page.isRead(ID), page.isPointer(ID)], [STATE.READY, false, false]);
    subject.view(id).area!.channels.drain((port) => ports.push(port));
    assertEquals(ports, [vcpuPort(ID)]);
  }
  assertEquals([subject.page(5).state(ID), subject.view(5).area!.channels.pending], [STATE.NONE, false]);
});

Deno.test("the guest goes on when all have answered, in whatever order they do", () => {
  for (const order of [[1, 4, 7], [7, 4, 1], [4, 7, 1], [7, 1, 4]]) {
    using subject = vcpu();
    let next = subject.machine.invalidate();
    for (const id of order) {
      assertEquals([next, subject.machine.settled], [NEXT.WAIT, false]);
      subject.page(id).setState(ID, STATE.INPROCESS);
      assertEquals([subject.machine.settled, subject.machine.resumed()], [false, NEXT.WAIT]);
      subject.answer(id, 0n);
      assert(subject.machine.settled);
      next = subject.machine.resumed();
    }
    assertEquals([next, ...states(subject)], [NEXT.ENTER, 0, 0, 0, 0]);
    assertEquals(SERVERS.map((id) => subject.record.served[id]), [1, 1, 1]);
    assertEquals(subject.access(READ_60, [5n]).length, 1);
    assertEquals(subject.read(READ_60), [5]);
  }
});

Deno.test("answers that come together are taken together", () => {
  using subject = vcpu();
  subject.machine.invalidate();
  for (const id of SERVERS) subject.answer(id, 0n);
  assertEquals([subject.machine.resumed(), ...states(subject)], [NEXT.ENTER, 0, 0, 0, 0]);
});

Deno.test("without an enabled server an invalidation costs nothing", () => {
  using subject = new BareVcpu();
  assertEquals([subject.machine.invalidate(), subject.machine.resumed()], [NEXT.ENTER, NEXT.ENTER]);
});

Deno.test("servers that go while they are waited for are not waited for", () => {
  using subject = vcpu();
  subject.machine.invalidate();
  subject.page(4).setState(ID, STATE.NONE);
  subject.control.servers.change(() => subject.control.servers.server(7).destroy());
  assertEquals([subject.machine.settled, subject.machine.resumed()], [true, NEXT.WAIT]);
  subject.answer(1, 0n);
  assertEquals(subject.machine.resumed(), NEXT.ENTER);
  assertEquals(SERVERS.map((id) => subject.record.served[id]), [1, 0, 0]);
});

Deno.test("a server whose slot is taken is left out, and counted; the others are told", () => {
  using subject = vcpu();
  subject.page(4).setState(ID, STATE.IORESP_READY);
  assertEquals(subject.machine.invalidate(), NEXT.WAIT);
  assertEquals(states(subject), [STATE.READY, STATE.IORESP_READY, STATE.NONE, STATE.READY]);
  assertEquals(SERVERS.map((id) => subject.control.servers.server(id).unhandled), [0, 1, 0]);
  for (const id of [1, 7]) subject.answer(id, 0n);
  assertEquals(subject.machine.resumed(), NEXT.ENTER);
});

Deno.test("one of them that moves a state backwards crashes the domain by name, whatever the others do", () => {
  using subject = vcpu();
  subject.machine.invalidate();
  subject.answer(1, 0n);
  subject.page(7).setState(ID, 9);
  assertEquals(subject.machine.resumed(), NEXT.STOP);
  const reason = "ioreq server 7 moved a request from state 1 to 9";
  assertEquals(subject.control.outcome, { kind: "crash", status: STATUS.CRASH, reason, vcpu: ID });
});

Deno.test("an invalidation is traced for each server, in no range, and waited for once", () => {
  using subject = vcpu();
  subject.machine.invalidate();
  assertEquals(subject.control.trace(ID).current?.server, 7, "the one that was told first");
  for (const id of [7, 1, 4]) {
    subject.answer(id, 0n);
    subject.machine.resumed();
  }
  const trace = subject.control.trace(ID), entries = trace.entries();
  assertEquals(
    entries.map(({ server, type, size, write, end }) => [server, type, size, write, end]),
    [7, 1, 4].map((id) => {
      return [id, TYPE.INVALIDATE, 0, true, TRACE_END.ANSWERED];
    }),
  );
  assert(trace.waited >= Math.max(...entries.map(({ ticks }) => ticks)));
  assert(trace.waited < entries.reduce((sum, { ticks }) => sum + ticks, 0), "it was waited for all at the same time");
  assertEquals(
    subject.control.servers.server(1).ranges.flatMap((set) => set.tallies().map(({ requests }) => requests)),
    [0],
  );
});
