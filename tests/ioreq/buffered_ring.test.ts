/** BufferedRing: against a naive queue and a consumer like QEMU's, at the pointers' ends, and against hostile pointers. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { BUFFERED_SLOTS, TYPE } from "../../src/ioreq/abi.ts";
import { BufferedRing } from "../../src/ioreq/buffered_ring.ts";
import { Mapping, viewAt } from "../../src/linux/mapping.ts";
import { meet, Thread } from "../linux/threads.ts";
import { between } from "../support/between.ts";
import { randomBytes } from "../support/random.ts";
import { MEETING, nthWrite, PAGE } from "./ring_threads.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 500);
const THREADS = new URL("./ring_threads.ts", import.meta.url).href;
const SLOTS = 511, READ = 0, WRITE = 1;

interface Write {
  readonly type: number;
  readonly address: number;
  readonly size: number;
  readonly low: number;
  readonly high: number;
}

/** A ring, its memory, and a consumer that knows only struct buffered_iopage. */
class Subject {
  readonly words = new Uint32Array(PAGE / 4);
  readonly ring = new BufferedRing(this.words.buffer);

  constructor(pointer = 0) {
    this.words[READ] = this.words[WRITE] = pointer;
  }

  push({ type, address, size, low, high }: Write, atomic: boolean): boolean {
    return this.ring.push(type, address, size, low, high, atomic);
  }

  drain(): Write[] {
    const writes: Write[] = [];
    const count = this.ring.drain((type, address, size, low, high) => writes.push({ type, address, size, low, high }));
    assertEquals(count, writes.length);
    return writes;
  }

  /** QEMU's handle_buffered_iopage(), for one write: all arithmetic in 32 bits. */
  consume(): Write | undefined {
    const read = this.words[READ];
    if (read === this.words[WRITE]) return undefined;
    const slot = (pointer: number) => 2 + 2 * ((pointer >>> 0) % SLOTS);
    const header = this.words[slot(read)], size = 1 << ((header >>> 10) & 3);
    const low = this.words[slot(read) + 1], high = size === 8 ? this.words[slot(read + 1) + 1] : 0;
    this.words[READ] = read + (size === 8 ? 2 : 1);
    return { type: header & 0xff, address: header >>> 12, size, low, high };
  }
}

const byte = (address: number, low = 0): Write => ({ type: TYPE.COPY, address, size: 1, low, high: 0 });
const wide = (address: number, low = 0, high = 0): Write => ({ type: TYPE.COPY, address, size: 8, low, high });

const writes: fc.Arbitrary<Write> = fc.record({
  type: fc.constantFrom(TYPE.PIO, TYPE.COPY),
  address: fc.nat(0xfffff),
  size: fc.constantFrom(1, 2, 4, 8),
  low: fc.nat(0xffff_ffff),
  high: fc.nat(0xffff_ffff),
}).map((write) => write.size === 8 ? write : { ...write, high: 0 });

/** Push so many writes, or take so many. */
const steps = fc.array(
  fc.oneof(
    fc.array(writes, { minLength: 1, maxLength: 200 }),
    fc.record({ take: fc.nat(300), own: fc.boolean() }),
  ),
  { maxLength: 30 },
);

for (const [mode, atomic] of [["LEGACY", false], ["ATOMIC", true]] as const) {
  Deno.test(`${mode}: the ring is a queue of 511 slots, for our consumer and for one like QEMU's`, () => {
    const property = fc.property(fc.integer({ min: 0, max: 3000 }), steps, (start, steps) => {
      const subject = new Subject(start), queue: Write[] = [];
      for (const step of steps) {
        if (Array.isArray(step)) {
          for (const write of step) {
            const used = queue.reduce((slots, { size }) => slots + (size === 8 ? 2 : 1), 0);
            const fits = used + (write.size === 8 ? 2 : 1) <= SLOTS;
            assertEquals(subject.push(write, atomic), fits, `${used} slots are in use`);
            if (fits) queue.push(write);
          }
        } else if (step.own) {
          assertEquals(subject.drain(), queue.splice(0));
        } else {
          const taken = Array.from({ length: step.take }, () => subject.consume());
          assertEquals(taken.filter((write) => write !== undefined), queue.splice(0, step.take));
        }
        assertEquals(subject.ring.pending, queue.length > 0);
      }
    });
    fc.assert(property, { numRuns: RUNS });
  });
}

