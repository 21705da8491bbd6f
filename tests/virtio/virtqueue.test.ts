/** Split queues: what a good driver gets, and that a bad one breaks its queue and nothing else. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { DESCRIPTOR_FLAG, USED } from "../../src/virtio/abi.ts";
import { Chain } from "../../src/virtio/chain.ts";
import { type QueueFeatures, Virtqueue } from "../../src/virtio/virtqueue.ts";
import { PAGE, PAGES, TestDriver } from "./test_ring.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 10_000);
const SIZE = 8, MOST = 6, { NEXT, WRITE, INDIRECT } = DESCRIPTOR_FLAG, TABLE = PAGES[1];
const PLAIN: QueueFeatures = { indirect: false, eventIndex: false },
  ALL: QueueFeatures = { indirect: true, eventIndex: true };

function newState(): Uint32Array {
  return new Uint32Array(Virtqueue.stateWords(SIZE));
}

function begun(features: QueueFeatures = PLAIN): { driver: TestDriver; queue: Virtqueue; chain: Chain } {
  const driver = new TestDriver(SIZE), queue = new Virtqueue(driver.memory, newState());
  assertEquals(queue.begin(driver.layout, features), true);
  return { driver, queue, chain: new Chain(MOST) };
}

/** The buffers of a chain, those that the device writes with a w. */
function buffers({ addresses, lengths, count, readable }: Chain): string[] {
  return Array.from({ length: count }, (_, index) => {
    return `${addresses[index].toString(16)}+${lengths[index]}${index < readable ? "" : "w"}`;
  });
}

Deno.test("take() follows a chain, and give() gives it back", () => {
  const { driver, queue, chain } = begun();
  driver.descriptor(PAGES[0], 3, { addr: 0x2000, len: 16, flags: NEXT, next: 5 });
  driver.descriptor(PAGES[0], 5, { addr: 0x8000, len: 512, flags: NEXT | WRITE, next: 0 });
  driver.descriptor(PAGES[0], 0, { addr: 0x8fff, len: 1, flags: WRITE });
  driver.offer(3);
  assertEquals([queue.take(chain), chain.head, buffers(chain)], [true, 3, ["2000+16", "8000+512w", "8fff+1w"]]);
  assertEquals([chain.readableBytes, chain.writableBytes, queue.take(chain)], [16, 513, false]);
  queue.give(3, 513);
  assertEquals(driver.used, []);
  queue.publish();
  assertEquals([driver.used, queue.isBroken], [[[3, 513]], false]);
});

Deno.test("take() takes the rest of a chain from a table, if the driver may have tables", () => {
  for (const features of [ALL, PLAIN]) {
    const { driver, queue, chain } = begun(features);
    driver.descriptor(PAGES[0], 1, { addr: TABLE, len: 32, flags: INDIRECT });
    driver.descriptor(TABLE, 0, { addr: 0x8000, len: 10, flags: NEXT, next: 1 });
    driver.descriptor(TABLE, 1, { addr: 0x8010, len: 20, flags: WRITE });
    driver.offer(1);
    assertEquals([queue.take(chain), queue.isBroken], [features.indirect, !features.indirect]);
    if (features.indirect) assertEquals([chain.head, buffers(chain)], [1, ["8000+10", "8010+20w"]]);
  }
});

Deno.test("take() reads a table whose descriptors are torn between pages, at any address", () => {
  for (const table of [TABLE - 8, TABLE - 7, TABLE - 16, TABLE + 3]) {
    const { driver, queue, chain } = begun(ALL);
    driver.descriptor(PAGES[0], 1, { addr: table, len: 32, flags: INDIRECT });
    driver.descriptor(table, 0, { addr: 0x8000, len: 10, flags: NEXT, next: 1 });
    driver.descriptor(table, 1, { addr: 0x8010, len: 20, flags: WRITE });
    driver.offer(1);
    assertEquals([queue.take(chain), buffers(chain)], [true, ["8000+10", "8010+20w"]], table.toString(16));
  }
});

Deno.test("give() writes an entry that is torn between pages, and a successor reads it", () => {
  const driver = new TestDriver(SIZE, undefined, PAGES[1] - 168), { memory, layout } = driver, state = newState();
  assertEquals((layout.used + USED.ring + USED.entry) % PAGE, PAGE - USED.entry / 2);
  for (let head = 0; head < 3; head++) {
    const queue = new Virtqueue(memory, state), chain = new Chain(MOST);
    assertEquals(queue.begin(layout, PLAIN, head > 0), true);
    driver.descriptor(layout.descriptors, head, { addr: 0x8000, len: 1 });
    driver.offer(head);
    assertEquals([queue.take(chain), chain.head, queue.take(chain)], [true, head, false]);
    queue.give(head, 7 + head);
    if (head === 1) memory.view.setUint16(memory.at(layout.used + USED.idx), 2, true); // which was its last act
    else queue.publish();
  }
  assertEquals(driver.used, [[0, 7], [1, 8], [2, 9]]);
});

