/** What of the guest's memory a device model gets: where RAM is cut, which banks are given, what is checked in-process. */

import type { AddressRange } from "../../src/memory/address.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  cutRam,
  granted,
  GrantedMemory,
  type MemoryGrant,
  type RamPiece,
  type RamRange,
} from "../../src/domain/grants.ts";
import { gfnOf, PAGE_SIZE } from "../../src/memory/address.ts";
import { type Bank, BankViews, MachineMemory } from "../../src/memory/bank.ts";
import { GuestMemory } from "../../src/memory/guest_memory.ts";
import { P2m, P2M_TYPE, p2mMemory } from "../../src/memory/p2m.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 500);

const range = (address: number, sizeBytes: number, offset = address): RamRange => ({ address, sizeBytes, offset });
const RAM = [range(0, 0xa_0000), range(0x10_0000, 0x70_0000)];
const bytes = (first: number, last: number): AddressRange => ({ first, last });

/** The pieces with something to tell their banks apart. */
function pieces(ram: readonly RamRange[]): RamPiece[] {
  return ram.map((piece) => ({ ...piece, bank: {} as Bank }));
}

const CUTS: Record<string, [grants: MemoryGrant[], cut: RamRange[]]> = {
  "nothing granted in part": [["all", "none", []], RAM],
  "some pages in the middle": [[[bytes(0x20_0000, 0x20_1fff)]], [
    RAM[0],
    range(0x10_0000, 0x10_0000),
    range(0x20_0000, 0x2000),
    range(0x20_2000, 0x5f_e000),
  ]],
  "a byte is its whole page": [[[bytes(0x20_0fff, 0x20_1000)]], [
    RAM[0],
    range(0x10_0000, 0x10_0000),
    range(0x20_0000, 0x2000),
    range(0x20_2000, 0x5f_e000),
  ]],
  "the beginning and the end": [[[bytes(0, 0xfff)], [bytes(0x7f_f000, 0x7f_ffff)]], [
    range(0, 0x1000),
    range(0x1000, 0x9_f000),
    range(0x10_0000, 0x6f_f000),
    range(0x7f_f000, 0x1000),
  ]],
  "a range over a hole and beyond": [[[bytes(0x9_f000, 0x10_0fff), bytes(0x7f_f000, 0xffff_ffff)]], [
    range(0, 0x9_f000),
    range(0x9_f000, 0x1000),
    range(0x10_0000, 0x1000),
    range(0x10_1000, 0x6f_e000),
    range(0x7f_f000, 0x1000),
  ]],
  "exactly what RAM has": [[[bytes(0, 0x9_ffff)]], RAM],
  "grants that overlap": [[[bytes(0x10_0000, 0x10_2fff)], [bytes(0x10_1000, 0x10_3fff)]], [
    RAM[0],
    range(0x10_0000, 0x1000),
    range(0x10_1000, 0x2000),
    range(0x10_3000, 0x1000),
    range(0x10_4000, 0x6f_c000),
  ]],
  "an end before its start": [[[bytes(0x20_3000, 0x20_1fff)]], [
    RAM[0],
    range(0x10_0000, 0x10_2000),
    range(0x20_2000, 0x1000),
    range(0x20_3000, 0x5f_d000),
  ]],
};

for (const [name, [grants, cut]] of Object.entries(CUTS)) {
  Deno.test(`cutRam(): ${name}`, () => assertEquals(cutRam(RAM, grants), cut));
}

Deno.test("granted() gives all, nothing, or the pieces that lie in a range", () => {
  const grant = [bytes(0x9_f000, 0x10_0fff)], ram = pieces(cutRam(RAM, [grant]));
  assertEquals([granted(ram, "all"), granted(ram, "none"), granted(ram, [])], [ram, [], []]);
  assertEquals(granted(ram, grant).map(({ address, sizeBytes }) => [address, sizeBytes]), [[0x9_f000, 0x1000], [
    0x10_0000,
    0x1000,
  ]]);
  assertEquals(granted(ram, [bytes(0x20_3000, 0x20_1fff)]), [], "an end before its start is nothing");
});

/** Any RAM of a few pages, and grants of bytes around it. */
const PAGES = 40;
const rams = fc.uniqueArray(fc.nat(PAGES), { minLength: 2, maxLength: 6 }).map((edges) => {
  const sorted = edges.sort((one, other) => one - other);
  const ranges: RamRange[] = [];
  for (let index = 0; index + 1 < sorted.length; index += 2) {
    ranges.push(range(sorted[index] * PAGE_SIZE, (sorted[index + 1] - sorted[index]) * PAGE_SIZE, index * 0x1000_0000));
  }
  return ranges;
});
const addresses = fc.nat((PAGES + 2) * PAGE_SIZE);
const grants: fc.Arbitrary<MemoryGrant> = fc.oneof(
  fc.constantFrom("all" as const, "none" as const),
  fc.array(fc.tuple(addresses, addresses).map(([one, other]) => bytes(Math.min(one, other), Math.max(one, other))), {
    maxLength: 4,
  }),
);

