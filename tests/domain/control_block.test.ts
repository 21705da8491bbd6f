import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { ControlBlock, controlBlockBytes } from "../../src/domain/control_block.ts";
import { type Outcome, OUTCOMES } from "../../src/domain/outcome.ts";
import { statisticsOf } from "../../src/domain/statistics.ts";
import { traceBytes } from "../../src/domain/trace.ts";
import { VCPU_STATE } from "../../src/domain/vcpu_record.ts";
import { MAX_SERVERS } from "../../src/ioreq/abi.ts";
import { EXIT } from "../../src/kvm/abi.ts";
import { Descriptor } from "../../src/linux/descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { NATIVE_THREAD } from "../../src/linux/native_thread.ts";
import { residentGrowth } from "../linux/process.ts";
import { STAGE_BYTES } from "../../src/memory/stage_table.ts";
import { Thread } from "../linux/threads.ts";
import { BareVcpu } from "./bare_vcpu.ts";

const THREADS = new URL("./block_threads.ts", import.meta.url).href;

function block(vcpus: number): { memory: Mapping; control: ControlBlock } {
  const memory = Mapping.anonymous(controlBlockBytes(vcpus), "control block");
  return { memory, control: new ControlBlock(memory.address, vcpus) };
}

Deno.test("an outcome is read back as it was given, by every view of the control block", () => {
  const code = { bytes: Uint8Array.of(0x0f, 0x0b), bits: 64 };
  const outcomes: Outcome[] = [
    { kind: "poweroff", status: 0, reason: "the guest powered off" },
    { kind: "exit", status: 63, reason: "chosen", vcpu: 0 },
    { kind: "crash", status: 125, reason: "triple fault", vcpu: 7, rip: 0xffff_ffff_8000_1234n, code },
    { kind: "crash", status: 125, reason: "", vcpu: 1, rip: 0n },
    { kind: "signal", status: 143, reason: "sch\u00f6n \u2713" },
  ];
  for (const outcome of outcomes) {
    const { memory, control } = block(8);
    using _memory = memory;
    assertEquals([control.outcome, control.stopping], [undefined, false]);
    assertEquals(control.end(outcome), true);
    assertEquals(new ControlBlock(memory.address, 8).outcome, outcome);
    assertEquals(control.stopping, true);
  }
});

Deno.test("every kind of outcome has a number of its own in the control block", () => {
  for (const kind of OUTCOMES.filter((kind) => kind !== "running")) {
    const { memory, control } = block(1);
    using _memory = memory;
    control.end({ kind, status: 1, reason: "test" });
    assertEquals(control.outcome?.kind, kind);
  }
});

Deno.test("the first outcome stands", () => {
  const { memory, control } = block(1);
  using _memory = memory;
  const first: Outcome = { kind: "exit", status: 5, reason: "first", vcpu: 0 };
  assertEquals(control.end(first), true);
  assertEquals(control.end({ kind: "crash", status: 125, reason: "a second and longer one", rip: 1n }), false);
  assertEquals(control.outcome, first);
});

Deno.test("a reason and code that are too long are cut, and nothing behind them changes", () => {
  const { memory, control } = block(1);
  using _memory = memory;
  control.servers.server(0);
  const before = new Uint8Array(memory.buffer).slice(1024, 1024 + 64);
  const code = { bytes: new Uint8Array(40).fill(0x90), bits: 16 };
  control.end({ kind: "internal", status: 70, reason: "r".repeat(5000), vcpu: 0, rip: 1n, code });
  assertEquals(control.outcome?.reason, "r".repeat(896));
  assertEquals(control.outcome?.code, { bytes: new Uint8Array(15).fill(0x90), bits: 16 });
  assertEquals(new Uint8Array(memory.buffer).slice(1024, 1024 + 64), before);
});

