/** VcpuMachine: what is no plain access - the CF8 latch, the exit port, interruptions, bad states, other exits. */

import { assert, assertEquals } from "@std/assert";
import { STATUS } from "../../src/domain/outcome.ts";
import { NEXT, VcpuMachine } from "../../src/domain/vcpu_machine.ts";
import { DIR_READ, STATE } from "../../src/ioreq/abi.ts";
import { EXIT, RUN_PAGE } from "../../src/kvm/abi.ts";
import { EAGAIN, EFAULT, EINTR } from "../../src/linux/errno.ts";
import { type Access, BareVcpu, type Seen } from "./bare_vcpu.ts";

const CF8 = 0xcf8, CFC = 0xcfc, ENABLE = 0x8000_0000;
const outl = (port: number, value: number): Access => {
  const bytes = new Uint8Array(new Uint32Array([value]).buffer);
  return { kind: "port", port, size: 4, data: [...bytes] };
};
const inp = (port: number, size: number, count = 1): Access => ({ kind: "port", port, size, count });
const READ_60 = inp(0x60, 1);

/** Bus 2, device 3, function 1 as PCI's range type counts them. */
const SBDF = 2 << 8 | 3 << 3 | 1;

Deno.test("port 0xcf8 keeps what is written to it as 4 bytes, and answers where no server does", () => {
  using vcpu = new BareVcpu();
  for (const value of [0x8000_1234, 0, 0xffff_ffff]) {
    assertEquals(vcpu.access(outl(CF8, value)), []);
    assertEquals(vcpu.access(inp(CF8, 4)), []);
    assertEquals(new DataView(new Uint8Array(vcpu.read(inp(CF8, 4))).buffer).getUint32(0, true), value);
  }
});

Deno.test("a server that claims port 0xcf8 gets what is latched, too, and answers reads (Xen: hvm_access_cf8)", () => {
  using vcpu = new BareVcpu();
  vcpu.server(0, { PORT: [[0xcf0, 0xcff]] });
  assertEquals(vcpu.access(outl(CF8, 0x8000_1234)), [
    { server: 0, type: "PIO", address: CF8, size: 4, data: 0x8000_1234n },
  ]);
  assertEquals(vcpu.control.cf8 >>> 0, 0x8000_1234);
  assertEquals(vcpu.access(inp(CF8, 4), [0x55n]), [{ server: 0, type: "PIO", address: CF8, size: 4 }]);
  assertEquals(vcpu.read(inp(CF8, 4)), [0x55, 0, 0, 0]);
});

Deno.test("a string instruction on port 0xcf8 reads the latch every time, and its last write stays", () => {
  using vcpu = new BareVcpu();
  vcpu.access({ kind: "port", port: CF8, size: 4, count: 3, data: [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0x80] });
  vcpu.access(inp(CF8, 4, 3));
  assertEquals(vcpu.read(inp(CF8, 4, 3)), [3, 0, 0, 0x80, 3, 0, 0, 0x80, 3, 0, 0, 0x80]);
});

Deno.test("narrower accesses to 0xcf8 are ports like any other and leave the latch alone", () => {
  using vcpu = new BareVcpu();
  vcpu.server(0, { PORT: [[CF8, CF8 + 3]] });
  vcpu.access(outl(CF8, 0x8000_1234));
  assertEquals(vcpu.access({ kind: "port", port: CF8, size: 1, data: [9] }), [
    { server: 0, type: "PIO", address: CF8, size: 1, data: 9n },
  ]);
  assertEquals(vcpu.control.cf8 >>> 0, 0x8000_1234);
});

Deno.test("0xcfc-0xcff is PCI configuration space of the latched function while the latch is enabled", () => {
  const table: [latch: number, port: number, size: number, expected: Omit<Seen, "size">[]][] = [
    [ENABLE | SBDF << 8, CFC, 4, [{ server: 1, type: "PCI_CONFIG", address: SBDF * 2 ** 32 }]],
    [ENABLE | SBDF << 8 | 0x44, CFC + 2, 2, [{ server: 1, type: "PCI_CONFIG", address: SBDF * 2 ** 32 + 0x46 }]],
    [ENABLE | SBDF << 8 | 0xff, CFC + 3, 1, [{ server: 1, type: "PCI_CONFIG", address: SBDF * 2 ** 32 + 0xff }]],
    [ENABLE | SBDF << 8 | 0x47, CFC + 1, 1, [{ server: 1, type: "PCI_CONFIG", address: SBDF * 2 ** 32 + 0x45 }]],
    // Another function: nobody's, not even the ports' owner's.
    [ENABLE | SBDF + 1 << 8, CFC, 4, []],
    // Not enabled: ports.
    [SBDF << 8, CFC, 4, [{ server: 0, type: "PIO", address: CFC }]],
    [0, CFC + 1, 1, [{ server: 0, type: "PIO", address: CFC + 1 }]],
    // Beside the window: ports, whatever is latched.
    [ENABLE | SBDF << 8, 0xd00, 1, [{ server: 0, type: "PIO", address: 0xd00 }]],
    [ENABLE | SBDF << 8, 0xcfb, 1, [{ server: 0, type: "PIO", address: 0xcfb }]],
  ];
  for (const [latch, port, size, expected] of table) {
    using vcpu = new BareVcpu();
    vcpu.server(0, { PORT: [[0xcf0, 0xd0f]] }).server(1, { PCI: [[SBDF, SBDF]] });
    vcpu.access(outl(CF8, latch));
    const seen = vcpu.access(inp(port, size), [0x1122_3344n]);
    assertEquals(seen, expected.map((one) => ({ ...one, size })), `latch 0x${(latch >>> 0).toString(16)}`);
    const [byte] = vcpu.read(inp(port, size));
    assertEquals(byte, expected.length === 0 ? 0xff : 0x44);
  }
});

