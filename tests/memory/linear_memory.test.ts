/** LinearMemory against KVM's own walk: random page tables in every mode (XENOLITH_PROPERTY_RUNS runs); and its own rules. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { KVM as IOCTL, SIZE, TRANSLATION } from "../../src/kvm/abi.ts";
import { Kvm } from "../../src/kvm/kvm.ts";
import type { Descriptor } from "../../src/linux/descriptor.ts";
import { type Gfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { BankViews, MachineMemory } from "../../src/memory/bank.ts";
import { GuestMemory } from "../../src/memory/guest_memory.ts";
import { LinearMemory, type PagingMode } from "../../src/memory/linear_memory.ts";
import { P2m, P2M_TYPE, p2mMemory } from "../../src/memory/p2m.ts";
import { KVM, testWith } from "../support/capabilities.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);

const PE = 1, WP = 1 << 16, PG = (1 << 31) >>> 0, PSE = 1 << 4, PAE = 1 << 5, SMAP = 1 << 21, AC = 1 << 18;
const LME_LMA = 0x500;

/** Control registers of each way to translate; tables begin at frame 1. */
const MODES: Record<string, PagingMode> = {
  none: { cr0: PE, cr3: 0, cr3High: 0, cr4: 0, efer: 0, rflags: 2 },
  "32-bit": { cr0: PE | PG, cr3: 0x1000, cr3High: 0, cr4: PSE, efer: 0, rflags: 2 },
  PAE: { cr0: PE | PG, cr3: 0x1020, cr3High: 0, cr4: PAE, efer: 0, rflags: 2 },
  "64-bit": { cr0: PE | PG, cr3: 0x1000, cr3High: 0, cr4: PAE, efer: LME_LMA, rflags: 2 },
};

/** Frames that are tables, one after the other, and all that there are. */
const TABLES = 6, FRAMES = 64;

