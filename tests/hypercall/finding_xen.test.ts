/** How a guest finds Xen: CPUID leaves and the hypercall page. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { CpuidTable } from "../../src/kvm/cpuid.ts";
import { CPUID_ENTRY, SIZE } from "../../src/kvm/abi.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { nanoseconds, xenLeaves } from "../../src/hypercall/cpuid_leaves.ts";
import { hypercallPage } from "../../src/hypercall/hypercall_page.ts";

const LEAF = 0x4000_0000;

/** The words that CPUID answers, by leaf and subleaf. */
function answers(table: CpuidTable): Map<string, number[]> {
  const view = new DataView(table.bytes.buffer);
  return new Map(Array.from({ length: table.length }, (_, entry) => {
    const get = (field: number) => view.getUint32(SIZE.kvm_cpuid2 + entry * SIZE.kvm_cpuid_entry2 + field, true);
    const { eax, ebx, ecx, edx } = CPUID_ENTRY;
    return [`${get(CPUID_ENTRY.function).toString(16)}.${get(CPUID_ENTRY.index)}`, [eax, ebx, ecx, edx].map(get)];
  }));
}

Deno.test("Xen's leaves take the place of KVM's, and say who, which version, which vCPU and which domain", () => {
  const table = new CpuidTable(32), view = new DataView(table.bytes.buffer);
  view.setUint32(0, 3, true);
  [1, LEAF, LEAF + 1].forEach((leaf, entry) => {
    view.setUint32(SIZE.kvm_cpuid2 + entry * SIZE.kvm_cpuid_entry2, leaf, true);
    view.setUint32(SIZE.kvm_cpuid2 + entry * SIZE.kvm_cpuid_entry2 + CPUID_ENTRY.eax, 7, true);
  });
  const regions = [{ address: 2 ** 32, sizeBytes: 2 ** 30 }, { address: 0x1ff_0000_0000, sizeBytes: 0x1_0000_0000 }];
  table.setHypervisor(xenLeaves(5, 1, 2_600_000, regions));
  const found = answers(table);
  assertEquals(found.get("1.0"), [7, 0, 0, 0]);
  const [eax, ...signature] = found.get("40000000.0")!;
  assertEquals(eax, LEAF + 4);
  assertEquals(new TextDecoder().decode(new Uint8Array(Uint32Array.from(signature).buffer)), "XenVMMXenVMM");
  assertEquals(found.get("40000001.0"), [0x4_0011, 0, 0, 0]);
  assertEquals(found.get("40000002.0"), [1, LEAF, 0, 0]);
  assertEquals(found.get("40000003.0")![2], 2_600_000);
  assertEquals(found.get("40000003.2"), [2_600_000, 0, 0, 0]);
  assertEquals(found.get("40000004.0"), [0x58, 5, 1, 0]);
  const [ourLast, ...ourSignature] = found.get("40000200.0")!;
  assertEquals(ourLast, 0x4000_0201);
  assertEquals(new TextDecoder().decode(new Uint8Array(Uint32Array.from(ourSignature).buffer)), "XenolithXeno");
  assertEquals(found.get("40000201.0"), [1, 2, 0, 0]);
  assertEquals(found.get("40000201.1"), [0x10_0000, 0, 0x4_0000, 0]);
  assertEquals(found.get("40000201.2"), [0x1ff0_0000, 0, 0x10_0000, 0]);
  assertEquals(table.length, 1 + 7 + 4);
});

Deno.test("ticks become nanoseconds by the fraction and the shift, whatever the frequency is", () => {
  const property = fc.property(fc.integer({ min: 1000, max: 10_000_000 }), (tscKhz) => {
    const { fraction, shift } = nanoseconds(tscKhz);
    assert(fraction >= 2 ** 31 - 1 && fraction < 2 ** 32);
    const second = tscKhz * 1000 * 2 ** shift * (fraction / 2 ** 32);
    assert(Math.abs(second - 1e9) < 2, `${second} ns in a second`);
  });
  fc.assert(property);
});

Deno.test("the hypercall page has a stub of 32 bytes for each number, which ends the run of whoever calls iret", () => {
  const page = hypercallPage();
  assertEquals(page.length, PAGE_SIZE);
  for (const number of [0, 12, 17, 29, 41, 127]) {
    const stub = Array.from(page.subarray(number * 32, number * 32 + 9));
    assertEquals(stub, [0xb8, number, 0, 0, 0, 0xe7, 0xe8, 0xc3, 0xcc]);
  }
  assertEquals(Array.from(page.subarray(23 * 32, 23 * 32 + 2)), [0x0f, 0x0b]);
});
