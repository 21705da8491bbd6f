import { assertEquals, assertThrows } from "@std/assert";
import type { Vm } from "../../src/kvm/vm.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { PAGE_SIZE, SUPERPAGE_SIZE } from "../../src/memory/address.ts";
import { MachineMemory } from "../../src/memory/bank.ts";
import { P2m, P2M_INVALID, P2M_TYPE, p2mMemory, p2mMfn, p2mType } from "../../src/memory/p2m.ts";
import { SecondStage } from "../../src/memory/second_stage.ts";
import { mappingsIn } from "../linux/process.ts";

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
  using machine = new MachineMemory();
  using table = p2mMemory();
  const p2m = new P2m(table.address), slots: Slot[] = [];
  using stage = new SecondStage(fakeVm(slots), p2m);
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
  using machine = new MachineMemory();
  using table = p2mMemory();
  const p2m = new P2m(table.address), slots: Slot[] = [];
  const stage = new SecondStage(fakeVm(slots, SUPERPAGE_SIZE), p2m);
  const bank = machine.allocate("stage-test", SUPERPAGE_SIZE / PAGE_SIZE, 1);
  stage.mapRam(0, SUPERPAGE_SIZE, bank, 0);
  assertThrows(() => stage.mapRam(SUPERPAGE_SIZE, SUPERPAGE_SIZE, bank, 0), Error, "refused");
  assertEquals(p2m.lookup(SUPERPAGE_SIZE / PAGE_SIZE), P2M_INVALID);
  const [{ host }] = slots;
  stage[Symbol.dispose]();
  assertEquals(mappingsIn(host, SUPERPAGE_SIZE).filter(({ line }) => line.includes("stage-test")), []);
});
