import { assert, assertEquals, assertLess, assertNotEquals, assertThrows } from "@std/assert";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { type Mfn, PAGE_SIZE, SUPERPAGE_FRAMES } from "../../src/memory/address.ts";
import { BankViews, MachineMemory, MachineMemoryError, MAX_MFN } from "../../src/memory/bank.ts";
import { openDescriptors, residentGrowth } from "../linux/process.ts";

const MAX_BANKS = 256;

const banksOpen = () => openDescriptors().filter((target) => target.startsWith("/memfd:bank-test")).length;

Deno.test("banks begin at superpages, share no mfn, and leave mfn 0 unused", () => {
  using machine = new MachineMemory();
  const sizes = [1, SUPERPAGE_FRAMES, SUPERPAGE_FRAMES + 1, 3, 2 * SUPERPAGE_FRAMES, 1];
  const banks = sizes.map((frames) => machine.allocate("bank-test", frames, 1));
  assert(banks.every((bank) => bank.firstMfn > 0 && bank.firstMfn % SUPERPAGE_FRAMES === 0));
  for (const one of banks) {
    for (const other of banks) {
      if (one === other) continue;
      assert(one.firstMfn + one.frames <= other.firstMfn || other.firstMfn + other.frames <= one.firstMfn);
    }
  }
  assertEquals(machine.banks, sizes.length);
});

Deno.test("the lowest free run of mfns that is long enough is used again", () => {
  using machine = new MachineMemory();
  const [first, second, third] = [3, 2 * SUPERPAGE_FRAMES, 3].map((frames) => machine.allocate("bank-test", frames, 1));
  second[Symbol.dispose]();
  const big = machine.allocate("bank-test", 3 * SUPERPAGE_FRAMES, 1);
  assert(big.firstMfn > third.firstMfn, "too long for the gap");
  assertEquals(machine.allocate("bank-test", 2 * SUPERPAGE_FRAMES, 1).firstMfn, second.firstMfn);
  first[Symbol.dispose]();
  assertEquals(machine.allocate("bank-test", 1, 1).firstMfn, first.firstMfn);
});

Deno.test("a bank that takes the mfns of another comes zeroed, and its views show it", () => {
  using machine = new MachineMemory();
  const views = new BankViews(machine.tableAddress);
  const old = machine.allocate("bank-test", 4, 1);
  views.bytes(views.find(old.firstMfn)).fill(0xaa);
  old[Symbol.dispose]();
  assertEquals(views.find(old.firstMfn), -1);
  const bank = machine.allocate("bank-test", 8, 1);
  assertEquals(bank.firstMfn, old.firstMfn);
  const bytes = views.bytes(views.find(bank.firstMfn));
  assertEquals(bytes.length, 8 * PAGE_SIZE);
  assertEquals(bytes.every((byte) => byte === 0), true);
});

Deno.test("views follow a bank whose place in the table is another's now, of the same size but elsewhere", () => {
  using machine = new MachineMemory();
  const views = new BankViews(machine.tableAddress);
  const old = machine.allocate("bank-test", 4, 1), oldAddress = old.directmap.address;
  views.bytes(views.find(old.firstMfn)).fill(0xaa);
  old[Symbol.dispose]();
  using squatter = Mapping.anonymous(4 * PAGE_SIZE, "in its place");
  new Uint8Array(squatter.buffer).fill(0xbb);
  const bank = machine.allocate("bank-test", 4, 1);
  assertNotEquals(bank.directmap.address, oldAddress);
  assertEquals(views.bytes(views.find(bank.firstMfn))[0], 0);
});

Deno.test("more banks than the table holds is a typed error that leaks nothing and can be recovered from", () => {
  using machine = new MachineMemory();
  const banks = Array.from({ length: MAX_BANKS }, () => machine.allocate("bank-test", 1, 1));
  const open = banksOpen();
  for (let attempt = 0; attempt < 10; attempt++) {
    assertThrows(() => machine.allocate("bank-test", 1, 1), MachineMemoryError, `more than ${MAX_BANKS} banks`);
  }
  assertEquals([machine.banks, banksOpen()], [MAX_BANKS, open]);
  banks[100][Symbol.dispose]();
  assertEquals(machine.allocate("bank-test", 1, 1).firstMfn, banks[100].firstMfn);
});

Deno.test("more frames than mfns can number is a typed error that leaks nothing", () => {
  using machine = new MachineMemory();
  const open = banksOpen();
  assertThrows(() => machine.allocate("bank-test", MAX_MFN, 1), MachineMemoryError, `${MAX_MFN} frames`);
  assertEquals([machine.banks, banksOpen()], [0, open]);
});

Deno.test("a bank that Linux refuses is its error, and leaks nothing", () => {
  using machine = new MachineMemory();
  const open = banksOpen();
  assertThrows(() => machine.allocate("bank-test", 0, 1), LinuxError, "EINVAL");
  assertThrows(() => machine.allocate(`bank-test-${"x".repeat(300)}`, 1, 1), LinuxError, "EINVAL");
  assertEquals([machine.banks, banksOpen()], [0, open]);
  assertEquals(machine.allocate("bank-test", 1, 1).firstMfn, SUPERPAGE_FRAMES);
});