Deno.test("of two threads that end a run at once exactly one is the first, and its outcome is whole", async () => {
  const rounds = 300;
  using words = Mapping.anonymous(4096, "where the threads meet");
  using stack = new DisposableStack();
  const blocks = Array.from({ length: rounds }, () => stack.use(block(1).memory).address);
  const threads = [1, 2].map((who) => stack.use(new Thread<number[]>(THREADS, "endAll", blocks, words.address, who)));
  const won = await Promise.all(threads.map((thread) => thread.result));
  assertEquals(
    [...won[0], ...won[1]].sort((one, other) => one - other),
    Array.from({ length: rounds }, (_, round) => round),
  );
  for (const [index, rounds] of won.entries()) {
    const who = index + 1;
    const expected: Outcome = { kind: "exit", status: who, reason: `thread ${who}`.repeat(who), vcpu: who };
    for (const round of rounds) assertEquals(new ControlBlock(blocks[round], 1).outcome, expected);
  }
});

Deno.test("the parts of a control block lie apart: whatever is written to one shows in no other", () => {
  const vcpus = 3;
  const { memory, control } = block(vcpus);
  using _memory = memory;
  control.interruptLines.fill(0x10);
  control.setWaiters(1, [400, 401, 402]);
  for (let id = 0; id < vcpus; id++) control.board.wake(id);
  for (let id = 0; id < vcpus; id++) {
    control.vcpu(id).create(100 + id, BigInt(0x1000 * (id + 1)), 4096);
    control.vcpu(id).state = VCPU_STATE.WAITING;
    control.vcpu(id).thread = 300 + id;
    control.vcpu(id).exits.fill(id + 1);
    control.vcpu(id).served.fill(id + 11);
    control.portCounts(id).fill(id + 21);
  }
  control.setMemory(0x7fff_ffff_f000n, 0x7fff_0000_0000n, 0n);
  control.cf8 = 0x8000_0000;
  control.vm = 9;
  control.paused = true;
  control.end({ kind: "stopped", status: 0, reason: "test" });
  const view = new ControlBlock(memory.address, vcpus);
  for (let id = 0; id < vcpus; id++) {
    const record = view.vcpu(id);
    assertEquals([record.descriptor, record.state, record.thread], [100 + id, VCPU_STATE.WAITING, 300 + id]);
    assert(record.exits.every((count) => count === id + 1) && record.served.every((count) => count === id + 11));
    assert(view.portCounts(id).every((count) => count === id + 21));
    assertEquals(record.ticks, { guest: 0, outside: 0 });
  }
  assert(view.interruptLines.every((word) => word === 0x10));
  assertEquals([view.vcpusPerWaiter, view.waiters, ...Array.from(view.doorbells)], [
    1,
    3,
    400,
    401,
    402,
  ]);
  for (let id = 0; id < vcpus; id++) assertEquals(view.board.drain(id, (vcpu) => assertEquals(vcpu, id)), 1);
  for (let id = 0; id < MAX_SERVERS; id++) assertEquals(view.servers.server(id).exists, false);
  assertEquals([view.bankTable, view.p2m], [0x7fff_ffff_f000n, 0x7fff_0000_0000n]);
  assertEquals([view.vm, view.cf8 >>> 0, view.paused, view.outcome?.reason], [9, 0x8000_0000, true, "test"]);
});

Deno.test("the vCPUs of a waiter count their ports together, and statistics count them once", () => {
  using memory = Mapping.anonymous(controlBlockBytes(70, 2), "control block");
  using traces = Mapping.anonymous(traceBytes(70), "trace rings");
  const control = new ControlBlock(memory.address, 70);
  control.setMemory(traces.address, traces.address, traces.address);
  using stage = Mapping.anonymous(STAGE_BYTES, "second stage");
  control.setStage(stage.address);
  control.setWaiters(64, [-1, -1]);
  for (let id = 0; id < 70; id++) control.portCounts(id)[0x3f8]++;
  assertEquals([control.portCounts(0)[0x3f8], control.portCounts(69)[0x3f8]], [64, 6]);
  const nobody = Array.from({ length: 70 }, () => new Descriptor(-1, "no vCPU"));
  assertEquals(statisticsOf(new ControlBlock(memory.address, 70), nobody).ports, [{ port: 0x3f8, exits: 70 }]);
});