/** Pushes and takes from pointers at `start` on; never more than 31 slots are in use, which is what LEGACY stands there. */
function runFrom(start: number, atomic: boolean): Subject {
  const subject = new Subject(start), queue: Write[] = [];
  for (let n = 0; n < 60; n++) {
    const write = n % 3 === 1 ? byte(n, n) : wide(n, n, n + 100);
    assert(subject.push(write, atomic));
    queue.push(write);
    if (n % 4 === 3) assertEquals([subject.consume()], queue.splice(0, 1));
    if (n % 8 === 7) assertEquals(subject.drain(), queue.splice(0));
  }
  assertEquals(subject.drain(), queue);
  assertEquals(subject.words[READ], subject.words[WRITE]);
  return subject;
}

Deno.test("LEGACY pointers go on at 0 after 2^32 - 1, and a write of 8 bytes there takes slots 31 and 0, as in Xen", () => {
  for (let before = 1; before <= 40; before++) assert(runFrom(2 ** 32 - before, false).words[WRITE] < 100);
  const subject = new Subject(2 ** 32 - 1);
  subject.push(wide(1, 0xaaaa, 0xbbbb), false);
  assertEquals([subject.words[2 + 2 * 31 + 1], subject.words[2 + 1], subject.words[WRITE]], [0xaaaa, 0xbbbb, 1]);
  assertEquals(subject.consume(), wide(1, 0xaaaa, 0xbbbb));
});

Deno.test("ATOMIC pointers near 2^32 are small from the first write on, and each write stays in its slot", () => {
  for (let before = 3; before <= 40; before++) assert(runFrom(2 ** 32 - before, true).words[WRITE] < 2 * SLOTS);
});

Deno.test("LEGACY pointers run on, ATOMIC ones lose multiples of 511 as soon as the consumer is that far", () => {
  for (const [atomic, read] of [[false, 2000], [true, 2000 % SLOTS]] as const) {
    const subject = new Subject(2000);
    subject.push(byte(1), atomic);
    assertEquals([subject.words[READ], subject.words[WRITE]], [read, read + 1]);
  }
  const subject = new Subject();
  for (let n = 0; n < 5000; n++) {
    assert(subject.push(byte(n), true));
    assert(subject.words[READ] < SLOTS && subject.words[WRITE] < 2 * SLOTS);
    if (n % 7 === 0) subject.drain();
  }
});

Deno.test("a ring holds 511 slots: a write of 8 bytes needs two, low half first", () => {
  for (const atomic of [false, true]) {
    const subject = new Subject(505);
    for (let n = 0; n < BUFFERED_SLOTS - 1; n++) assert(subject.push(byte(n, n), atomic));
    const before = subject.words.slice();
    assertEquals(subject.push(wide(7, 1, 2), atomic), false);
    assertEquals(subject.words, before, "a refused write leaves something behind");
    assert(subject.push(byte(600, 77), atomic));
    assertEquals(subject.push(byte(601), atomic), false);
    subject.consume();
    assertEquals(subject.push(wide(7), atomic), false);
    subject.consume();
    assert(subject.push(wide(0x98765, 0x11112222, 0x33334444), atomic));
    assertEquals(subject.push(byte(601), atomic), false);
    const writes = subject.drain();
    assertEquals([writes.length, writes.at(-2)], [BUFFERED_SLOTS - 1, byte(600, 77)]);
    assertEquals(writes.at(-1), wide(0x98765, 0x11112222, 0x33334444));
  }
});

Deno.test("holds(): 1, 2, 4 and 8 bytes below 1 MiB", () => {
  const rows: [address: number, size: number, holds: boolean][] = [
    [0, 1, true],
    [0xfffff, 1, true],
    [0xfffff, 8, true],
    [0x10_0000, 1, false],
    [2 ** 32 + 5, 4, false],
    [2 ** 52, 1, false],
    [5, 0, false],
    [5, 3, false],
    [5, 16, false],
  ];
  for (const [address, size, holds] of rows) {
    assertEquals(BufferedRing.holds(address, size), holds, `${address} ${size}`);
  }
});

Deno.test("what comes while the consumer delivers is delivered in its order, and a slot is free only after that", () => {
  const subject = new Subject(), seen: number[] = [];
  for (let n = 0; n < SLOTS; n++) subject.push(byte(n), true);
  subject.ring.drain((_type, address) => {
    seen.push(address);
    if (seen.length === 1) assertEquals(subject.push(byte(1000), true), false, "its slot is still being read");
    if (seen.length === 2) assertEquals(subject.push(byte(1001), true), true);
  });
  seen.push(...subject.drain().map(({ address }) => address));
  assertEquals(seen, [...Array.from({ length: SLOTS }, (_, n) => n), 1001]);
});