Deno.test("Bank, disposed twice, takes nothing from the bank that has its place now", () => {
  using machine = new MachineMemory();
  const views = new BankViews(machine.tableAddress);
  const gone = machine.allocate("bank-test", 1, 1);
  gone[Symbol.dispose]();
  const successor = machine.allocate("bank-test", 1, 1);
  gone[Symbol.dispose]();
  assertEquals(machine.banks, 1);
  assert(views.find(successor.firstMfn) >= 0);
});

Deno.test("Bank may be disposed after the machine's memory that it came from", () => {
  const machine = new MachineMemory();
  const bank = machine.allocate("bank-test", 1, 1);
  machine[Symbol.dispose]();
  bank[Symbol.dispose]();
  assertEquals(bank.file.number, -1);
});

Deno.test("MachineMemory.dispose() frees every bank", () => {
  const open = banksOpen();
  {
    using machine = new MachineMemory();
    for (let bank = 0; bank < 5; bank++) machine.allocate("bank-test", 2, 1);
    assertEquals(banksOpen(), open + 5);
  }
  assertEquals(banksOpen(), open);
});

Deno.test("MachineMemory.references sums the references to all banks, and forgets those of a bank that is gone", () => {
  using machine = new MachineMemory();
  const one = machine.allocate("bank-test", 2, 1), other = machine.allocate("bank-test", 2, 1);
  one.frameTable.get(one.firstMfn);
  other.frameTable.get(other.firstMfn);
  other.frameTable.get(other.firstMfn + 1 as Mfn);
  assertEquals(machine.references, 3);
  other[Symbol.dispose]();
  assertEquals(machine.references, 1);
});

Deno.test("MachineMemory.bankOf() knows the bank of every mfn and of nothing else, however many there are", () => {
  using machine = new MachineMemory();
  const banks = Array.from({ length: 100 }, (_, index) => machine.allocate("bank-test", 1 + (index * 37) % 1200, 1));
  const check = () => {
    for (const bank of banks) {
      const inUse = bank.file.number >= 0, end = bank.firstMfn + bank.frames;
      for (const mfn of [bank.firstMfn, bank.firstMfn + bank.frames - 1]) {
        assertEquals(machine.bankOf(mfn), inUse ? bank : undefined);
      }
      if (end % SUPERPAGE_FRAMES !== 0) assertEquals(machine.bankOf(end), undefined);
    }
    for (const nothing of [0, 1, -1, NaN, Infinity, banks[1].firstMfn + 0.5, MAX_MFN, 2 ** 53]) {
      assertEquals(machine.bankOf(nothing), undefined, `mfn ${nothing}`);
    }
  };
  check();
  for (const index of [0, 17, 50, 51, 52, 99]) banks[index][Symbol.dispose]();
  check();
  const successor = machine.allocate("bank-test", 1, 1);
  assertEquals([successor.firstMfn, machine.bankOf(successor.firstMfn)], [banks[0].firstMfn, successor]);
  assertEquals(new Set([...banks, successor].map(({ serial }) => serial)).size, 101);
});

Deno.test("BankViews.find() knows the bank of every mfn and of nothing else", () => {
  using machine = new MachineMemory();
  const views = new BankViews(machine.tableAddress);
  const one = machine.allocate("bank-test", 3, 1), other = machine.allocate("bank-test", SUPERPAGE_FRAMES, 1);
  for (const bank of [one, other]) {
    const index = views.find(bank.firstMfn);
    assert(index >= 0);
    assertEquals(views.find(bank.firstMfn + bank.frames - 1), index);
    assertEquals(views.offset(index, bank.firstMfn + 1), PAGE_SIZE);
    assertEquals(views.bytes(index).length, bank.frames * PAGE_SIZE);
  }
  assert(views.find(one.firstMfn) !== views.find(other.firstMfn));
  for (const mfn of [0, 1, one.firstMfn - 1, one.firstMfn + 3, other.firstMfn + other.frames, NaN, -1, 2 ** 53]) {
    assertEquals(views.find(mfn), -1, `mfn ${mfn}`);
  }
});

Deno.test("two isolates' views of a bank are the same memory", () => {
  using machine = new MachineMemory();
  const bank = machine.allocate("bank-test", 2, 1);
  const one = new BankViews(machine.tableAddress), other = new BankViews(machine.tableAddress);
  one.bytes(one.find(bank.firstMfn))[5000] = 7;
  assertEquals(other.bytes(other.find(bank.firstMfn))[5000], 7);
  assertEquals(new Uint8Array(bank.directmap.buffer)[5000], 7);
});

Deno.test("a bank of 64 GiB with its frame table costs next to nothing until it is touched", () => {
  const growth = residentGrowth(() => {
    const machine = new MachineMemory();
    const bank = machine.allocate("bank-test", 2 ** 36 / PAGE_SIZE, 1);
    bank.frameTable.get(bank.firstMfn + bank.frames - 1 as Mfn);
    return machine;
  });
  assertLess(growth, 4 << 20);
});
