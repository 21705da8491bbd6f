/** TraceRing: what an entry says, which entries a full ring has, and how waiting is counted. */

import { assertEquals } from "@std/assert";
import { TRACE_END, TRACE_ENTRIES, traceBytes, type TraceEntry, TraceRing } from "../../src/domain/trace.ts";
import { MAX_SERVERS, TYPE } from "../../src/ioreq/abi.ts";
import { Mapping } from "../../src/linux/mapping.ts";

/** Rings of some vCPUs in memory of their own. */
class Rings implements Disposable {
  readonly #memory: Mapping;
  readonly rings: TraceRing[];

  constructor(vcpus: number) {
    this.#memory = Mapping.anonymous(traceBytes(vcpus), "trace rings");
    this.rings = Array.from({ length: vcpus }, (_, vcpu) => this.view(vcpu));
  }

  /** Another isolate's view. */
  view(vcpu: number): TraceRing {
    return new TraceRing(this.#memory.address, vcpu);
  }

  get bytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer);
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

Deno.test("an entry says when, where, what, how long and how it ended, to every view", () => {
  const entries: TraceEntry[] = [
    { sent: 10, ticks: 5, server: 0, type: TYPE.PIO, address: 0x60, size: 1, write: false, end: TRACE_END.ANSWERED },
    {
      sent: 2 ** 50,
      ticks: 2 ** 33,
      server: 7,
      type: TYPE.COPY,
      address: 2 ** 52 - 8,
      size: 8,
      write: true,
      end: TRACE_END.GONE,
    },
    {
      sent: 2 ** 51,
      ticks: 0,
      server: 3,
      type: TYPE.COPY,
      address: 0xa_0000,
      size: 4,
      write: true,
      end: TRACE_END.BUFFERED,
    },
    {
      sent: 2 ** 52,
      ticks: 1,
      server: 5,
      type: TYPE.PCI_CONFIG,
      address: 0xcfc,
      size: 2,
      write: false,
      end: TRACE_END.ANSWERED,
    },
  ];
  using rings = new Rings(1);
  for (const { sent, ticks, server, type, address, size, write, end } of entries) {
    rings.rings[0].begin(server, address, sent);
    assertEquals(rings.view(0).current, { server, sent, address });
    assertEquals(rings.rings[0].end(server, type, size, write, end, sent + ticks), ticks);
    assertEquals(rings.view(0).current, undefined);
  }
  assertEquals([rings.view(0).entries(), rings.view(0).recorded], [entries, entries.length]);
  assertEquals(rings.view(0).waited, 5 + 2 ** 33 + 1, "who buffers a write does not wait");
});

Deno.test("a full ring holds the last requests, oldest first, and counts all", () => {
  using rings = new Rings(1);
  const [ring] = rings.rings;
  for (const total of [1, TRACE_ENTRIES - 1, TRACE_ENTRIES, TRACE_ENTRIES + 1, 3 * TRACE_ENTRIES + 7]) {
    while (ring.recorded < total) {
      const n = ring.recorded;
      ring.begin(n % MAX_SERVERS, n, n * 10);
      ring.end(n % MAX_SERVERS, TYPE.PIO, 1, false, TRACE_END.ANSWERED, n * 10 + 3);
    }
    const entries = ring.entries(), first = Math.max(0, total - TRACE_ENTRIES);
    assertEquals(
      entries.map(({ address }) => address),
      Array.from({ length: total - first }, (_, index) => first + index),
    );
    assertEquals(entries.every(({ sent, address, ticks }) => sent === address * 10 && ticks === 3), true);
    assertEquals([ring.recorded, ring.waited], [total, total * 3]);
  }
});

Deno.test("a ring goes on after 2^31 and 2^32 requests", () => {
  using rings = new Rings(1);
  const [ring] = rings.rings, heads = new Int32Array(rings.bytes.buffer, 0, 1);
  for (const start of [2 ** 31 - 2, 2 ** 32 - 2]) {
    heads[0] = start;
    for (let n = 0; n < 4; n++) {
      ring.begin(1, n, 0);
      ring.end(1, TYPE.PIO, 1, false, TRACE_END.ANSWERED, 1);
    }
    assertEquals(ring.recorded, (start + 4) % 2 ** 32);
    const last = ring.entries().slice(-2).map(({ address }) => address);
    assertEquals(last, [2, 3]);
  }
});

Deno.test("every vCPU has a ring of its own, and none writes beyond it", () => {
  using rings = new Rings(3);
  const [before, ring, after] = rings.rings;
  for (let n = 0; n < TRACE_ENTRIES; n++) {
    ring.begin(7, 2 ** 50, 2 ** 50);
    ring.end(7, 255, 255, true, TRACE_END.BUFFERED, 2 ** 51);
  }
  const own = traceBytes(1), bytes = rings.bytes;
  assertEquals(
    bytes.subarray(0, own).every((byte) => byte === 0) && bytes.subarray(2 * own).every((byte) => byte === 0),
    true,
  );
  assertEquals([before.recorded, ring.recorded, after.recorded], [0, TRACE_ENTRIES, 0]);
});

Deno.test("a vCPU that waits for several servers waits once, and each request has its own time", () => {
  using rings = new Rings(1);
  const [ring] = rings.rings;
  ring.begin(6, 0x1000, 100);
  ring.begin(2, 0x2000, 110);
  ring.begin(4, 0x3000, 120);
  assertEquals(ring.current, { server: 6, sent: 100, address: 0x1000 });
  const end = (server: number, now: number) => ring.end(server, TYPE.INVALIDATE, 0, true, TRACE_END.ANSWERED, now);
  assertEquals(end(6, 130), 30);
  assertEquals(ring.current, { server: 2, sent: 110, address: 0x2000 }, "who has not answered yet");
  assertEquals([end(4, 150), ring.waited], [30, 0]);
  assertEquals([end(2, 200), ring.waited, ring.current], [90, 100, undefined]);
  assertEquals(ring.entries().map(({ server, sent, address, ticks }) => [server, sent, address, ticks]), [
    [6, 100, 0x1000, 30],
    [4, 120, 0x3000, 30],
    [2, 110, 0x2000, 90],
  ]);
});
