/** /dev/kvm itself, as far as it can be had. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { CAP } from "../../src/kvm/abi.ts";
import { Kvm, KvmUnavailable } from "../../src/kvm/kvm.ts";
import { Registers } from "../../src/kvm/registers.ts";
import { RunPage } from "../../src/kvm/run_page.ts";
import { EINTR } from "../../src/linux/errno.ts";
import { Mapping } from "../../src/linux/mapping.ts";
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
  new Uint8Array(memory.buffer).set([0xfe, 0x07, 0xeb, 0xfc]); // incb (%bx); jmp to it
  vm.setMemoryRegion(0, 0x1000, PAGE, memory.address);
  using vcpu = vm.createVcpu(0);
  const special = vcpu.specialRegisters();
  const code = {
    selector: 0,
    base: 0x1000,
    limit: 0xffff,
    type: 11,
    codeOrData: true,
    db: false,
    long: false,
    granularity: false,
  };
  special.setSegment("cs", code);
  special.setSegment("ds", { ...code, type: 3 });
  vcpu.setSpecialRegisters(special);
  const registers = new Registers();
  registers.set("rflags", 2n);
  registers.set("rbx", 0x100n);
  vcpu.setRegisters(registers);
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
