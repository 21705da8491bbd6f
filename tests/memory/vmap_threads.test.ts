/** Areas under the eyes of another thread, which knows them by address. */

import { assert, assertEquals } from "@std/assert";
import { Mapping } from "../../src/linux/mapping.ts";
import type { Mfn } from "../../src/memory/address.ts";
import { spinUntil, Thread } from "../linux/threads.ts";
import { VmapMachine, ZEROES } from "./vmap_machine.ts";
import { READING, STOP } from "./vmap_threads.ts";

const THREADS = new URL("./vmap_threads.ts", import.meta.url).href;

/** A thread that reads an area all the time, until it is asked what it saw. */
class Reader implements AsyncDisposable {
  readonly #memory = Mapping.anonymous(4096, "control words of a test");
  readonly #words = new Int32Array(this.#memory.buffer);
  readonly #thread: Thread<number[][]>;

  constructor({ address, pages }: { address: bigint; pages: number }) {
    this.#thread = new Thread<number[][]>(THREADS, "wordsSeen", address, pages, this.#memory.address);
  }

  async start(): Promise<void> {
    await this.#thread.ready;
    this.readOnce();
  }

  /** Waits until it has read all pages at least once from now on. */
  readOnce(): void {
    const before = Atomics.load(this.#words, READING);
    spinUntil("the reader reads", () => Atomics.load(this.#words, READING) >= before + 2);
  }

  /** It reads a last time. @returns every word that it saw at the beginning of each page */
  stop(): Promise<number[][]> {
    Atomics.store(this.#words, STOP, 1);
    return this.#thread.result;
  }

  /** Before the memory that it reads is gone. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#thread[Symbol.dispose]();
    this.#memory[Symbol.dispose]();
  }
}

Deno.test("another thread reads and writes the frames of an area by its address", async () => {
  using test = new VmapMachine();
  const mfns = [test.mfn(2, 3), test.mfn(0, 8), test.mfn(1, 0)], area = test.vmap.vmap(mfns);
  using thread = new Thread<number[]>(THREADS, "copyFirstWords", area.address, area.pages);
  assertEquals(await thread.result, mfns as number[]);
  for (const mfn of mfns) {
    const bank = test.machine.bankOf(mfn)!;
    assertEquals(new Uint32Array(bank.directmap.buffer, (mfn - bank.firstMfn) * 4096, 2)[1], mfn);
  }
});

Deno.test("a thread that reads while frames are replaced sees of each page the old or the new one, and nothing else", async () => {
  using test = new VmapMachine();
  const lists: Mfn[][] = [
    [test.mfn(0, 0), test.mfn(0, 1), test.mfn(0, 2)],
    [test.mfn(2, 5), test.mfn(1, 1), test.mfn(2, 6)],
    [test.mfn(0, 9), test.mfn(0, 3), test.mfn(1, 4)],
  ];
  const area = test.vmap.vmap(lists[0]);
  await using reader = new Reader(area);
  await reader.start();
  for (let round = 1; round <= 3000; round++) test.vmap.replace(area.address, lists[round % lists.length]);
  for (const mfns of lists) {
    test.vmap.replace(area.address, mfns);
    reader.readOnce();
  }
  const seen = await reader.stop();
  for (const [page, words] of seen.entries()) {
    assertEquals(words.toSorted(), lists.map((mfns) => mfns[page] as number).toSorted());
  }
});

Deno.test("a thread that reads while an area is retired lives, and sees zeroes from then on", async () => {
  using test = new VmapMachine();
  const mfns = [test.mfn(2, 5), test.mfn(0, 1), test.mfn(2, 6)];
  for (let round = 0; round < 3; round++) {
    const area = test.vmap.vmap(mfns);
    await using reader = new Reader(area);
    await reader.start();
    for (let again = 0; again < 500; again++) {
      test.vmap.retire(area.address);
      test.vmap.replace(area.address, mfns);
    }
    test.vmap.retire(area.address);
    reader.readOnce();
    const seen = await reader.stop();
    for (const [page, words] of seen.entries()) {
      assert(words.every((word) => word === mfns[page] || word === ZEROES), `page ${page}: ${words}`);
      assert(words.includes(ZEROES) && words.includes(mfns[page]));
    }
    test.vmap.vunmap(area.address);
  }
});