Deno.test("a write of PCI configuration carries its data, and every function has its server", () => {
  using vcpu = new BareVcpu();
  vcpu.server(4, { PCI: [[0, 7]] }).server(5, { PCI: [[8, 0xffff]] });
  vcpu.access(outl(CF8, ENABLE | 7 << 8 | 0x10));
  const data = { type: "PCI_CONFIG", size: 4, data: 0xdead_beefn } as const;
  assertEquals(vcpu.access(outl(CFC, 0xdead_beef)), [{ ...data, server: 4, address: 7 * 2 ** 32 + 0x10 }]);
  vcpu.access(outl(CF8, ENABLE | 0xffff << 8 | 0xfc));
  assertEquals(vcpu.access(outl(CFC, 0xdead_beef)), [{ ...data, server: 5, address: 0xffff * 2 ** 32 + 0xfc }]);
});

Deno.test("a write to the exit port ends the run with its low six bits, whoever claims the port", () => {
  for (
    const [size, data, status] of [[1, [0], 0], [1, [63], 63], [1, [64], 0], [2, [0x81, 7], 1], [4, [5, 0, 0, 1], 5]]
  ) {
    using vcpu = new BareVcpu(1, 2);
    vcpu.server(7, { PORT: [[0, 0xffff]] });
    const exit: Access = { kind: "port", port: 0xf4, size: size as number, data: data as number[] };
    assertEquals(vcpu.exit(exit), NEXT.STOP);
    const reason = `the guest chose status ${status}`;
    assertEquals(vcpu.control.outcome, { kind: "exit", status: status as number, reason, vcpu: 1 });
    assertEquals(vcpu.machine.resumed(), NEXT.STOP);
  }
});

Deno.test("KVM_RUN that was interrupted enters again, waits while paused, and stops when the run is over", () => {
  for (const errno of [EINTR, EAGAIN]) {
    using vcpu = new BareVcpu();
    const kick = () => vcpu.runView.setUint8(RUN_PAGE.immediate_exit, 1);
    kick();
    assertEquals(vcpu.machine.exited(-errno), NEXT.ENTER);
    assertEquals(vcpu.runView.getUint8(RUN_PAGE.immediate_exit), 0, "it would be kicked for ever");
    vcpu.control.paused = true;
    kick();
    assertEquals([vcpu.machine.exited(-errno), vcpu.machine.resumed()], [NEXT.PAUSED, NEXT.PAUSED]);
    vcpu.control.paused = false;
    assertEquals(vcpu.machine.resumed(), NEXT.ENTER);
    vcpu.control.end({ kind: "stopped", status: 0, reason: "test" });
    kick();
    assertEquals([vcpu.machine.exited(-errno), vcpu.machine.resumed()], [NEXT.STOP, NEXT.STOP]);
    assertEquals(vcpu.record.exits[EXIT.INTR], 3);
  }
});

Deno.test("a request that is under way when the run ends is given up, and one under way in a pause is still answered", () => {
  using vcpu = new BareVcpu();
  vcpu.server(0, { PORT: [[0x60, 0x60]] });
  assertEquals(vcpu.exit(READ_60), NEXT.WAIT);
  vcpu.control.paused = true;
  assertEquals(vcpu.machine.resumed(), NEXT.WAIT);
  vcpu.answer(0, 7n);
  assert([NEXT.ENTER, NEXT.PAUSED].includes(vcpu.machine.resumed() as 0 | 2));
  assertEquals(vcpu.read(READ_60), [7]);
  vcpu.control.paused = false;
  assertEquals(vcpu.exit(READ_60), NEXT.WAIT);
  vcpu.control.end({ kind: "stopped", status: 0, reason: "test" });
  assertEquals(vcpu.machine.resumed(), NEXT.STOP);
});

Deno.test("a slot whose device model is gone (NONE while waiting) reads all ones, and the access goes on", () => {
  using vcpu = new BareVcpu();
  vcpu.server(0, { MEMORY: [[0x1000, 0x1fff]] });
  const access: Access = { kind: "memory", address: 0x1000, size: 6 };
  assertEquals(vcpu.exit(access), NEXT.WAIT);
  vcpu.request();
  vcpu.page(0).setState(0, STATE.NONE);
  assert(vcpu.machine.settled);
  assertEquals(vcpu.machine.resumed(), NEXT.WAIT);
  assertEquals(vcpu.request().address, 0x1004);
  vcpu.answer(0, 0x0201n);
  assertEquals([vcpu.machine.resumed(), vcpu.read(access)], [NEXT.ENTER, [0xff, 0xff, 0xff, 0xff, 1, 2]]);
  assertEquals(vcpu.record.served[0], 1, "only one of the two was answered");
});

