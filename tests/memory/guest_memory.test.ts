/** GuestMemory: across pages, banks and holes, and whatever addresses a guest gives (XENOLITH_PROPERTY_RUNS runs). */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { type Gfn, PAGE_SIZE, SUPERPAGE_FRAMES } from "../../src/memory/address.ts";
import { BankViews, MachineMemory } from "../../src/memory/bank.ts";
import { GuestAddressError, GuestMemory } from "../../src/memory/guest_memory.ts";
import { P2m, P2M_TYPE, p2mMemory } from "../../src/memory/p2m.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);

/** What a refusal must not have touched. */
const UNTOUCHED = 0xa5;

/**
 * A guest with eleven pages and one that is nowhere: gfns 0-3 in one bank in order, 4-5 in another, 6 a hole, 7-8 in the first bank backwards,
 * 9 read-only, 10 emulated (MMIO_DM), 11 in no bank.
 */
class Guest implements Disposable {
  readonly #machine = new MachineMemory();
  readonly #p2mMemory = p2mMemory();
  readonly p2m = new P2m(this.#p2mMemory.address);
  readonly memory = new GuestMemory(this.p2m, new BankViews(this.#machine.tableAddress));

  constructor() {
    const one = this.#machine.allocate("guest-test", 8, 1).firstMfn;
    const other = this.#machine.allocate("guest-test", 2, 1).firstMfn;
    const map = (gfn: number, mfn: number, count: number, type = P2M_TYPE.RAM_RW as 0 | 1 | 3 | 4) =>
      this.p2m.map(gfn as Gfn, mfn, count, type);
    map(0, one, 4);
    map(4, other, 2);
    map(7, one + 5, 1);
    map(8, one + 4, 1);
    map(9, one + 6, 1, P2M_TYPE.RAM_RO);
    map(10, one + 7, 1, P2M_TYPE.MMIO_DM);
    map(11, other + 2 * SUPERPAGE_FRAMES, 1);
  }

  [Symbol.dispose](): void {
    this.#p2mMemory[Symbol.dispose]();
    this.#machine[Symbol.dispose]();
  }
}

const WRITABLE = new Set([0, 1, 2, 3, 4, 5, 7, 8]), READABLE = new Set([...WRITABLE, 9]);
const PAGES = 12;

function pattern(sizeBytes: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, index) => (index * 31 + (index >> 8) * 7 + seed) & 0xff);
}

const at = (page: number, offset: number) => page * PAGE_SIZE + offset;

Deno.test("read() gives back what write() stored, within a page, over pages, over banks and out of order", () => {
  using guest = new Guest();
  const ranges = [[0, 1], [5, 4096], [at(1, 4095), 2], [0, at(4, 0)], [at(3, 4000), 200], [at(0, 1), at(5, 4094)], [
    at(7, 100),
    8000,
  ]];
  for (const [seed, [address, size]] of ranges.entries()) {
    const written = pattern(size, seed), read = new Uint8Array(size);
    guest.memory.write(address, written);
    guest.memory.read(address, read);
    assertEquals(read, written, `0x${address.toString(16)} + ${size}`);
  }
});

Deno.test("write() touches nothing beside its range", () => {
  using guest = new Guest();
  guest.memory.write(0, new Uint8Array(at(6, 0)).fill(UNTOUCHED));
  guest.memory.write(at(3, 4090), pattern(12, 1));
  const all = new Uint8Array(at(6, 0));
  guest.memory.read(0, all);
  const start = at(3, 4090);
  assertEquals(all.subarray(start, start + 12), pattern(12, 1));
  all.fill(UNTOUCHED, start, start + 12);
  assertEquals(all.every((byte) => byte === UNTOUCHED), true);
});

Deno.test("frames that lie backwards in a bank are read in the guest's order", () => {
  using guest = new Guest();
  guest.memory.write(at(7, 0), pattern(PAGE_SIZE, 1));
  guest.memory.write(at(8, 0), pattern(PAGE_SIZE, 2));
  const both = new Uint8Array(2 * PAGE_SIZE);
  guest.memory.read(at(7, 0), both);
  assertEquals(both.subarray(0, PAGE_SIZE), pattern(PAGE_SIZE, 1));
  assertEquals(both.subarray(PAGE_SIZE), pattern(PAGE_SIZE, 2));
});

Deno.test("a range that is not wholly memory is refused, and nothing of it copied", () => {
  using guest = new Guest();
  const table: [address: number, size: number, why: string][] = [
    [at(6, 0), 1, "gfn 0x6 is no"],
    [at(5, 4095), 2, "gfn 0x6 is no"],
    [at(0, 0), at(7, 0), "gfn 0x6 is no"],
    [at(8, 0), 3 * PAGE_SIZE, "is no"],
    [at(10, 0), 4, "gfn 0xa is no"],
    [at(9, 4095), 2, "is no"],
    [at(12, 0), 1, "gfn 0xc is no"],
    [2 ** 41, 8, "is no"],
    [2 ** 52, 8, "is no"],
  ];
  for (const [address, size, why] of table) {
    const target = new Uint8Array(size).fill(UNTOUCHED);
    const error = assertThrows(() => guest.memory.read(address, target), GuestAddressError, why);
    assertEquals([error.address, error.sizeBytes], [address, size]);
    assertEquals(target.every((byte) => byte === UNTOUCHED), true);
    assertThrows(() => guest.memory.write(address, target), GuestAddressError);
    assertEquals(guest.memory.contains(address, size), false);
  }
  const before = new Uint8Array(at(6, 0));
  guest.memory.read(0, before);
  assertEquals(before.every((byte) => byte === 0), true, "a refused write has begun");
});

Deno.test("a frame that is in no bank is refused, and nothing before it copied", () => {
  using guest = new Guest();
  guest.p2m.map(12 as Gfn, guestFrame(guest, 0), 1, P2M_TYPE.RAM_RW);
  guest.p2m.map(13 as Gfn, 200 * SUPERPAGE_FRAMES, 1, P2M_TYPE.RAM_RW);
  const target = new Uint8Array(2 * PAGE_SIZE).fill(UNTOUCHED);
  assertThrows(() => guest.memory.read(at(12, 0), target), GuestAddressError, "is in no bank");
  assertEquals(target.every((byte) => byte === UNTOUCHED), true);
  assertThrows(() => guest.memory.write(at(12, 0), target), GuestAddressError, "is in no bank");
  const first = new Uint8Array(PAGE_SIZE);
  guest.memory.read(at(12, 0), first);
  assertEquals(first.every((byte) => byte === 0), true);
});

function guestFrame(guest: Guest, gfn: number): number {
  return guest.p2m.lookup(gfn) & 0xfff_ffff;
}

Deno.test("what is read-only is read and not written", () => {
  using guest = new Guest();
  const page = new Uint8Array(PAGE_SIZE).fill(1);
  guest.memory.read(at(9, 0), page);
  assertEquals(page.every((byte) => byte === 0), true);
  assertThrows(() => guest.memory.write(at(9, 0), page), GuestAddressError, "gfn 0x9 is no writable memory");
  assertThrows(() => guest.memory.write(at(8, 4095), page), GuestAddressError, "gfn 0x9 is no writable memory");
  assertEquals(guest.memory.contains(at(8, 0), 2 * PAGE_SIZE), true);
});

Deno.test("no address and no size does worse than a GuestAddressError", () => {
  using guest = new Guest();
  const numbers = [NaN, Infinity, -Infinity, -1, -PAGE_SIZE, 0.5, 2 ** 53, 2 ** 53 - 1, 2 ** 52, -(2 ** 53), 1e300];
  for (const address of numbers) {
    assertThrows(() => guest.memory.read(address, new Uint8Array(1)), GuestAddressError);
    assertThrows(() => guest.memory.write(address, new Uint8Array(1)), GuestAddressError);
    for (const size of [...numbers, 1]) {
      assertEquals(guest.memory.contains(address, size), false, `${address} + ${size}`);
    }
  }
  for (const size of numbers) assertEquals(guest.memory.contains(at(2, 0), size), false, `size ${size}`);
});

Deno.test("GuestMemory reads and writes as an array of pages does, whatever range is asked for", () => {
  using guest = new Guest();
  const model = new Uint8Array(PAGES * PAGE_SIZE);
  const range = fc.record({
    address: fc.oneof(fc.nat(PAGES * PAGE_SIZE), fc.nat(PAGES).map((page) => Math.max(0, page * PAGE_SIZE - 3))),
    size: fc.oneof(fc.integer({ min: 1, max: 16 }), fc.integer({ min: 1, max: 5 * PAGE_SIZE })),
    write: fc.boolean(),
    seed: fc.nat(255),
  });
  const property = fc.property(fc.array(range, { maxLength: 8 }), (actions) => {
    for (const { address, size, write, seed } of actions) {
      const pages = new Set(Array.from({ length: size }, (_, index) => Math.floor((address + index) / PAGE_SIZE)));
      const allowed = [...pages].every((page) => (write ? WRITABLE : READABLE).has(page));
      const bytes = write ? pattern(size, seed) : new Uint8Array(size);
      const access = () => write ? guest.memory.write(address, bytes) : guest.memory.read(address, bytes);
      if (!allowed) {
        assertThrows(access, GuestAddressError);
        continue;
      }
      access();
      if (write) model.set(bytes, address);
      else assertEquals(bytes, model.slice(address, address + size));
    }
  });
  fc.assert(property, { numRuns: RUNS });
});

/** Maps and unmaps runs of two banks that follow each other, of two superpages and of half a one. */
const change = fc.record({
  gfn: fc.nat(3 * SUPERPAGE_FRAMES),
  count: fc.oneof(fc.nat(3), fc.nat(2 * SUPERPAGE_FRAMES), fc.constant(SUPERPAGE_FRAMES)),
  from: fc.oneof(fc.nat(2.5 * SUPERPAGE_FRAMES - 1), fc.constantFrom(0, SUPERPAGE_FRAMES, 2 * SUPERPAGE_FRAMES)),
  type: fc.constantFrom(...[P2M_TYPE.RAM_RW, P2M_TYPE.RAM_RW, P2M_TYPE.RAM_RO, P2M_TYPE.MMIO_DM]),
  aligned: fc.boolean(),
});
const look = fc.record({
  address: fc.nat(3.5 * SUPERPAGE_FRAMES * PAGE_SIZE),
  size: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: SUPERPAGE_FRAMES * PAGE_SIZE })),
  writing: fc.boolean(),
});

