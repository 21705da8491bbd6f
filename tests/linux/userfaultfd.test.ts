/** Userfaultfd: who touches what is missing or protected waits until somebody has put something there. */

import { assert, assertEquals } from "@std/assert";
import { EEXIST, EFAULT, EINVAL, ENOENT } from "../../src/linux/errno.ts";
import { Mapping, viewAt } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { allocateBlocks, discard } from "../../src/linux/remap.ts";
import { type PageFault, Userfaultfd, UserfaultUnavailable } from "../../src/linux/userfaultfd.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { asNobody, SETPRIV } from "../support/host.ts";
import { openDescriptors } from "./process.ts";
import { DONE, THREAD } from "./touch_threads.ts";
import { Thread } from "./threads.ts";

const PAGE = 4096, PAGES = 4, TOUCH = import.meta.resolve("./touch_threads.ts");

/** A registered mapping of a file that has no memory yet, and threads that touch it. */
class Registered implements Disposable {
  readonly #stack = new DisposableStack();
  readonly file = this.#stack.use(MemoryFile.create("userfault-test", PAGES * PAGE));
  readonly mapping = this.#stack.use(Mapping.file(this.file, PAGES * PAGE));
  readonly userfault: Userfaultfd;

  constructor() {
    const { descriptor, protects } = Userfaultfd.open();
    this.#stack.use(descriptor);
    this.userfault = new Userfaultfd(descriptor.number, protects);
    assertEquals(this.userfault.register(this.at(0), PAGES * PAGE), 0);
  }

  at(page: number): number {
    return Number(this.mapping.address) + page * PAGE;
  }

  read(page: number): Touch<number> {
    return this.#stack.use(new Touch<number>("read", BigInt(this.at(page) + 5)));
  }

  write(page: number, value: number): Touch<void> {
    return this.#stack.use(new Touch<void>("write", BigInt(this.at(page) + 5), value));
  }

  /** The faults that have come, as soon as one has. */
  faults(): PageFault[] {
    const poll = new PollSet(1), faults: PageFault[] = [];
    poll.add(this.userfault.number, POLLIN);
    poll.wait();
    this.userfault.receive((fault) => faults.push({ ...fault }));
    return faults;
  }

  [Symbol.dispose](): void {
    this.userfault.unregister(this.at(0), PAGES * PAGE); // nobody is left waiting
    this.#stack.dispose();
  }
}

/** A thread that touches a byte. */
class Touch<T> implements Disposable {
  readonly #words = new Int32Array(new SharedArrayBuffer(8));
  readonly #thread: Thread<T>;

  constructor(what: "read" | "write", address: bigint, ...values: number[]) {
    this.#thread = new Thread<T>(TOUCH, what, this.#words, address, ...values);
  }

