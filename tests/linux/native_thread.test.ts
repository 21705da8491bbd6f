import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { RunPage } from "../../src/kvm/run_page.ts";
import { Kvm } from "../../src/kvm/kvm.ts";
import { EINTR } from "../../src/linux/errno.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { NATIVE_THREAD, NATIVE_THREAD_BYTES, THREAD_WORD, ThreadStacks } from "../../src/linux/native_thread.ts";
import { kickThread, threadId } from "../../src/linux/signal.ts";
import { KVM, repetitions, testWith } from "../support/capabilities.ts";
import { BareThread, SHARED } from "./native_threads.ts";
import { residentGrowth, sleepsIn } from "./process.ts";
import { spinUntil, Thread } from "./threads.ts";

const THREADS = new URL("./native_threads.ts", import.meta.url).href;
const IOCTL = 16, FUTEX = 202, KICK_SIGNAL = 42, EBADF = 9;

/** What the kernel has not to deliver to a thread. */
function blockedSignals(thread: number): bigint {
  const status = Deno.readTextFileSync(`/proc/self/task/${thread}/status`);
  return BigInt(`0x${/^SigBlk:\s+(\w+)$/m.exec(status)![1]}`);
}

function exists(thread: number): boolean {
  try {
    Deno.statSync(`/proc/self/task/${thread}`);
    return true;
  } catch {
    return false;
  }
}

Deno.test("struct thread is one cache line without overlaps", () => {
  const sizes = { descriptor: 4, tid: 4, word: 4, result: 4, clock: 24, flag: 8, flagBit: 4, doorbell: 4, asleep: 8 };
  let end = 0;
  for (const [name, size] of Object.entries(sizes)) {
    assertEquals(NATIVE_THREAD[name as keyof typeof sizes], end, name);
    end += size;
  }
  assertEquals([end, NATIVE_THREAD_BYTES], [64, 64]);
});

Deno.test("NativeThread enters, keeps the result, sets the waiter's bit and wakes it, each time", () => {
  using one = new BareThread(-1);
  assertEquals([one.thread.isOut, one.id], [true, 0]);
  for (let round = 0; round < 100; round++) {
    one.armed = true;
    one.thread.enter();
    one.awaitDoorbell();
    assertEquals([one.thread.isOut, one.thread.result, one.flags, one.armed], [true, -EBADF, 1 << 5, false]);
    one.flags = 0;
  }
  assertGreater(one.outsideTicks, 0);
  assertEquals(one.result, -EBADF);
});

Deno.test("NativeThread writes to no eventfd while the waiter is awake", () => {
  using one = new BareThread(-1);
  for (let round = 0; round < 100; round++) {
    one.flags = 0;
    one.thread.enter();
    spinUntil("it comes out and says so", () => one.thread.isOut && one.flags !== 0);
    spinUntil("it sleeps", () => one.word === THREAD_WORD.WAITING);
    assertEquals(one.rung, false);
  }
});

Deno.test("NativeThread keeps its bits to itself: others in the word stay as they are", () => {
  using one = new BareThread(-1);
  one.flags = 0x7000_0001;
  one.armed = true;
  one.thread.enter();
  one.awaitDoorbell();
  assertEquals(one.flags, 0x7000_0021);
});

Deno.test("a native thread takes no signal but the kick, and its creator's mask is what it was", () => {
  const before = blockedSignals(threadId());
  using one = new BareThread(-1);
  one.thread.enter();
  spinUntil("it is there", () => one.id !== 0);
  const unblocked = BigInt.asUintN(64, ~blockedSignals(one.id));
  const bit = (signal: number) => 1n << BigInt(signal - 1);
  assertEquals(unblocked, bit(KICK_SIGNAL) | bit(9) | bit(19)); // nobody can block SIGKILL and SIGSTOP
  assertEquals(blockedSignals(threadId()), before);
});

Deno.test("NativeThread.join() returns when the thread has ended, and at once when there never was one", () => {
  {
    using never = new BareThread(-1);
    never.thread.leave();
    never.thread.join();
  }
  using one = new BareThread(-1);
  one.armed = true;
  one.thread.enter();
  const id = one.id;
  assert(exists(id));
  one.awaitDoorbell();
  one.thread.leave();
  one.thread.join();
  assertEquals(one.id, 0);
  spinUntil("the kernel forgets it", () => !exists(id));
});

Deno.test("a thread that was told to leave before it came out leaves, whatever it finds", () => {
  for (let round = 0; round < 300; round++) {
    using one = new BareThread(-1);
    one.thread.enter();
    for (let turn = round % 50; turn > 0; turn--) void one.word;
    one.thread.leave();
    one.thread.join();
    assertEquals([one.id, one.word], [0, THREAD_WORD.STOP]);
  }
});

Deno.test("a kick of a thread that sleeps at its word changes nothing", () => {
  using one = new BareThread(-1);
  one.armed = true;
  one.thread.enter();
  one.awaitDoorbell();
  for (let round = 0; round < 50; round++) {
    spinUntil("it sleeps", () => one.word === THREAD_WORD.WAITING && sleepsIn(one.id, FUTEX));
    kickThread(one.id);
  }
  one.armed = true;
  one.flags = 0;
  one.thread.enter();
  one.awaitDoorbell();
  assertEquals([one.thread.result, one.flags], [-EBADF, 1 << 5]);
});

Deno.test("a native thread and the thread that serves it lose no turn", async () => {
  using memory = Mapping.anonymous(SHARED.BYTES, "a native thread");
  using serving = new Thread<{ turns: number; sleeps: number }>(THREADS, "serve", memory.address, 20_000);
  const { turns, sleeps } = await serving.result;
  assertEquals(turns, 20_000);
  assertGreater(sleeps, 0, "nobody ever slept: this tested nothing");
});

Deno.test("stacks cost memory only where a thread has used them", () => {
  assertLess(residentGrowth(() => new ThreadStacks(1024)), 1 << 20);
});

testWith([KVM], "a vCPU on a native thread is kicked out of the guest, goes in again, and leaves from there", () => {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  vm.createInterruptControllers();
  using _first = vm.createVcpu(0);
  using vcpu = vm.createVcpu(1); // waits in KVM_RUN for an INIT that never comes
  const page = new RunPage(vcpu.runPage.buffer);
  using one = new BareThread(vcpu.descriptor.number, page);
  for (let round = repetitions(40); round > 0; round--) {
    one.flags = 0;
    one.armed = true;
    page.setImmediateExit(false);
    one.thread.enter();
    spinUntil("it is in the guest", () => one.word === THREAD_WORD.RUNNING && sleepsIn(one.id, IOCTL));
    assertEquals([one.thread.isOut, one.flags], [false, 0]);
    page.setImmediateExit(true);
    kickThread(one.id);
    one.awaitDoorbell();
    assertEquals([one.thread.isOut, one.thread.result, one.flags], [true, -EINTR, 1 << 5]);
  }
  page.setImmediateExit(false);
  one.thread.enter();
  spinUntil("it is in the guest", () => one.word === THREAD_WORD.RUNNING && sleepsIn(one.id, IOCTL));
  one.thread.leave();
  page.setImmediateExit(true);
  kickThread(one.id);
  one.thread.join();
  assertEquals(one.id, 0);
});