Deno.test("INPROCESS is no answer, however often it is looked at", () => {
  using vcpu = new BareVcpu();
  vcpu.server(0, { PORT: [[0x60, 0x60]] });
  assertEquals(vcpu.exit(READ_60), NEXT.WAIT);
  vcpu.page(0).setState(0, STATE.INPROCESS);
  for (let look = 0; look < 3; look++) assertEquals([vcpu.machine.settled, vcpu.machine.resumed()], [false, NEXT.WAIT]);
  vcpu.page(0).publish(0, STATE.IORESP_READY, DIR_READ);
  assertEquals(vcpu.machine.resumed(), NEXT.ENTER);
});

Deno.test("states that go backwards or that do not exist crash the domain, naming the server", () => {
  for (const states of [[STATE.INPROCESS, STATE.READY], [4], [5], [15], [STATE.INPROCESS, 7]]) {
    using vcpu = new BareVcpu(2, 3);
    vcpu.server(6, { PORT: [[0x60, 0x60]] });
    let next = vcpu.exit(READ_60);
    for (const state of states) {
      assertEquals(next, NEXT.WAIT);
      vcpu.page(6).setState(2, state);
      next = vcpu.machine.resumed();
    }
    assertEquals(next, NEXT.STOP);
    const [last, before = STATE.READY] = states.toReversed();
    const reason = `ioreq server 6 moved a request from state ${before} to ${last}`;
    assertEquals(vcpu.control.outcome, { kind: "crash", status: STATUS.CRASH, reason, vcpu: 2 });
  }
});

Deno.test("every other exit crashes the guest with a reason, but those that only say that KVM came by", () => {
  const table: [reason: number, detail: number, outcome: string][] = [
    [EXIT.SHUTDOWN, 0, "triple fault"],
    [EXIT.INTERNAL_ERROR, 1, "KVM cannot emulate the instruction, or it lies outside of memory"],
    [EXIT.INTERNAL_ERROR, 2, "an exception arose while another was delivered"],
    [EXIT.INTERNAL_ERROR, 3, "an exit interrupted the delivery of an event"],
    [EXIT.INTERNAL_ERROR, 99, "KVM internal error 99"],
    [EXIT.FAIL_ENTRY, 0x8000_0021, "the processor refused to enter the guest (0x80000021)"],
    [EXIT.HLT, 0, "unhandled exit HLT"],
    [EXIT.HYPERCALL, 0, "unhandled exit HYPERCALL"],
    [63, 0, "unhandled exit reason 63"],
    [1000, 0, "unhandled exit reason 1000"],
  ];
  for (const [reason, detail, outcome] of table) {
    using vcpu = new BareVcpu();
    assertEquals(vcpu.exitFor(reason, detail), NEXT.STOP);
    assertEquals(vcpu.control.outcome, { kind: "crash", status: STATUS.CRASH, reason: outcome, vcpu: 0 });
  }
  for (const reason of [EXIT.INTR, EXIT.IRQ_WINDOW_OPEN]) {
    using vcpu = new BareVcpu();
    assertEquals([vcpu.exitFor(reason), vcpu.control.stopping], [NEXT.ENTER, false]);
  }
});

Deno.test("KVM_RUN that fails crashes the guest with the error's name, even if KVM gives no registers any more", () => {
  for (const [errno, name] of [[EFAULT, "EFAULT"], [5, "EIO"]] as const) {
    using vcpu = new BareVcpu();
    assertEquals(vcpu.machine.exited(-errno), NEXT.STOP);
    assertEquals(vcpu.control.outcome?.reason, `KVM_RUN failed with ${name}`);
  }
});

Deno.test("a new device model at a server gets the next request, in its own page", () => {
  using vcpu = new BareVcpu();
  vcpu.server(0, { PORT: [[0x60, 0x60]] });
  vcpu.access(READ_60, [1n]);
  const old = vcpu.page(0);
  vcpu.server(0, { PORT: [[0x60, 0x60]] });
  assertEquals(vcpu.access(READ_60, [2n]).length, 1);
  assertEquals([vcpu.read(READ_60), old.dataLow(0)], [[2], 1]);
});

Deno.test("a machine that another takes over from at an exit boundary leaves nothing behind", () => {
  using vcpu = new BareVcpu();
  vcpu.server(0, { PORT: [[0x60, 0x60]] });
  vcpu.access(outl(CF8, 0x8000_0000));
  vcpu.machine = new VcpuMachine(vcpu.control, vcpu.record);
  vcpu.access(READ_60, [9n]);
  assertEquals([vcpu.read(READ_60), vcpu.control.cf8 >>> 0], [[9], 0x8000_0000]);
});