  get isDone(): boolean {
    return Atomics.load(this.#words, DONE) !== 0;
  }

  get thread(): number {
    return Atomics.load(this.#words, THREAD);
  }

  get result(): Promise<T> {
    return this.#thread.result;
  }

  get ready(): Promise<void> {
    return this.#thread.ready;
  }

  [Symbol.dispose](): void {
    this.#thread[Symbol.dispose]();
  }
}

testWith([USERFAULT], "who reads a page that its file has not waits, and gets what was put there", async () => {
  using memory = new Registered();
  const touch = memory.read(1);
  await touch.ready;
  const [fault, ...others] = memory.faults();
  assertEquals([fault.address, fault.minor, fault.writeProtected, others.length], [memory.at(1), false, false, 0]);
  assertEquals(fault.thread, touch.thread);
  assert(!touch.isDone);
  assertEquals(memory.userfault.continue(memory.at(1), PAGE, false), -EFAULT, "there is nothing to go on with");
  assertEquals(memory.userfault.zero(memory.at(1), PAGE), 0);
  assertEquals(await touch.result, 0);
});

testWith([USERFAULT], "a page that the file has is a minor fault, and is shown without a copy", async () => {
  using memory = new Registered();
  using other = Mapping.file(memory.file, PAGES * PAGE);
  new Uint8Array(other.buffer)[2 * PAGE + 5] = 42;
  const touch = memory.read(2);
  await touch.ready;
  const [fault] = memory.faults();
  assertEquals([fault.address, fault.minor], [memory.at(2), true]);
  assertEquals(memory.userfault.continue(memory.at(2), PAGE, false), 0);
  assertEquals(await touch.result, 42);
  new Uint8Array(other.buffer)[2 * PAGE + 5] = 43;
  assertEquals(new Uint8Array(viewAt(BigInt(memory.at(2)), PAGE))[5], 43);
  assertEquals(memory.userfault.continue(memory.at(2), PAGE, false), -EEXIST);
});

testWith([USERFAULT], "a page is waited for again after it was discarded; the file keeps what it holds", async () => {
  using memory = new Registered();
  memory.userfault.zero(memory.at(0), PAGE);
  new Uint8Array(memory.mapping.buffer)[5] = 7;
  for (let round = 0; round < 3; round++) {
    assertEquals(discard(memory.at(0), PAGE), 0);
    using touch = memory.read(0);
    await touch.ready;
    assertEquals(memory.faults().map(({ minor }) => minor), [true]);
    assertEquals(memory.userfault.continue(memory.at(0), PAGE, false), 0);
    assertEquals(await touch.result, 7);
  }
});

testWith([USERFAULT], "two threads at one page are two faults, and both go on with it", async () => {
  using memory = new Registered();
  const touches = [memory.read(3), memory.read(3)];
  await Promise.all(touches.map(({ ready }) => ready));
  const faults: PageFault[] = [];
  while (faults.length < 2) faults.push(...memory.faults());
  assertEquals(new Set(faults.map(({ thread }) => thread)), new Set(touches.map(({ thread }) => thread)));
  memory.userfault.zero(memory.at(3), PAGE);
  assertEquals(await Promise.all(touches.map(({ result }) => result)), [0, 0]);
});

testWith(
  [USERFAULT],
  "continue() of a run stops at the first page that it cannot have, and says how far it came",
  () => {
    using memory = new Registered();
    assertEquals(allocateBlocks(memory.file.number, 0, 2 * PAGE), 0);
    assertEquals(memory.userfault.continue(memory.at(0), PAGES * PAGE, false) < 0, true);
    assertEquals(memory.userfault.done, 2 * PAGE);
    assertEquals(allocateBlocks(memory.file.number, 0, PAGES * PAGE), 0);
    assertEquals(memory.userfault.continue(memory.at(2), 2 * PAGE, false), 0);
  },
);

testWith([USERFAULT], "who writes to a page that was continued read-only waits until it is not", async () => {
  using memory = new Registered();
  if (!memory.userfault.protects) return;
  allocateBlocks(memory.file.number, 0, PAGE);
  assertEquals(memory.userfault.continue(memory.at(0), PAGE, true), 0);
  assertEquals(await memory.read(0).result, 0, "reading waits for nobody");
  const touch = memory.write(0, 9);
  await touch.ready;
  const [fault] = memory.faults();
  assertEquals([fault.address, fault.writeProtected], [memory.at(0), true]);
  assertEquals(memory.userfault.protect(memory.at(0), PAGE, true), 0);
  assert(!touch.isDone);
  assertEquals(memory.userfault.protect(memory.at(0), PAGE, false), 0);
  await touch.result;
  assertEquals(new Uint8Array(memory.mapping.buffer)[5], 9);
});

testWith(
  [USERFAULT],
  "protection of a page comes and goes with what replaces it, not with what was discarded",
  async () => {
    using memory = new Registered();
    if (!memory.userfault.protects) return;
    allocateBlocks(memory.file.number, 0, PAGE);
    memory.userfault.continue(memory.at(0), PAGE, true);
    discard(memory.at(0), PAGE);
    assertEquals(memory.userfault.continue(memory.at(0), PAGE, false), 0);
    const touch = memory.write(0, 3);
    await touch.result;
  },
);

testWith([USERFAULT], "unregister() and wake() let everybody go on", async () => {
  using memory = new Registered();
  const touch = memory.read(1);
  await touch.ready;
  memory.faults();
  assertEquals(memory.userfault.wake(memory.at(0), PAGES * PAGE), 0);
  assertEquals(memory.faults().map(({ address }) => address), [memory.at(1)], "who was woken looks, and waits again");
  assertEquals(memory.userfault.unregister(memory.at(0), PAGES * PAGE), 0);
  assertEquals(await touch.result, 0);
});

testWith([USERFAULT], "refusals are numbers: no such range, no whole page, nothing there", () => {
  using memory = new Registered();
  const { userfault } = memory, end = memory.at(PAGES);
  assertEquals(userfault.register(memory.at(0) + 1, PAGE), -EINVAL);
  assertEquals(userfault.continue(memory.at(0), 0, false), -EINVAL);
  using anonymous = Mapping.anonymous(PAGE, "not registered");
  assertEquals(userfault.continue(Number(anonymous.address), PAGE, false), -ENOENT);
  assertEquals(new Userfaultfd(-1, false).register(memory.at(0), PAGE), -9);
  assert(end > 0);
});

testWith([USERFAULT], "open() leaves no descriptor behind but the one that it gives", () => {
  const count = () => openDescriptors().filter((target) => target.includes("userfaultfd")).length, before = count();
  for (let round = 0; round < 5; round++) {
    using descriptor = Userfaultfd.open().descriptor;
    assertEquals([count(), descriptor.number >= 0], [before + 1, true]);
  }
  assertEquals(count(), before);
});

testWith([USERFAULT], "receive() of nothing is 0, and a descriptor that is none is no fault either", () => {
  using memory = new Registered();
  assertEquals(memory.userfault.receive(() => assert(false)), 0);
  assertEquals(new Userfaultfd(-1, false).receive(() => assert(false)), 0);
});

testWith([SETPRIV], "whoever may not have one is told in one line what would give it", async () => {
  const unprivileged = Deno.readTextFileSync("/proc/sys/vm/unprivileged_userfaultfd").trim() !== "0";
  await using nobody = await asNobody();
  const program = `import { Userfaultfd } from "${import.meta.resolve("../../src/linux/userfaultfd.ts")}";
    try { Userfaultfd.open(); console.log("opened"); } catch (error) { console.log(error.name, error.message); }`;
  const { prefix, environment } = nobody.options;
  const words = [...prefix!, Deno.execPath(), "eval", "--no-check", program];
  const { stdout } = await new Deno.Command(words[0], { args: words.slice(1), env: environment! }).output();
  const said = new TextDecoder().decode(stdout).trim();
  if (unprivileged) return assertEquals(said, "opened");
  assertEquals(said.split("\n").length, 1, said);
  assert(said.startsWith(new UserfaultUnavailable("").name), said);
  assert(/run as root|sysctl vm\.unprivileged_userfaultfd=1/.test(said), said);
});
