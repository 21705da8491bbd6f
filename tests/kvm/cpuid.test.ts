import { assertEquals } from "@std/assert";
import { CpuidTable } from "../../src/kvm/cpuid.ts";

type Leaf = [leaf: number, index: number, flags: number, eax: number, ebx: number, ecx: number, edx: number];

const TSC_DEADLINE = 1 << 24, X2APIC = 1 << 21, HYPERVISOR = 1 << 31, HTT = 1 << 28;

/** A table as KVM_GET_SUPPORTED_CPUID would fill it. */
function tableOf(leaves: readonly Leaf[], capacity = 16): CpuidTable {
  const table = new CpuidTable(capacity), view = new DataView(table.bytes.buffer);
  view.setUint32(0, leaves.length, true);
  leaves.forEach((leaf, index) =>
    leaf.forEach((word, field) => view.setUint32(8 + index * 40 + field * 4, word, true))
  );
  return table;
}

function leavesOf(table: CpuidTable): Leaf[] {
  const view = new DataView(table.bytes.buffer);
  return Array.from(
    { length: table.length },
    (_, index) => Array.from({ length: 7 }, (_, field) => view.getUint32(8 + index * 40 + field * 4, true)) as Leaf,
  );
}

const LEAF_1: Leaf = [1, 0, 0, 0x306c3, 0x07_20_18_00, TSC_DEADLINE | 5, HTT | 3];

Deno.test("a new table offers KVM its capacity and room for so many entries", () => {
  const table = new CpuidTable(256);
  assertEquals([table.length, table.bytes.length], [256, 8 + 256 * 40]);
});

Deno.test("forVcpu() gives leaf 1 the vCPU's APIC id, the number of vCPUs, and what the host's local APIC can", () => {
  const table = tableOf([[0, 0, 0, 1, 2, 3, 4], LEAF_1]);
  const [leaf0, leaf1] = leavesOf(table.forVcpu(3, 4, true));
  assertEquals(leaf0, [0, 0, 0, 1, 2, 3, 4]);
  assertEquals(leaf1, [1, 0, 0, 0x306c3, 0x03_04_18_00, (TSC_DEADLINE | X2APIC | HYPERVISOR | 5) >>> 0, HTT | 3]);
  const [, alone] = leavesOf(table.forVcpu(0, 1, false));
  assertEquals(alone, [1, 0, 0, 0x306c3, 0x00_01_18_00, (X2APIC | HYPERVISOR | 5) >>> 0, 3]);
  assertEquals(leavesOf(table)[1], LEAF_1, "the table itself is as KVM gave it");
});

Deno.test("forVcpu() says in leaves 0xb and 0x1f: one thread a core, all cores in one package, the id in edx", () => {
  for (const leaf of [0xb, 0x1f]) {
    for (const [id, vcpus, shift] of [[0, 1, 0], [1, 2, 1], [2, 3, 2], [3, 4, 2], [4, 5, 3], [300, 1000, 10]]) {
      const given: Leaf[] = [[leaf, 0, 1, 9, 9, 9, 9], [leaf, 1, 1, 9, 9, 9, 9]];
      assertEquals(leavesOf(tableOf(given).forVcpu(id, vcpus, false)), [
        [leaf, 0, 1, 0, 1, 0x100, id],
        [leaf, 1, 1, shift, vcpus, 0x201, id],
        [leaf, 2, 1, 0, 0, 2, id],
      ]);
    }
  }
});

Deno.test("forVcpu() invents no leaves that KVM does not have, and writes none beyond the table", () => {
  assertEquals(leavesOf(tableOf([[0, 0, 0, 1, 2, 3, 4]]).forVcpu(1, 2, true)), [[0, 0, 0, 1, 2, 3, 4]]);
  const full = tableOf([[0xb, 0, 1, 0, 0, 0, 0]], 1).forVcpu(1, 2, false);
  assertEquals(leavesOf(full), [[0xb, 0, 1, 0, 1, 0x100, 1]]);
});
