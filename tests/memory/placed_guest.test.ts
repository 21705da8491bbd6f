/** Frames that are placed under a guest that looks at them: in RAM, where nothing is, and where nothing was. */

import { assertEquals } from "@std/assert";
import { EXIT } from "../../src/kvm/abi.ts";
import { Kvm } from "../../src/kvm/kvm.ts";
import { Registers } from "../../src/kvm/registers.ts";
import { RunPage } from "../../src/kvm/run_page.ts";
import type { Vcpu } from "../../src/kvm/vcpu.ts";
import { run } from "../../src/linux/calls.ts";
import { Mapping, pointerTo } from "../../src/linux/mapping.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { GuestRam } from "../../src/memory/guest_ram.ts";
import { PlacedFrames } from "../../src/memory/placed_frames.ts";
import { SecondStage } from "../../src/memory/second_stage.ts";
import { createSpecialFrames } from "../../src/memory/special_frames.ts";
import { KVM, testWith } from "../support/capabilities.ts";
import { TestStage } from "./test_stage.ts";

const RAM_PAGES = 0x60, PAGE = 0x50, HOLE = 0x80, CODE = 0x1000, ONES = 0xff;

/** 16-bit code: adds 1 to the byte at bx:0, locked, and says what it is then: `out 0xf4, al`. */
const GUEST = "8ec3 b001 26f00fc0060000 fec0 e6f4".replaceAll(" ", "");

class PlacedGuest implements Disposable {
  readonly #stack = new DisposableStack();
  readonly test = this.#stack.use(new TestStage());
  readonly #vm = this.#stack.use(this.#stack.use(Kvm.open()).createVm());
  readonly stage = this.#stack.use(new SecondStage(this.#vm, this.test.map));
  readonly ram = this.test.machine.allocate("placed-ram", RAM_PAGES, 1);
  readonly specials = createSpecialFrames(this.test.machine, this.test.table, 1);
  readonly guestRam = new GuestRam(this.test.map, this.test.banks);
  readonly placed = new PlacedFrames(this.test.map, this.test.banks, this.guestRam, this.#vm);
  readonly #clock = pointerTo(this.#stack.use(Mapping.anonymous(PAGE_SIZE, "clock")).address);
  readonly #vcpu: Vcpu;
  readonly #run: RunPage;

  constructor() {
    this.stage.mapRam(0, RAM_PAGES * PAGE_SIZE, this.ram, 0);
    new Uint8Array(this.ram.directmap.buffer).set(Uint8Array.fromHex(GUEST), CODE);
    this.#vcpu = this.#stack.use(this.#vm.createVcpu(0));
    this.#run = new RunPage(this.#vcpu.runPage.buffer);
    const special = this.#vcpu.specialRegisters();
    const flat = { base: 0, limit: 0xffff, codeOrData: true, db: false, long: false, granularity: false };
    special.setSegment("cs", { ...flat, selector: 0, type: 11 });
    this.#vcpu.setSpecialRegisters(special);
  }

  /** The guest adds 1 to the first byte at a gfn. @returns what it is then, or "exits": it has no memory there */
  increment(gfn: number): number | "exits" {
    const registers = new Registers();
    registers.set("rip", BigInt(CODE));
    registers.set("rflags", 2n);
    registers.set("rbx", BigInt(gfn << 8));
    this.#vcpu.setRegisters(registers);
    assertEquals(run(this.#vcpu.descriptor.number, this.#clock), 0);
    if (this.#run.reason === EXIT.MMIO) return "exits";
    assertEquals(this.#run.reason, EXIT.IO);
    return this.#run.data(this.#run.ioDataOffset, 1);
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

testWith([KVM], "a guest finds frames where they are placed, and not where they were", () => {
  using guest = new PlacedGuest();
  const { placed, specials, guestRam } = guest, [first, second] = [specials.firstMfn, specials.firstMfn + 1];
  const bytes = new Uint8Array(specials.directmap.buffer);
  bytes[0] = 0x20;
  bytes[PAGE_SIZE] = 0x40;
  assertEquals([guest.increment(PAGE), placed.place(PAGE, first), guest.increment(PAGE)], [1, 0, 0x21]);
  assertEquals([placed.place(HOLE, first), guest.increment(HOLE), bytes[0]], [0, 0x22, 0x22]);
  assertEquals([guest.increment(PAGE), guestRam.populate(PAGE, 1), guest.increment(PAGE)], [ONES + 1 & 0xff, 1, 1]);
  assertEquals([placed.place(HOLE + 1, second), guest.increment(HOLE + 1), guest.increment(HOLE)], [0, 0x41, 0x23]);
  assertEquals([placed.remove(HOLE), guest.increment(HOLE + 1), guest.increment(HOLE)], [0, 0x42, "exits"]);
  assertEquals([placed.remove(HOLE + 1), guest.test.machine.references], [0, 0]);
});
