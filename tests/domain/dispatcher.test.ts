/** The dispatcher without a domain around it: what it leaves behind, and what it says. With one: tests/guests. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { ControlBlock, controlBlockBytes } from "../../src/domain/control_block.ts";
import { dispatch } from "../../src/domain/dispatcher.ts";
import { traceBytes } from "../../src/domain/trace.ts";
import { VCPU_STATES } from "../../src/domain/vcpu_record.ts";
import { Kvm } from "../../src/kvm/kvm.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { ThreadStacks } from "../../src/linux/native_thread.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { installKick } from "../../src/linux/signal.ts";
import { KVM, testWith } from "../support/capabilities.ts";
import { spinUntil } from "../linux/threads.ts";

const RUN_BYTES = 3 * 4096, PER = 32;

/** vCPUs that fail to enter a guest, but for those that a test replaces. */
class BareVcpus implements Disposable {
  readonly #stack = new DisposableStack();
  readonly control: ControlBlock;
  readonly stacks: bigint;

  constructor(readonly vcpus: number) {
    this.stacks = this.#stack.use(new ThreadStacks(vcpus)).address;
    const map = (bytes: number) => this.#stack.use(Mapping.anonymous(bytes, "part of a domain")).address;
    const waiters = Math.ceil(vcpus / PER);
    this.control = new ControlBlock(map(controlBlockBytes(vcpus, waiters)), vcpus);
    this.control.setMemory(0n, 0n, map(traceBytes(vcpus)));
    const doorbells = Array.from({ length: waiters }, () => this.#stack.use(eventDescriptor("a dispatcher")).number);
    this.control.setWaiters(PER, doorbells);
    const runPages = map(vcpus * RUN_BYTES);
    for (let id = 0; id < vcpus; id++) this.control.vcpu(id).create(-1, runPages + BigInt(id * RUN_BYTES), RUN_BYTES);
  }

  /** @returns what it reported */
  dispatch(waiter: number): string[] {
    const reports: string[] = [];
    const start = { controlBlock: this.control.address, vcpus: this.vcpus, waiter, generation: 0, stacks: this.stacks };
    dispatch(start, ({ kind }) => reports.push(kind));
    return reports;
  }

  /** The states, each once. */
  states(first: number, count: number): string[] {
    const records = Array.from({ length: count }, (_, index) => this.control.vcpu(first + index));
    assert(records.every(({ thread }) => thread === 0), "a thread was left");
    return [...new Set(records.map(({ state }) => VCPU_STATES[state]))];
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

function threads(): number {
  return [...Deno.readDirSync("/proc/self/task")].length;
}

function assertThreadsGone(before: number): void {
  spinUntil("the kernel forgets the threads", () => threads() <= before);
}

Deno.test("a dispatcher carries the vCPUs of its waiter and no others, and says once that the run has ended", () => {
  using bare = new BareVcpus(70);
  const before = threads();
  assertEquals(bare.dispatch(1), ["ready", "ended"]);
  assertEquals([bare.states(0, 32), bare.states(32, 32), bare.states(64, 6)], [["offline"], ["stopped"], ["offline"]]);
  assertEquals(bare.control.outcome?.reason, "KVM_RUN failed with EBADF");
  assertEquals(bare.dispatch(2), ["ready", "ended"]);
  assertEquals(bare.states(64, 6), ["stopped"]);
  assertThreadsGone(before);
});

Deno.test("a dispatcher whose run is over before it begins starts no thread", () => {
  using bare = new BareVcpus(40);
  bare.control.end({ kind: "stopped", status: 0, reason: "test" });
  assertEquals(bare.dispatch(0), ["ready", "ended"]);
  assertEquals(bare.control.vcpu(0).ticks, { guest: 0, outside: 0 });
  assertEquals(bare.states(0, 32), ["stopped"]);
});

testWith([KVM], "a dispatcher that fails takes its vCPUs out of the guest and leaves no thread", () => {
  const before = threads();
  {
    using bare = new BareVcpus(8);
    using stack = new DisposableStack();
    const kvm = stack.use(Kvm.open()), vm = stack.use(kvm.createVm());
    vm.createInterruptControllers();
    installKick();
    for (let id = 0; id < 8; id++) {
      const { descriptor, runPage } = stack.use(vm.createVcpu(id));
      // They wait in the guest for an INIT; but vCPU 0, which would not, and vCPU 5 fail.
      if (id % 5 > 0) bare.control.vcpu(id).create(descriptor.number, runPage.address, runPage.sizeBytes);
    }
    const start = { controlBlock: bare.control.address, vcpus: 8, waiter: 0, generation: 0, stacks: bare.stacks };
    const fail = ({ kind }: { kind: string }) => {
      if (kind !== "ready") throw new RangeError("a report that fails");
    };
    assertThrows(() => dispatch(start, fail), RangeError, "a report that fails");
    assertEquals(bare.states(0, 8), ["stopped"]);
  } // the VM has a thread of the kernel's own
  assertThreadsGone(before);
});
