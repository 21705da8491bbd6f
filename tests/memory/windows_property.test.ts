/** Windows against a Map of pages: any sequence of maps, remaps, revocations, accesses and ends, on both transports. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { viewAt } from "../../src/linux/mapping.ts";
import { type Gfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { P2M_TYPE, p2mType } from "../../src/memory/p2m.ts";
import { type Area, TRANSPORT } from "../../src/memory/stage_area.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { failing, replacing } from "../support/replacing.ts";
import { FIRST, firstByte, SERVER, TestWindows } from "./test_windows.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);
const PAGES = 12, FRAMES = 12, MEMORIES = 2, ENOMEM = 12;

/** What is mapped at a page. */
interface Shown {
  readonly memory: number;
  readonly frame: number;
  readonly readOnly: boolean;
}

const page = fc.nat(PAGES - 1),
  frame = fc.nat(FRAMES - 1),
  memory = fc.nat(MEMORIES - 1),
  count = fc.integer({ min: 1, max: 5 });
const action = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant("map"), page, count, memory, frame, readOnly: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("revoke"), page, count }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant("access"), page, write: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("fail"), page, count, memory, frame, at: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("forget"), memory }) },
);
type Action = Partial<Shown> & { op: string; page?: number; count?: number; write?: boolean; at?: number };

/** The windows and what they have to be. */
class Model {
  readonly shown = new Map<number, Shown>();
  readonly bytes: number[][];
  #next = 1;

  constructor(readonly test: TestWindows, readonly area: Area, readonly isFault: boolean) {
    this.bytes = Array.from({ length: MEMORIES }, (_, id) => this.bring(id));
  }

  bring(id: number): number[] {
    this.test.bring(FRAMES, id * 0x40, id);
    return Array.from({ length: FRAMES }, (_, frame) => id * 0x40 + frame);
  }

  do({ op, page = 0, count = 1, memory = 0, frame = 0, readOnly = false, write = false, at = 0 }: Action): void {
    const { test } = this, gfn = FIRST + page;
    const pages = Math.min(count, PAGES - page, op === "revoke" ? PAGES : FRAMES - frame);
    const isReadOnly = readOnly && (test.table.protects || !this.isFault);
    const map = () => test.map.map(SERVER, gfn, pages, memory, frame, isReadOnly);
    const enter = () => {
      for (let n = 0; n < pages; n++) this.shown.set(page + n, { memory, frame: frame + n, readOnly: isReadOnly });
    };
    if (op === "map") {
      assertEquals(map(), 0);
      enter();
    } else if (op === "revoke") {
      assertEquals(test.map.revoke(SERVER, gfn, pages), 0);
      test.map.flush();
      for (let n = 0; n < pages; n++) this.shown.delete(page + n);
    } else if (op === "access") {
      this.access(page, write);
    } else if (op === "forget") {
      this.forget(memory);
    } else if (this.isFault) {
      // Part of it may be mapped; then it is mapped as a whole.
      const errno = replacing(test.map.userfault, "register", failing(at, -ENOMEM), map);
      if (errno !== 0) assertEquals([errno, map()], [ENOMEM, 0]);
      enter();
    }
  }

  forget(id: number): void {
    const { test } = this, bank = [...this.banks()][id];
    test.table.setMemory(SERVER, id, -1);
    test.map.forgetBank(SERVER, bank.firstMfn, bank.frames);
    bank[Symbol.dispose]();
    for (const [page, { memory }] of [...this.shown]) if (memory === id) this.shown.delete(page);
    this.bytes[id] = this.bring(id);
  }

  *banks() {
    for (let id = 0; id < MEMORIES; id++) {
      yield this.test.machine.bankOf(this.test.banks.firstMfn(this.test.table.memory(SERVER, id)))!;
    }
  }

  /** The guest's: what is mapped is there, now or as soon as it is supplied; a byte that it writes is in the memory. */
  access(page: number, write: boolean): void {
    const { test } = this, shown = this.shown.get(page), gfn = FIRST + page;
    const isPermitted = shown !== undefined && !(write && shown.readOnly);
    assertEquals(test.map.isMapped(gfn, write), isPermitted, `page ${page}`);
    if (!isPermitted) return;
    const value = write ? this.#next = this.#next % 255 + 1 : this.bytes[shown.memory][shown.frame];
    if (this.isFault) {
      if (test.seen(gfn) === "missing") test.table.lock.hold(() => test.map.supply(this.area, gfn));
      const byte = new Uint8Array(viewAt(BigInt(this.area.hostOf(gfn)), 1));
      if (write) byte[0] = value;
      else assertEquals(byte[0], value, `page ${page}`);
    } else {
      const byte = new Uint8Array([write ? value : 0]);
      assertEquals(test.table.lock.hold(() => test.map.runs.access(gfn, 0, byte, write)), true);
      assertEquals(byte[0], value);
      test.map.runs.ensure(test.kvm.vm, gfn);
    }
    this.bytes[shown.memory][shown.frame] = value;
  }