Deno.test("locate() finds memory where the p2m has it, as far as it lies together, after each change", () => {
  using machine = new MachineMemory();
  using table = p2mMemory();
  const p2m = new P2m(table.address), banks = new BankViews(machine.tableAddress), memory = new GuestMemory(p2m, banks);
  const large = machine.allocate("locate-large", 2 * SUPERPAGE_FRAMES, 1);
  const small = machine.allocate("locate-small", SUPERPAGE_FRAMES / 2, 1);
  assertEquals(small.firstMfn, large.firstMfn + large.frames);
  const found = { memory: banks.memory(0), offset: 0 };
  const step = fc.tuple(change, fc.array(look, { maxLength: 6 }));
  const property = fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
    p2m.unmap(0 as Gfn, 6 * SUPERPAGE_FRAMES);
    for (const [{ gfn, count, from, type, aligned }, looks] of steps) {
      const first = aligned ? gfn - gfn % SUPERPAGE_FRAMES : gfn;
      p2m.map(first as Gfn, large.firstMfn + from, Math.min(count, 2.5 * SUPERPAGE_FRAMES - from), type);
      for (const { address, size, writing } of looks) {
        const bytes = memory.locate(address, size, writing, found), page = Math.floor(address / PAGE_SIZE);
        assertEquals(bytes > 0, memory.frame(page, writing) >= 0);
        if (bytes === 0) continue;
        assertEquals(bytes >= Math.min(size, (page + 1) * PAGE_SIZE - address) && bytes <= size, true);
        const bank = banks.find(memory.frame(page, writing)), start = found.offset - address % PAGE_SIZE;
        assertEquals(found.memory, banks.memory(bank));
        for (let at = 0; page * PAGE_SIZE + at < address + bytes; at += PAGE_SIZE) {
          const mfn = memory.frame(page + at / PAGE_SIZE, writing);
          assertEquals([banks.find(mfn), mfn < 0 ? -1 : banks.offset(bank, mfn)], [bank, start + at]);
        }
      }
    }
  });
  fc.assert(property, { numRuns: RUNS });
});