Deno.test("a queue that the driver moves on to other memory goes on there", () => {
  const { driver, queue, chain } = begun();
  driver.descriptor(PAGES[0], 0, { addr: 0x2000, len: 1 });
  driver.offer(0);
  assertEquals([queue.take(chain), queue.take(chain)], [true, false]);
  queue.give(0, 0);
  queue.publish();
  driver.memory.exchange(0, 2);
  driver.offer(0);
  assertEquals([queue.take(chain), queue.take(chain)], [true, false]);
  queue.give(0, 7);
  queue.publish();
  assertEquals(driver.used, [[0, 0], [0, 7]]);
});

const HUGE = 2 ** 32 - 1;
/** What a driver puts there that breaks its queue. */
const BAD: Record<string, (driver: TestDriver) => void> = {
  "a head beyond the table": (driver) => driver.offer(SIZE),
  "a next beyond the table": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: 0x2000, len: 1, flags: NEXT, next: SIZE });
    driver.offer(0);
  },
  "a loop": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: 0x2000, len: 1, flags: NEXT, next: 0 });
    driver.offer(0);
  },
  "a buffer to be read after one to be written": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: 0x2000, len: 1, flags: NEXT | WRITE, next: 1 });
    driver.descriptor(PAGES[0], 1, { addr: 0x2000, len: 1 });
    driver.offer(0);
  },
  "more than 4 GiB": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: 0x2000, len: HUGE, flags: NEXT | WRITE, next: 1 });
    driver.descriptor(PAGES[0], 1, { addr: 0x2000, len: HUGE, flags: WRITE });
    driver.offer(0);
  },
  "an index that jumps": (driver) => driver.offer(0, SIZE + 1),
  "an index that goes back": (driver) => driver.offer(0, -1),
  "an empty table": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: TABLE, len: 0, flags: INDIRECT });
    driver.offer(0);
  },
  "a table of half an entry": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: TABLE, len: 24, flags: INDIRECT });
    driver.offer(0);
  },
  "a table where no memory is": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: 0x10_0000, len: 32, flags: INDIRECT });
    driver.offer(0);
  },
  "a table that is not all there": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: PAGES[1] + PAGE - 16, len: 32, flags: INDIRECT });
    driver.offer(0);
  },
  "a table and more of the chain": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: TABLE, len: 16, flags: INDIRECT | NEXT, next: 1 });
    driver.offer(0);
  },
  "a table in a table": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: TABLE, len: 32, flags: INDIRECT });
    driver.descriptor(TABLE, 0, { addr: TABLE, len: 16, flags: INDIRECT });
    driver.offer(0);
  },
  "a table that does not end": (driver) => {
    driver.descriptor(PAGES[0], 0, { addr: TABLE, len: 32, flags: INDIRECT });
    driver.descriptor(TABLE, 0, { addr: 0x8000, len: 1, flags: NEXT, next: 1 });
    driver.descriptor(TABLE, 1, { addr: 0x8000, len: 1, flags: NEXT, next: 0 });
    driver.offer(0);
  },
  "more buffers than a request can have": (driver) => {
    for (let index = 0; index < SIZE; index++) {
      driver.descriptor(PAGES[0], index, { addr: 0x2000, len: 1, flags: index < SIZE - 1 ? NEXT : 0, next: index + 1 });
    }
    driver.offer(0);
  },
};

for (const [name, play] of Object.entries(BAD)) {
  Deno.test(`${name} breaks the queue until it begins again`, () => {
    const { driver, queue, chain } = begun(ALL);
    play(driver);
    assertEquals([queue.take(chain), queue.isBroken, queue.hasRequest, queue.take(chain)], [false, true, false, false]);
    queue.give(0, 1);
    queue.publish();
    assertEquals([driver.used, queue.wantsInterrupt], [[], false]);
    queue.end();
    assertEquals([queue.isReady, queue.isBroken], [false, false]);
    const next = new TestDriver(SIZE);
    driver.memory.bytes.set(next.memory.bytes);
    assertEquals([queue.begin(driver.layout, PLAIN), queue.take(chain)], [true, false]);
  });
}

Deno.test("begin() refuses rings that are not where memory is", () => {
  const { driver, queue } = begun(), { layout } = driver;
  for (const part of ["descriptors", "available", "used"] as const) {
    for (
      const address of [
        0,
        layout[part] + (part === "descriptors" ? 2 ** 20 : 1),
        0x10_0000,
        PAGES[2] + PAGE - 8,
        2 ** 60,
        NaN,
      ]
    ) {
      queue.end();
      assertEquals(queue.begin({ ...layout, [part]: address }, PLAIN), false, `${part} at ${address}`);
    }
  }
});