/** Whether a page is in a grant: page by page, as the words say it. */
function isGranted(grant: MemoryGrant, page: number): boolean {
  if (typeof grant === "string") return grant === "all";
  return grant.some(({ first, last }) => page >= gfnOf(first) && page <= gfnOf(last));
}

Deno.test("every grant gets its pages of RAM and no other page, in pieces of their own", () => {
  const property = fc.property(rams, fc.array(grants, { maxLength: 3 }), (ram, grants) => {
    const cut = cutRam(ram, grants), whole = pieces(cut);
    const pagesOf = (parts: readonly RamRange[]) =>
      parts.flatMap(({ address, sizeBytes, offset }) => {
        assert(sizeBytes > 0 && address % PAGE_SIZE === 0 && sizeBytes % PAGE_SIZE === 0);
        return Array.from({ length: sizeBytes / PAGE_SIZE }, (_, page) => {
          return [gfnOf(address) + page, gfnOf(offset) + page] as const;
        });
      });
    assertEquals(pagesOf(cut), pagesOf(ram), "the same RAM at the same offsets");
    for (const grant of grants) {
      const given = pagesOf(granted(whole, grant)).map(([page]) => page);
      assertEquals(given, pagesOf(ram).map(([page]) => page).filter((page) => isGranted(grant, page)));
    }
  });
  fc.assert(property, { numRuns: RUNS });
});

/** 16 pages of RAM from 1 MiB on, each filled with its number. */
class Guest implements Disposable {
  readonly #stack = new DisposableStack();
  readonly memory: GuestMemory;

  constructor() {
    const machine = this.#stack.use(new MachineMemory()), table = this.#stack.use(p2mMemory());
    const p2m = new P2m(table.address), bank = machine.allocate("grants-test", 16, 1);
    p2m.map(gfnOf(0x10_0000), bank.firstMfn, 16, P2M_TYPE.RAM_RW);
    this.memory = new GuestMemory(p2m, new BankViews(machine.tableAddress));
    for (let page = 0; page < 16; page++) {
      this.memory.write(0x10_0000 + page * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(page));
    }
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

const [START, END] = [0x10_0000, 0x11_0000];
const PART: MemoryGrant = [
  bytes(START + 0x1000, START + 0x1fff),
  bytes(START + 0x2000, START + 0x2001),
  bytes(END - 1, END - 1),
];
const ACCESSES: [grant: MemoryGrant, address: number, sizeBytes: number, allowed: boolean][] = [
  ["all", START, 16 * PAGE_SIZE, true],
  ["all", START - 1, 2, false],
  ["all", END, 1, false],
  ["none", START, 1, false],
  ["none", START, 0, false],
  [PART, START + 0x1000, 0x2000, true],
  [PART, START + 0x1fff, 2, true],
  [PART, START + 0x2fff, 1, true],
  [PART, START + 0xfff, 1, false],
  [PART, START + 0xfff, 2, false],
  [PART, START + 0x2fff, 2, false],
  [PART, END - PAGE_SIZE, PAGE_SIZE, true],
  [PART, END - PAGE_SIZE, PAGE_SIZE + 1, false],
  [PART, START, 16 * PAGE_SIZE, false],
  [[bytes(0, 2 ** 40)], END - 1, 2, false],
  [[bytes(0, 2 ** 40)], 0, 1, false],
  ["all", NaN, 1, false],
  ["all", -1, 1, false],
  ["all", 0.5, 1, false],
  [PART, NaN, 1, false],
  [PART, Infinity, 1, false],
  [PART, -1, 1, false],
  [PART, START + 0x1000 + 0.5, 1, false],
];

Deno.test("a device model reads and writes what it was granted; all else is a RangeError, and nothing was copied", () => {
  using guest = new Guest();
  for (const [grant, address, sizeBytes, allowed] of ACCESSES) {
    const outside: number[] = [], subject = new GrantedMemory(guest.memory, grant, (at) => outside.push(at));
    const buffer = new Uint8Array(sizeBytes).fill(0xee);
    const what = `${JSON.stringify(grant)}: ${address} + ${sizeBytes}`;
    assertEquals(subject.contains(address, sizeBytes), allowed, what);
    if (allowed) {
      subject.read(address, buffer);
      assert(buffer.every((byte, index) => byte === ((address + index - START) >> 12)), what);
      subject.write(address, buffer);
    } else {
      assertThrows(() => subject.read(address, buffer), RangeError);
      assertThrows(() => subject.write(address, buffer), RangeError);
      // What is granted and is no memory is not outside.
      if (grant === "none" || grant === PART) assertEquals(outside, [address, address, address], what);
      else assertEquals(outside, [], what);
      assert(buffer.every((byte) => byte === 0xee), what);
    }
  }
  const all = new Uint8Array(16 * PAGE_SIZE);
  guest.memory.read(START, all);
  assert(all.every((byte, index) => byte === index >> 12), "something was written");
});
