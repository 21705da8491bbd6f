/** /dev/kvm itself, as far as it can be had. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { CAP, EXIT } from "../../src/kvm/abi.ts";
import { Kvm, KvmUnavailable } from "../../src/kvm/kvm.ts";
import { Registers } from "../../src/kvm/registers.ts";
import { RunPage } from "../../src/kvm/run_page.ts";
import type { Vcpu } from "../../src/kvm/vcpu.ts";
import type { Vm } from "../../src/kvm/vm.ts";
import * as calls from "../../src/linux/calls.ts";
import { EINTR } from "../../src/linux/errno.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { Mapping, pointerTo } from "../../src/linux/mapping.ts";
import { installKick, kickThread } from "../../src/linux/signal.ts";
import { KVM, testWith } from "../support/capabilities.ts";
import { openDescriptors } from "../linux/process.ts";
import { spinUntil, Thread } from "../linux/threads.ts";

const PAGE = 4096;

Deno.test("Kvm.open() says in one line why there is no KVM and what to do", () => {
  const error = assertThrows(() => Kvm.open("/no/such/kvm"), KvmUnavailable, "no /no/such/kvm: ");
  assertEquals(error.message.includes("\n"), false);
});

Deno.test("Kvm.open() takes no other device for KVM, and leaves nothing open", () => {
  const before = openDescriptors().sort();
  assertThrows(() => Kvm.open("/dev/null"), KvmUnavailable, "/dev/null");
  assertEquals(openDescriptors().sort(), before);
});

testWith([KVM], "Kvm, Vm and Vcpu close everything that they opened", () => {
  const before = openDescriptors().sort();
  {
    using kvm = Kvm.open();
    assert(kvm.extension(CAP.USER_MEMORY) > 0);
    using vm = kvm.createVm();
    using _vcpu = vm.createVcpu(0);
    assertEquals(openDescriptors().length, before.length + 3);
  }
  assertEquals(openDescriptors().sort(), before);
});

testWith([KVM], "a kick takes a vCPU out of the guest with EINTR, also if it comes before the entry", async () => {
  installKick();
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  using memory = Mapping.anonymous(PAGE, "guest memory");
  const code = [0xfe, 0x07, 0xeb, 0xfc]; // incb (%bx); jmp to it
  using vcpu = createVcpuAt(vm, memory, code, { rbx: 0x100n });
  const counter = new Uint8Array(memory.buffer), run = new RunPage(vcpu.runPage.buffer);
  using shared = Mapping.anonymous(PAGE, "thread id");
  const thread = new Int32Array(shared.buffer);
  for (let round = 0; round < 10; round++) {
    thread[0] = 0;
    run.setImmediateExit(round % 2 === 1);
    using carrier = new Thread<number>(
      new URL("./kick_threads.ts", import.meta.url).href,
      "enter",
      vcpu.descriptor.number,
      shared.address,
    );
    if (round % 2 === 0) {
      await carrier.ready;
      const before = counter[0x100];
      spinUntil("the guest runs", () => counter[0x100] !== before);
      run.setImmediateExit(true);
      kickThread(Atomics.load(thread, 0));
    }
    assertEquals(await carrier.result, -EINTR);
  }
});

testWith(
  [KVM],
  "Vm.connectWrite() has such writes of the guest's signal an eventfd, and no others, until it is undone",
  () => {
    using kvm = Kvm.open();
    using vm = kvm.createVm();
    using memory = Mapping.anonymous(PAGE, "guest memory");
    const out = 0xee, inAl = 0xec, outAx = 0xef, movAl7 = [0xb0, 7];
    using vcpu = createVcpuAt(vm, memory, [out, out, ...movAl7, out, inAl, outAx, ...movAl7, out], { rdx: 0x500n });
    using event = eventDescriptor("eventfd of port 0x500");
    using seven = eventDescriptor("eventfd of 7 at port 0x500");
    const write = { space: "port", address: 0x500, sizeBytes: 1 } as const;
    vm.connectWrite({ ...write, value: 0 }, event.number, true);
    vm.connectWrite({ ...write, value: 7 }, seven.number, true);
    using ticks = Mapping.anonymous(PAGE, "clock");
    const run = new RunPage(vcpu.runPage.buffer), clock = pointerTo(ticks.address);
    const exits = [0, 1, 2].map((exit) => {
      if (exit === 2) vm.connectWrite({ ...write, value: 7 }, seven.number, false);
      assertEquals(calls.run(vcpu.descriptor.number, clock), 0);
      return { reason: run.reason, port: run.ioPort, write: run.ioIsOut, size: run.ioSize };
    });
    const access = { reason: EXIT.IO, port: 0x500 }, count = new BigUint64Array(1);
    const left = [{ write: false, size: 1 }, { write: true, size: 2 }, { write: true, size: 1 }];
    assertEquals(exits, left.map((how) => ({ ...access, ...how })));
    const seen = [event, seven].map(({ number }) => {
      calls.read(number, count, 8n);
      return count[0];
    });
    assertEquals(seen, [2n, 1n]);
  },
);

/** A vCPU that runs `code` in real mode; `memory` is its only page, and lies under all of its segments. */
function createVcpuAt(vm: Vm, memory: Mapping, code: number[], values: Partial<Record<"rbx" | "rdx", bigint>>): Vcpu {
  new Uint8Array(memory.buffer).set(code);
  vm.setMemoryRegion(0, 0x1000, PAGE, memory.address);
  const vcpu = vm.createVcpu(0), special = vcpu.specialRegisters();
  const segment = {
    selector: 0,
    base: 0x1000,
    limit: 0xffff,
    type: 11,
    codeOrData: true,
    db: false,
    long: false,
    granularity: false,
  };
  special.setSegment("cs", segment);
  special.setSegment("ds", { ...segment, type: 3 });
  vcpu.setSpecialRegisters(special);
  const registers = new Registers();
  registers.set("rflags", 2n);
  for (const [name, value] of Object.entries(values)) registers.set(name as keyof typeof values, value);
  vcpu.setRegisters(registers);
  return vcpu;
}
