/** Frames of another bank in the middle of RAM, under a guest that looks at them all the time. */

import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import { EXIT } from "../../src/kvm/abi.ts";
import { Kvm } from "../../src/kvm/kvm.ts";
import { Registers } from "../../src/kvm/registers.ts";
import { RunPage } from "../../src/kvm/run_page.ts";
import { EINVAL } from "../../src/linux/errno.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { PAGE_SIZE, SUPERPAGE_SIZE } from "../../src/memory/address.ts";
import type { Bank } from "../../src/memory/bank.ts";
import { GuestAddressError, GuestMemory } from "../../src/memory/guest_memory.ts";
import { GuestRam } from "../../src/memory/guest_ram.ts";
import { P2M_TYPE, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import { SecondStage } from "../../src/memory/second_stage.ts";
import { KVM, testWith } from "../support/capabilities.ts";
import { spinUntil, Thread } from "../linux/threads.ts";
import { TestStage } from "./test_stage.ts";

/** 256 KiB from gfn 0x40 on, of the 2 MiB of RAM; the guest looks at 64 KiB on either side, too. */
const FIRST = 0x40, PAGES = 64, LOOKED_AT = { first: 0x30, end: 0x90 } as const, RAM_PAGES = 512;

/** What both ends of a page hold: the gfn's low byte, then whose page it is. */
const OWN = 0xa0, OTHER = 0xb0;

const CODE = 0x1000, STOP = 0x500, SEEN_OTHER = 0x501, SEEN_OWN = 0x502, ROUNDS = 0x508, FOUND = 0x510;

/**
 * 16-bit code: looks at the first and the last-but-one word of each page, again and again until byte STOP is set; ends
 * with 0, or with 1 at anything that is neither RAM's own nor, from 0x40 to 0x7f, the other's.
 */
const GUEST = "b80030 8ec0 268b1e0000 268b0efe0f 38e3 7552 38e1 754e 3d0040 7227 3d0080 7322 80ffa0 740c 80ffb0 753a " +
  "c606010501 eb05 c606020501 80fda0 7411 80fdb0 740c eb22 80ffa0 751d 80fda0 7518 050001 3d0090 72ae 66ff060805 " +
  "803e000500 749f b000 e6f4 a31005 891e1205 890e1405 b001 e6f4";

function fill(bank: Bank, gfn: number, pages: number, whose: number): void {
  const words = new DataView(bank.directmap.buffer);
  for (let page = 0; page < pages; page++) {
    for (const at of [0, PAGE_SIZE - 2]) words.setUint16(page * PAGE_SIZE + at, whose << 8 | (gfn + page) & 0xff, true);
  }
}

/** RAM of 2 MiB with the guest in it, and a bank to put in its middle. */
class Replaced implements Disposable {
  readonly #stack = new DisposableStack();
  readonly test = this.#stack.use(new TestStage());
  readonly #vm = this.#stack.use(this.#stack.use(Kvm.open()).createVm());
  readonly stage = this.#stack.use(new SecondStage(this.#vm, this.test.map));
  readonly ram = this.test.machine.allocate("replaced-ram", RAM_PAGES, 1);
  readonly other = this.test.machine.allocate("replaced-other", PAGES + 8, 1);
  readonly guestRam = new GuestRam(this.test.map, this.test.banks);
  readonly bytes = new DataView(this.ram.directmap.buffer);

  constructor(onDemand: boolean) {
    this.stage.mapRam(0, SUPERPAGE_SIZE, this.ram, 0, onDemand);
    fill(this.ram, 0, RAM_PAGES, OWN);
    fill(this.other, FIRST, PAGES, OTHER);
    const code = Uint8Array.fromHex(GUEST.replaceAll(" ", ""));
    new Uint8Array(this.ram.directmap.buffer).set(code, CODE);
  }

  /** A vCPU at the guest's code. */
  vcpu() {
    const vcpu = this.#stack.use(this.#vm.createVcpu(0)),
      special = vcpu.specialRegisters(),
      registers = new Registers();
    const flat = { base: 0, limit: 0xffff, codeOrData: true, db: false, long: false, granularity: false };
    special.setSegment("cs", { ...flat, selector: 0, type: 11 });
    vcpu.setSpecialRegisters(special);
    registers.set("rip", BigInt(CODE));
    registers.set("rflags", 2n);
    vcpu.setRegisters(registers);
    return vcpu;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

testWith(
  [KVM],
  "256 KiB in the middle of 2 MiB are replaced page by page under the guest, and its neighbours stay",
  async () => {
    using subject = new Replaced(false);
    const { guestRam, other, test, bytes } = subject, vcpu = subject.vcpu(), run = new RunPage(vcpu.runPage.buffer);
    using shared = Mapping.anonymous(PAGE_SIZE, "thread id");
    const module = new URL("../kvm/kick_threads.ts", import.meta.url).href;
    using carrier = new Thread<number>(module, "enter", vcpu.descriptor.number, shared.address);
    const rounds = () => bytes.getUint32(ROUNDS, true);
    spinUntil("the guest looks", () => rounds() > 0);
    for (let round = 0; round < 20; round++) {
      assertEquals(guestRam.replace(FIRST, PAGES, other.firstMfn), 0);
      assertEquals(other.frameTable.references, PAGES);
      const after = rounds();
      spinUntil("the guest sees it", () => rounds() > after + 1 || bytes.getUint16(FOUND, true) !== 0);
      assertEquals(guestRam.restore(FIRST, PAGES), 0);
      assertEquals(other.frameTable.references, 0);
    }
    bytes.setUint8(STOP, 1);
    assertEquals(await carrier.result, 0);
    assertEquals([run.reason, run.data(run.ioDataOffset, 1)], [EXIT.IO, 0], foundAt(bytes));
    assertEquals([bytes.getUint8(SEEN_OTHER), bytes.getUint8(SEEN_OWN)], [1, 1]);
    assertGreater(rounds(), 20);
    for (let gfn = LOOKED_AT.first; gfn < LOOKED_AT.end; gfn++) {
      const entry = test.p2m.lookup(gfn);
      assertEquals([p2mType(entry), p2mMfn(entry)], [P2M_TYPE.RAM_RW, subject.ram.firstMfn + gfn]);
    }
  },
);

function foundAt(bytes: DataView): string {
  const words = [0, 2, 4].map((at) => `0x${bytes.getUint16(FOUND + at, true).toString(16)}`);
  return `segment, first and last word: ${words.join(", ")}`;
}

for (const onDemand of [false, true]) {
  const kind = onDemand ? "RAM that is populated on demand" : "RAM";
  testWith([KVM], `what replaces ${kind} is nobody's to look at, and RAM's own memory comes back as it was`, () => {
    using subject = new Replaced(onDemand);
    const { guestRam, other, test } = subject,
      memory = new GuestMemory(test.p2m, test.banks, (gfn) => guestRam.touch(gfn));
    memory.write(FIRST * PAGE_SIZE, Uint8Array.of(1, 2, 3));
    assertEquals(guestRam.replace(FIRST, 2, other.firstMfn + 3), 0);
    const entry = test.p2m.lookup(FIRST + 1);
    assertEquals([p2mType(entry), p2mMfn(entry)], [P2M_TYPE.GRANT_MAP_RW, other.firstMfn + 4]);
    assertThrows(() => memory.read(FIRST * PAGE_SIZE, new Uint8Array(3)), GuestAddressError, "device model's memory");
    assertEquals(guestRam.decrease(FIRST, 1), 0, "it cannot be given back while something else is there");
    assertEquals(guestRam.replace(FIRST, 1, other.firstMfn), 0, "it can be replaced by a third");
    assertEquals([other.frameTable.references, other.frameTable.referencesTo(other.firstMfn)], [2, 1]);
    assertEquals(guestRam.restore(FIRST, 2), 0);
    const bytes = new Uint8Array(3);
    memory.read(FIRST * PAGE_SIZE, bytes);
    assertEquals([[...bytes], other.frameTable.references], [[1, 2, 3], 0]);
    assertEquals(guestRam.restore(FIRST, 1), EINVAL, "nothing is there instead of it any more");
    for (
      const [gfn, count, mfn] of [[RAM_PAGES - 1, 2, other.firstMfn], [RAM_PAGES, 1, other.firstMfn], [FIRST, 1, 7]]
    ) {
      assertEquals(guestRam.replace(gfn, count, mfn), EINVAL);
    }
    assertEquals(guestRam.replace(FIRST, PAGES + 9, other.firstMfn), EINVAL, "more than the bank has");
    assert(other.frameTable.references === 0);
  });
}