Deno.test("a vCPU's record tells a native thread how to wake the waiter of that vCPU", () => {
  using memory = Mapping.anonymous(controlBlockBytes(70, 2), "control block");
  const control = new ControlBlock(memory.address, 70);
  control.setWaiters(64, [40, 41]);
  const view = (address: bigint) => Deno.UnsafePointerView.getArrayBuffer(Deno.UnsafePointer.create(address)!, 64);
  for (let id = 0; id < 70; id++) {
    const thread = new DataView(view(control.vcpu(id).clockAddress - BigInt(NATIVE_THREAD.clock)));
    assertEquals(thread.getInt32(NATIVE_THREAD.doorbell, true), id < 64 ? 40 : 41);
    const flag = new Int32Array(view(thread.getBigUint64(NATIVE_THREAD.flag, true)), 0, 1);
    flag[0] |= thread.getInt32(NATIVE_THREAD.flagBit, true);
    assertEquals(control.board.drain(id >> 6, (vcpu) => assertEquals(vcpu, id)), 1);
    control.board.arm(id >> 6);
    const asleep = new Uint8Array(view(thread.getBigUint64(NATIVE_THREAD.asleep, true)), 0, 1);
    assertEquals(asleep[0], 1);
    control.board.disarm(id >> 6);
    assertEquals(asleep[0], 0);
  }
});

Deno.test("the control block of 1024 vCPUs costs next to nothing until it is touched", () => {
  const growth = residentGrowth(() => {
    const { memory, control } = block(1024);
    control.vcpu(1023).state = VCPU_STATE.RUNNING;
    return memory;
  });
  assertLess(growth, 4 << 20);
});

/** Without KVM nothing says how long a vCPU was halted. */
const NO_VCPUS = Array.from({ length: 2 }, () => new Descriptor(-1, "no vCPU"));

Deno.test("statistics count exits by reason and port, and the requests that each server answered", () => {
  using vcpu = new BareVcpu(1, 2);
  vcpu.server(2, { PORT: [[0x60, 0x63]] }).server(5, {});
  for (let round = 0; round < 3; round++) vcpu.access({ kind: "port", port: 0x60, size: 1, count: 2 });
  vcpu.access({ kind: "port", port: 0x70, size: 1 });
  vcpu.access({ kind: "memory", address: 0x1000, size: 4 });
  vcpu.control.vcpu(0).exits[EXIT.MMIO] += 10;
  vcpu.exitFor(EXIT.INTR);
  const statistics = statisticsOf(vcpu.control, NO_VCPUS);
  assertEquals(statistics.exits, { IO: 4, MMIO: 11, INTR: 1 });
  assertEquals(statistics.ports, [{ port: 0x60, exits: 3 }, { port: 0x70, exits: 1 }]);
  assertEquals(statistics.servers.map(({ id, requests, unhandled }) => [id, requests, unhandled]), [[2, 6, 0], [
    5,
    0,
    0,
  ]]);
  const [{ ranges }] = statistics.servers;
  assertEquals(ranges.map(({ meanUs: _, ...range }) => range), [{
    kind: "port",
    first: 0x60,
    last: 0x63,
    requests: 6,
  }]);
  assertEquals(statistics.vcpus.length, 2);
});

Deno.test("statistics turn ticks into milliseconds at the speed of this host's clock", () => {
  const { memory, control } = block(1);
  using _memory = memory;
  using traces = Mapping.anonymous(traceBytes(1), "trace rings");
  control.setMemory(traces.address, traces.address, traces.address);
  using stage = Mapping.anonymous(STAGE_BYTES, "second stage");
  control.setStage(stage.address);
  const ticks = new BigUint64Array(
    Deno.UnsafePointerView.getArrayBuffer(Deno.UnsafePointer.create(control.vcpu(0).clockAddress)!, 16),
  );
  ticks.set([3_000_000_000n, 6_000_000_000n]);
  const [{ guestMs, outsideMs }] = statisticsOf(control, NO_VCPUS).vcpus;
  assertGreater(guestMs, 0);
  assertEquals(Math.round(outsideMs / guestMs), 2);
});