Deno.test("the driver hears of what is given back as it wants to: by the flag, or by the index", () => {
  const { driver, queue, chain } = begun();
  driver.descriptor(PAGES[0], 0, { addr: 0x2000, len: 1, flags: WRITE });
  const round = (queue: Virtqueue, driver: TestDriver) => {
    driver.offer(0);
    assert(queue.take(chain));
    queue.give(0, 1);
    queue.publish();
    return queue.wantsInterrupt;
  };
  assertEquals([queue.wantsInterrupt, round(queue, driver), queue.wantsInterrupt], [false, true, false]);
  driver.availableFlags = 1;
  assertEquals(round(queue, driver), false);
  const { driver: other, queue: indexed } = begun(ALL);
  other.descriptor(PAGES[0], 0, { addr: 0x2000, len: 1, flags: WRITE });
  other.usedEvent = 2;
  assertEquals(Array.from({ length: 5 }, () => round(indexed, other)), [false, false, true, false, false]);
});

Deno.test("the device says whether it wants to hear: by the flag, or by the index", () => {
  const { driver, queue, chain } = begun();
  queue.setNotifications(false);
  assertEquals(driver.usedFlags, 1);
  queue.setNotifications(true);
  assertEquals(driver.usedFlags, 0);
  const { driver: other, queue: indexed } = begun(ALL);
  other.descriptor(PAGES[0], 0, { addr: 0x2000, len: 1 });
  indexed.setNotifications(false);
  for (let count = 0; count < 3; count++) other.offer(0);
  for (let count = 0; count < 3; count++) assert(indexed.take(chain));
  assertEquals(other.availableEvent, 0);
  indexed.setNotifications(true);
  assertEquals([other.availableEvent, chain.head], [3, 0]);
});

/** State that says when it changes: a model may die before that. */
function watchedState(before: () => void): Uint32Array {
  return new Proxy(Array.from(newState()), {
    set(words, word, value) {
      before();
      return Reflect.set(words, word, value);
    },
  }) as unknown as Uint32Array;
}

Deno.test("wherever a device's model dies, the next one gives back each request that it had not, once", () => {
  for (const features of [PLAIN, ALL]) {
    const moments: { memory: Uint8Array; state: Uint32Array }[] = [];
    const note = () => void moments.push({ memory: driver.memory.bytes.slice(), state: Uint32Array.from(state) });
    const driver = new TestDriver(SIZE), state: Uint32Array = watchedState(() => note());
    const queue = new Virtqueue(driver.memory, state), chain = new Chain(MOST), heads = [5, 2, 7, 0, 1, 6, 4, 3];
    for (const head of heads) driver.descriptor(PAGES[0], head, { addr: 0x2000, len: 1, flags: WRITE });
    queue.begin(driver.layout, features);
    heads.forEach((head) => driver.offer(head));
    moments.length = 0;
    for (const group of [3, 1, 4]) {
      const taken = Array.from({ length: group }, () => (queue.take(chain), chain.head));
      for (const head of taken.reverse()) queue.give(head, 1);
      note();
      queue.publish();
    }
    note();
    assert(moments.length > 3 * heads.length, `${moments.length} moments`);
    for (const [number, moment] of moments.entries()) {
      driver.memory.bytes.set(moment.memory);
      const next = new Virtqueue(driver.memory, moment.state);
      assertEquals(next.begin(driver.layout, features, true), true);
      const taken: number[] = [];
      while (next.hasRequest && next.take(chain)) taken.push(chain.head);
      for (const head of taken) next.give(head, 1);
      next.publish();
      const given = driver.used.map(([head]) => head);
      assertEquals(given.toSorted(), heads.toSorted(), `moment ${number}: ${given}`);
      assertEquals([next.isBroken, moment.state.subarray(2).every((word) => word === 0)], [false, true]);
    }
  }
});

Deno.test("whatever is in memory, a queue ends, stays inside, and never throws", () => {
  const word = fc.oneof(fc.nat(0xffff), fc.constantFrom(0, 1, 2, 3, 4, 5, 7, 8, 0x1000, 0x2000, 0x8000));
  const property = fc.property(
    fc.array(fc.tuple(fc.nat(PAGE / 2 - 1), word), { maxLength: 120 }),
    fc.boolean(),
    fc.boolean(),
    fc.boolean(),
    (words, indirect, eventIndex, again) => {
      const { driver, queue, chain } = begun({ indirect, eventIndex });
      for (const [at, value] of words) driver.memory.view.setUint16(at * 2, value, true);
      if (again) queue.begin(driver.layout, { indirect, eventIndex }, true);
      for (let requests = 0; queue.take(chain); requests++) {
        assert(requests <= SIZE && chain.count <= MOST && chain.readable <= chain.count);
        assert(chain.readableBytes + chain.writableBytes < 2 ** 32);
        queue.give(chain.head, 1);
        queue.publish();
        void queue.wantsInterrupt;
      }
      assertEquals(driver.memory.bytes.subarray(2 * PAGE).every((byte) => byte === 0), true);
    },
  );
  fc.assert(property, { numRuns: RUNS });
});