/** RAM from address 0 on, and the walker on it. */
class Machine implements Disposable {
  readonly #machine = new MachineMemory();
  readonly #table = p2mMemory();
  readonly bank = this.#machine.allocate("linear-test", FRAMES, 1);
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  readonly linear: LinearMemory;
  readonly p2m = new P2m(this.#table.address);

  constructor() {
    this.p2m.map(0 as Gfn, this.bank.firstMfn, FRAMES, P2M_TYPE.RAM_RW);
    const banks = new BankViews(this.#machine.tableAddress);
    this.linear = new LinearMemory(new GuestMemory(this.p2m, banks), banks);
    this.bytes = banks.bytes(banks.find(this.bank.firstMfn));
    this.view = new DataView(this.bytes.buffer);
  }

  /** An entry of 8 bytes: frame and flags. */
  entry(table: number, index: number, frame: number, flags: number): void {
    this.view.setBigUint64(table * PAGE_SIZE + index * 8, BigInt(frame * PAGE_SIZE + flags), true);
  }

  [Symbol.dispose](): void {
    this.#table[Symbol.dispose]();
    this.#machine[Symbol.dispose]();
  }
}

const flags = fc.constantFrom(0, 1, 3, 5, 7, 7, 7, 0x27, 0x67);

/** An entry by 32 bits: a table, a page, or a large page in the first 4 GiB. */
function entryOf(level: number): fc.Arbitrary<number> {
  const small = fc.tuple(fc.integer({ min: 1, max: TABLES }), flags).map(([frame, flag]) => frame * PAGE_SIZE + flag);
  const large = fc.tuple(fc.integer({ min: 0, max: 3 }), flags).map(([at, flag]) => at * 2 ** 30 + flag + 0x80);
  return level === 2 || level === 3 ? fc.oneof(small, large) : small;
}

testWith([KVM], "LinearMemory.translate() finds what KVM finds, whatever the tables say", () => {
  using kvm = Kvm.open();
  using vm = kvm.createVm();
  vm.createInterruptControllers();
  using vcpu = vm.createVcpu(0);
  vcpu.setCpuid(kvm.supportedCpuid().forVcpu(0, 1, false));
  using machine = new Machine();
  vm.setMemoryRegion(0, 0, FRAMES * PAGE_SIZE, machine.bank.directmap.address);
  const indexes = fc.array(fc.constantFrom(0, 1, 2, 255, 256, 510, 511), { minLength: 5, maxLength: 5 });
  const levels = fc.tuple(entryOf(1), entryOf(2), entryOf(3), entryOf(4));
  const property = fc.property(
    fc.constantFrom(...Object.keys(MODES)),
    indexes,
    levels,
    fc.nat(PAGE_SIZE - 1),
    (name, chosen, [one, two, three, four], inPage) => {
      const mode = MODES[name];
      machine.bytes.fill(0, 0, (TABLES + 1) * PAGE_SIZE);
      const linear = setTables(machine, name, chosen, [one, two, three, four], inPage);
      const special = vcpu.specialRegisters();
      for (const register of ["cr0", "cr3", "cr4", "efer"] as const) {
        special.set(register, BigInt(mode[register] >>> 0));
      }
      vcpu.setSpecialRegisters(special);
      // A KVM that runs long mode only leaves the bit out without a word.
      if ((Number(vcpu.specialRegisters().get("cr0")) ^ mode.cr0) & PG) return;
      machine.linear.use(mode);
      const low = Number(linear & 0xffff_ffffn), high = Number(linear >> 32n);
      const found = translate(vcpu.descriptor, linear);
      // Not every processor has pages of 1 GiB.
      if (found < 0 && name === "64-bit" && (three & 0x80) !== 0) return;
      assertEquals(machine.linear.translate(low, high, false), found, name);
    },
  );
  fc.assert(property, { numRuns: RUNS });
});

/** KVM_TRANSLATE: the guest-physical address of a linear one, or -1 if it is not mapped. */
function translate(vcpu: Descriptor, linear: bigint): number {
  const request = new DataView(new ArrayBuffer(SIZE.kvm_translation));
  request.setBigUint64(TRANSLATION.linear_address, linear, true);
  vcpu.ioctl(IOCTL.TRANSLATE, "KVM_TRANSLATE", request);
  if (request.getUint8(TRANSLATION.valid) === 0) return -1;
  return Number(request.getBigUint64(TRANSLATION.physical_address, true));
}

/** Tables at frames 1 to 4, from the highest level down. @returns an address that they translate */
function setTables(machine: Machine, mode: string, at: number[], entries: number[], inPage: number): bigint {
  const [one, two, three, four] = entries,
    link = (entry: number, table: number) => (entry & 0xfff & ~0x80) | (table << 12);
  const put = (table: number, index: number, entry: number) =>
    machine.view.setBigUint64(table * PAGE_SIZE + index * 8, BigInt(entry), true);
  const isLarge = (entry: number) => (entry & 0x80) !== 0;
  switch (mode) {
    case "none":
      return BigInt(at[0] * PAGE_SIZE + inPage);
    case "32-bit": {
      const directory = isLarge(two) ? two : link(two, 2);
      machine.view.setUint32(PAGE_SIZE + at[1] * 4, directory, true);
      machine.view.setUint32(2 * PAGE_SIZE + at[0] * 4, one, true);
      return BigInt(at[1] * 2 ** 22 + at[0] * PAGE_SIZE + inPage);
    }
    case "PAE": {
      const top = at[2] & 3;
      machine.view.setBigUint64(0x1020 + top * 8, BigInt(0x2000 + (three & 1)), true);
      put(2, at[1], isLarge(two) ? two : link(two, 3));
      put(3, at[0], one);
      return BigInt(top * 2 ** 30 + at[1] * 2 ** 21 + at[0] * PAGE_SIZE + inPage);
    }
    default: {
      put(1, at[3], link(four, 2));
      put(2, at[2], isLarge(three) ? three : link(three, 3));
      put(3, at[1], isLarge(two) ? two : link(two, 4));
      put(4, at[0], one);
      const address = (BigInt(at[3]) << 39n) + BigInt(at[2] * 2 ** 30 + at[1] * 2 ** 21 + at[0] * PAGE_SIZE + inPage);
      return BigInt.asUintN(64, BigInt.asIntN(48, address));
    }
  }
}

/** Address 0 to 3 pages: the page of `flags` at frame 8, a read-only one, one of the user, and one that is not there. */
function fourPages(machine: Machine): void {
  for (const level of [1, 2, 3]) machine.entry(level, 0, level + 1, 7);
  [3, 1, 7, 0].forEach((flag, index) => machine.entry(4, index, 8 + index, flag));
}

Deno.test("LinearMemory copies over pages, and stops at the first that is not there or must not be written to", () => {
  using machine = new Machine();
  fourPages(machine);
  const { linear } = machine, mode = { ...MODES["64-bit"], cr0: PE | PG | WP };
  linear.use(mode);
  const bytes = new Uint8Array(300).map((_, index) => index);
  for (const size of [1, 8, 63, 64, 65, 300]) {
    machine.bytes.fill(0, 8 * PAGE_SIZE);
    const start = PAGE_SIZE - Math.ceil(size / 2), first = Math.ceil(size / 2);
    assertEquals(linear.write(start, 0, bytes, 0, size), size === 1 ? 1 : first, `${size} into a read-only page`);
    linear.use({ ...mode, cr0: PE | PG });
    assertEquals(linear.write(start, 0, bytes, 0, size), size, "without WP a supervisor may write anywhere");
    linear.use(mode);
    const back = new Uint8Array(size + 1);
    assertEquals(linear.read(start, 0, back, 1, size), size);
    assertEquals(back.subarray(1), bytes.subarray(0, size));
  }
  assertEquals(linear.read(3 * PAGE_SIZE - 2, 0, bytes, 0, 8), 2);
  assertEquals(linear.read(0, 0x8000, bytes, 0, 1), 0, "not canonical");
  assertEquals(linear.read(0xffff_ffff, 0xffff_ffff, bytes, 0, 2), 0, "over the end");
});

Deno.test("LinearMemory keeps away from pages of the user where SMAP says so, unless AC is set", () => {
  using machine = new Machine();
  fourPages(machine);
  const at = 2 * PAGE_SIZE, mode = { ...MODES["64-bit"], cr4: PAE | SMAP };
  machine.linear.use(mode);
  assertEquals(machine.linear.translate(at, 0, false), -1);
  assertEquals(machine.linear.translate(0, 0, false), 8 * PAGE_SIZE);
  machine.linear.use({ ...mode, rflags: AC });
  assertEquals(machine.linear.translate(at, 0, false), 10 * PAGE_SIZE);
});

Deno.test("LinearMemory marks what it uses as accessed, and what it writes to as dirty", () => {
  using machine = new Machine();
  fourPages(machine);
  machine.linear.use(MODES["64-bit"]);
  const bits = (table: number, index: number) => machine.view.getUint8(table * PAGE_SIZE + index * 8) & 0x60;
  assert(machine.linear.translate(0, 0, false) >= 0);
  assertEquals([1, 2, 3, 4].map((table) => bits(table, 0)), [0x20, 0x20, 0x20, 0x20]);
  assert(machine.linear.translate(0, 0, true) >= 0);
  assertEquals([1, 2, 3, 4].map((table) => bits(table, 0)), [0x20, 0x20, 0x20, 0x60]);
  assertEquals(machine.linear.translate(3 * PAGE_SIZE, 0, true), -1);
  assertEquals(bits(4, 3), 0);
});

Deno.test("LinearMemory finds no tables outside of memory", () => {
  using machine = new Machine();
  machine.linear.use({ ...MODES["64-bit"], cr3: FRAMES * PAGE_SIZE });
  assertEquals(machine.linear.translate(0, 0, false), -1);
  machine.linear.use({ ...MODES["64-bit"], cr3High: 1 });
  assertEquals(machine.linear.translate(0, 0, false), -1);
  machine.linear.use(MODES["64-bit"]);
  machine.view.setBigUint64(PAGE_SIZE, 0x000f_ffff_ffff_f003n, true);
  assertEquals(machine.linear.translate(0, 0, false), -1);
});
