import { assertEquals, assertThrows } from "@std/assert";
import type { Vm } from "../../src/kvm/vm.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { type Gfn, PAGE_SIZE, SUPERPAGE_SIZE } from "../../src/memory/address.ts";
import { P2M_INVALID, P2M_TYPE, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import { SecondStage } from "../../src/memory/second_stage.ts";
import { mappingsIn } from "../linux/process.ts";
import { TestStage } from "./test_stage.ts";

interface Slot {
  readonly slot: number;
  readonly address: number;
  readonly sizeBytes: number;
  readonly host: bigint;
}

/** A VM that only remembers its slots, and refuses those that begin at `refused`. */
function fakeVm(slots: Slot[], refused = -1): Vm {
  const setMemoryRegion = (slot: number, address: number, sizeBytes: number, host: bigint) => {
    if (address === refused) throw new Error("refused");
    slots.push({ slot, address, sizeBytes, host });
  };
  return { setMemoryRegion } as Partial<Vm> as Vm;
}

Deno.test("mapRam() shows the guest the bank's frames, in p2m and slot alike, congruent modulo 2 MiB", () => {
  using test = new TestStage();
  const { machine, p2m, map } = test;
  const slots: Slot[] = [];
  using stage = new SecondStage(fakeVm(slots), map);
  const bank = machine.allocate("stage-test", (4 * SUPERPAGE_SIZE) / PAGE_SIZE, 1);
  stage.mapRam(0, 0xa0000, bank, 0);
  stage.mapRam(0x10_0000, 3 * SUPERPAGE_SIZE, bank, 0x10_0000);
  assertEquals(slots.map(({ slot, address, sizeBytes }) => [slot, address, sizeBytes]), [
    [0, 0, 0xa0000],
    [1, 0x10_0000, 3 * SUPERPAGE_SIZE],
  ]);
  const frames = new Uint8Array(bank.directmap.buffer);
  for (const { address, sizeBytes, host } of slots) {
    assertEquals(Number(host % BigInt(SUPERPAGE_SIZE)), address % SUPERPAGE_SIZE);
    for (const offset of [0, sizeBytes - PAGE_SIZE]) {
      const gfn = (address + offset) / PAGE_SIZE, entry = p2m.lookup(gfn);
      assertEquals(p2mType(entry), P2M_TYPE.RAM_RW);
      new Uint8Array(viewAt(host + BigInt(offset), PAGE_SIZE))[9] = gfn & 0xff | 1;
      assertEquals(frames[(p2mMfn(entry) - bank.firstMfn) * PAGE_SIZE + 9], gfn & 0xff | 1);
    }
  }
  assertEquals([0xa0, 0xff, 0x100 + 3 * 512].map((gfn) => p2m.lookup(gfn)), [P2M_INVALID, P2M_INVALID, P2M_INVALID]);
});

Deno.test("mapRam() that the VM refuses maps nothing in the p2m, and dispose() unmaps all host addresses", () => {
  using test = new TestStage();
  const { machine, p2m, map } = test;
  const slots: Slot[] = [];
  const stage = new SecondStage(fakeVm(slots, SUPERPAGE_SIZE), map);
  const bank = machine.allocate("stage-test", SUPERPAGE_SIZE / PAGE_SIZE, 1);
  stage.mapRam(0, SUPERPAGE_SIZE, bank, 0);
  assertThrows(() => stage.mapRam(SUPERPAGE_SIZE, SUPERPAGE_SIZE, bank, 0), Error, "refused");
  assertEquals(p2m.lookup(SUPERPAGE_SIZE / PAGE_SIZE), P2M_INVALID);
  const [{ host }] = slots;
  stage[Symbol.dispose]();
  assertEquals(mappingsIn(host, SUPERPAGE_SIZE).filter(({ line }) => line.includes("stage-test")), []);
});

const GFN = 0xfef00 as Gfn, NEXT_GFN = GFN + 1 as Gfn;

Deno.test("mapPage() shows the guest a bank's first page in a slot of its own, beside RAM", () => {
  using test = new TestStage();
  const { machine, p2m, map } = test;
  const slots: Slot[] = [];
  using stage = new SecondStage(fakeVm(slots), map);
  stage.mapRam(0, SUPERPAGE_SIZE, machine.allocate("stage-test", SUPERPAGE_SIZE / PAGE_SIZE, 1), 0);
  const bank = machine.allocate("stage-test", 1, 1);
  stage.mapPage(GFN, bank);
  const { slot, address, sizeBytes, host } = slots[1];
  assertEquals([slot, address, sizeBytes], [1, GFN * PAGE_SIZE, PAGE_SIZE]);
  assertEquals([p2mType(p2m.lookup(GFN)), p2mMfn(p2m.lookup(GFN))], [P2M_TYPE.RAM_RW, bank.firstMfn]);
  new Uint8Array(viewAt(host, PAGE_SIZE))[7] = 77;
  assertEquals(new Uint8Array(bank.directmap.buffer)[7], 77);
  assertEquals(p2m.lookup(NEXT_GFN), P2M_INVALID);
});

Deno.test("unmapPage() takes it out of p2m, VM and address space, and its slot is the next page's", () => {
  using test = new TestStage();
  const { machine, p2m, map } = test;
  const slots: Slot[] = [];
  using stage = new SecondStage(fakeVm(slots), map);
  stage.mapRam(0, SUPERPAGE_SIZE, machine.allocate("stage-test", SUPERPAGE_SIZE / PAGE_SIZE, 1), 0);
  const banks = [GFN, NEXT_GFN].map((gfn) => {
    const bank = machine.allocate("stage-page", 1, 1);
    stage.mapPage(gfn, bank);
    return bank;
  });
  const { host } = slots[1];
  stage.unmapPage(GFN);
  assertEquals(slots.at(-1), { slot: 1, address: GFN * PAGE_SIZE, sizeBytes: 0, host });
  assertEquals([p2m.lookup(GFN), p2mMfn(p2m.lookup(NEXT_GFN))], [P2M_INVALID, banks[1].firstMfn]);
  assertEquals(mappingsIn(host, PAGE_SIZE).filter(({ line }) => line.includes("stage-page")), []);
  for (let round = 0; round < 3; round++) {
    stage.mapPage(GFN, banks[0]);
    assertEquals([slots.at(-1)?.slot, slots.at(-1)?.sizeBytes], [1, PAGE_SIZE]);
    stage.unmapPage(GFN);
  }
  stage.mapRam(0x10_0000 * 8, PAGE_SIZE, banks[0], 0);
  assertEquals(slots.at(-1)?.slot, 1, "RAM takes a slot that is free, too");
});

Deno.test("unmapPage() refuses what mapPage() has not given there, RAM included", () => {
  using test = new TestStage();
  const { machine, p2m, map } = test;
  const slots: Slot[] = [];
  using stage = new SecondStage(fakeVm(slots), map);
  stage.mapRam(0, SUPERPAGE_SIZE, machine.allocate("stage-test", SUPERPAGE_SIZE / PAGE_SIZE, 1), 0);
  stage.mapPage(GFN, machine.allocate("stage-test", 1, 1));
  stage.unmapPage(GFN);
  const before = slots.length;
  for (const gfn of [0, GFN, NEXT_GFN] as Gfn[]) {
    assertThrows(() => stage.unmapPage(gfn), RangeError, `gfn 0x${gfn.toString(16)} is no page of its own`);
  }
  assertEquals([slots.length, p2mType(p2m.lookup(0))], [before, P2M_TYPE.RAM_RW]);
});

Deno.test("mapPage() that the VM refuses leaves nothing: no p2m entry, no mapping, and the slot free", () => {
  using test = new TestStage();
  const { machine, p2m, map } = test;
  const slots: Slot[] = [];
  using stage = new SecondStage(fakeVm(slots, GFN * PAGE_SIZE), map);
  const bank = machine.allocate("stage-refused", 1, 1);
  const mappings = () =>
    Deno.readTextFileSync("/proc/self/maps").split("\n").filter((line) => line.includes("stage-refused"));
  const before = mappings().length;
  assertThrows(() => stage.mapPage(GFN, bank), Error, "refused");
  assertEquals([p2m.lookup(GFN), mappings().length], [P2M_INVALID, before]);
  assertThrows(() => stage.unmapPage(GFN), RangeError);
  stage.mapPage(NEXT_GFN, bank);
  assertEquals(slots.map(({ slot }) => slot), [0]);
});

Deno.test("unmapPage() that the VM refuses can be tried again", () => {
  using test = new TestStage();
  const { machine, p2m, map } = test;
  let refusing = false;
  const vm = {
    setMemoryRegion() {
      if (refusing) throw new Error("refused");
    },
  } as unknown as Vm;
  using stage = new SecondStage(vm, map);
  const bank = machine.allocate("stage-test", 1, 1);
  stage.mapPage(GFN, bank);
  refusing = true;
  assertThrows(() => stage.unmapPage(GFN), Error, "refused");
  refusing = false;
  stage.unmapPage(GFN);
  assertEquals(p2m.lookup(GFN), P2M_INVALID);
});

Deno.test("dispose() unmaps the pages that are still there", () => {
  using test = new TestStage();
  const { machine, map } = test;
  const slots: Slot[] = [], stage = new SecondStage(fakeVm(slots), map);
  for (const gfn of [GFN, NEXT_GFN]) stage.mapPage(gfn, machine.allocate("stage-left", 1, 1));
  stage.unmapPage(GFN);
  const [, { host }] = slots;
  stage[Symbol.dispose]();
  assertEquals(mappingsIn(host, PAGE_SIZE).filter(({ line }) => line.includes("stage-left")), []);
});