Deno.test("canonicalising while the consumer moves its pointer loses neither its step nor a write", () => {
  const subject = new Subject(1000);
  for (let n = 0; n < 6; n++) subject.push(byte(n), false);
  let exchanges = 0;
  const move = (call: number) => {
    exchanges++;
    if (call < 3) subject.words[READ]++;
  };
  assert(between("compareExchange", move, () => subject.push(byte(6), true)));
  assertEquals([exchanges, subject.words[READ], subject.words[WRITE]], [4, 1003 % SLOTS, 1007 % SLOTS]);
  assertEquals(subject.drain().map(({ address }) => address), [3, 4, 5, 6]);
});

Deno.test("a consumer that moves its pointer all the time cannot hold a producer up", () => {
  const subject = new Subject(1000);
  let exchanges = 0;
  const move = () => subject.words[READ] = 600 + exchanges++ % 2;
  assert(between("compareExchange", move, () => subject.push(byte(6), true)));
  assertEquals(exchanges, SLOTS);
});

Deno.test("an empty ring that is canonicalised between the consumer's two looks is not taken for one with writes", () => {
  const subject = new Subject(600);
  // A producer whose write was taken already comes to take 511 off both pointers only now.
  const canonicalise = (call: number) => call === 0 && subject.words.set([89, 89]);
  assertEquals(between("load", canonicalise, () => subject.ring.pending), false);
  assertEquals(subject.drain(), []);
});

Deno.test("a full ring that is canonicalised between the consumer's two looks is not taken for an empty one", () => {
  const subject = new Subject(600);
  for (let n = 0; n < SLOTS - 1; n++) subject.push(byte(n), false);
  // The read pointer was 600; now 511 are taken off both, and the write pointer is 600.
  const fill = (call: number) => call === 0 && subject.push(byte(SLOTS - 1), true);
  assertEquals(between("load", fill, () => subject.ring.pending), true);
  assertEquals([subject.words[READ], subject.words[WRITE], subject.drain().length], [89, 600, SLOTS]);
});

Deno.test("whatever a hostile side puts into the pointers, push() and drain() come back without an exception", () => {
  const pointer = fc.oneof(fc.nat(0xffff_ffff), fc.nat(1100), fc.nat(1100).map((below) => 0xffff_ffff - below));
  const pushes = fc.array(writes, { maxLength: 5 });
  const property = fc.property(
    pointer,
    pointer,
    pushes,
    fc.boolean(),
    fc.nat(),
    (read, write, pushed, atomic, seed) => {
      const { words, ring } = new Subject();
      [words[READ], words[WRITE]] = [read, write];
      new Uint8Array(words.buffer, 8).set(randomBytes(PAGE - 8, seed));
      for (const { type, address, size, low, high } of pushed) {
        const used = (words[WRITE] - words[READ]) >>> 0;
        assertEquals(ring.push(type, address, size, low, high, atomic), used < SLOTS - (size === 8 ? 1 : 0));
      }
      const delivered = ring.drain((_type, address, size) => assert(address <= 0xfffff && [1, 2, 4, 8].includes(size)));
      assert(delivered <= SLOTS, "it goes on for ever");
    },
  );
  fc.assert(property, { numRuns: RUNS });
});

for (const [mode, atomic] of [["LEGACY", false], ["ATOMIC", true]] as const) {
  Deno.test(`${mode}: what one thread pushes another drains, all of it and in order`, async () => {
    const count = 30_000;
    using memory = Mapping.anonymous(2 * PAGE, "ring");
    using producer = new Thread<number>(THREADS, "pushAll", memory.address, count, atomic);
    await producer.ready;
    const ring = new BufferedRing(viewAt(memory.address, PAGE));
    meet(new Int32Array(memory.buffer), MEETING, 2);
    let next = 0, wrong = 0;
    for (const end = performance.now() + 20_000; next < count && performance.now() < end;) {
      ring.drain((type, address, size, low, high) => {
        const expected = nthWrite(next);
        if (type !== 1 || address !== (next & 0xfffff) || size !== expected.size || low !== expected.low) wrong++;
        if (high !== expected.high) wrong++;
        next++;
      });
    }
    await producer.result; // before anything fails: it is in the memory
    assertEquals([wrong, next, ring.pending], [0, count, false]);
  });
}