  /** Nothing is shown that is not mapped, and what is shown is right; references are as many as pages. */
  check(): void {
    const { test } = this, banks = [...this.banks()];
    for (let page = 0; page < PAGES; page++) {
      const shown = this.shown.get(page), seen = this.seen(page), type = p2mType(test.p2m.lookup(FIRST + page));
      const expected = shown === undefined
        ? P2M_TYPE.MMIO_DM
        : shown.readOnly
        ? P2M_TYPE.GRANT_MAP_RO
        : P2M_TYPE.GRANT_MAP_RW;
      assertEquals(type, expected, `type of page ${page}`);
      if (seen === "missing") continue;
      const byte = shown && this.bytes[shown.memory][shown.frame];
      assertEquals(seen, shown?.readOnly ? `${byte} read-only` : byte, `page ${page}`);
    }
    assertEquals(test.machine.references, this.shown.size);
    banks.forEach((bank, id) =>
      this.bytes[id].forEach((byte, frame) => assertEquals(firstByte(bank.file, frame), byte))
    );
  }

  seen(page: number): unknown {
    if (this.isFault) return this.test.seen(FIRST + page);
    const address = (FIRST + page) * PAGE_SIZE;
    for (const { address: first, sizeBytes, host, readOnly } of this.test.kvm.slots.values()) {
      if (address < first || address >= first + sizeBytes) continue;
      const [byte] = new Uint8Array(viewAt(host + BigInt(address - first), 1));
      return readOnly ? `${byte} read-only` : byte;
    }
    return "missing";
  }
}

for (const [name, transport] of Object.entries(TRANSPORT)) {
  const needs = transport === TRANSPORT.FAULT ? [USERFAULT] : [];
  testWith(needs, `a window of the ${name.toLowerCase()} transport is what a Map of its pages is`, async () => {
    using test = new TestWindows();
    const property = fc.asyncProperty(fc.array(action, { maxLength: 24 }), async (actions) => {
      const area = await test.add(PAGES, transport), model = new Model(test, area, transport === TRANSPORT.FAULT);
      for (const action of actions as Action[]) {
        model.do(action);
        if (transport === TRANSPORT.EXIT) test.map.runs.sweep(test.kvm.vm);
        model.check();
      }
      test.map.close(area);
      test.map.runs.sweep(test.kvm.vm);
      await test.stage.removeWindow(area);
      assertEquals([test.machine.references, test.kvm.slots.size, test.table.windows], [0, 0, 0]);
      for (const bank of [...model.banks()]) bank[Symbol.dispose]();
    });
    await fc.assert(property, { numRuns: RUNS });
  });
}

testWith([USERFAULT], "windows come and go beside each other, and each place is used again", async () => {
  using test = new TestWindows();
  const property = fc.asyncProperty(
    fc.array(fc.tuple(fc.nat(9), fc.integer({ min: 1, max: 3 }), fc.boolean()), { maxLength: 30 }),
    async (steps) => {
      const windows = new Map<number, { area: Area; count: number }>();
      for (const [at, count, isFault] of steps) {
        const first = FIRST + at as Gfn, held = windows.get(at);
        if (held !== undefined) {
          test.map.close(held.area);
          await test.stage.removeWindow(held.area);
          windows.delete(at);
          continue;
        }
        const overlaps = [...windows].some(([other, { count: pages }]) => other < at + count && at < other + pages);
        const adding = test.add(count, isFault ? TRANSPORT.FAULT : TRANSPORT.EXIT, first);
        const result = await adding.then((area) => area, (error: Error) => error.message);
        assertEquals(typeof result === "string" && result.includes("EEXIST"), overlaps, `${result}`);
        if (typeof result !== "string") windows.set(at, { area: result, count });
      }
      assertEquals(test.table.windows, windows.size);
      for (const { area } of windows.values()) {
        test.map.close(area);
        await test.stage.removeWindow(area);
      }
      assertEquals([test.table.windows, test.kvm.slots.size, test.table.areasEnd <= 10], [0, 0, true]);
    },
  );
  await fc.assert(property, { numRuns: RUNS });
});
