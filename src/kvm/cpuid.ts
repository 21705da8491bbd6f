/** A guest's CPUID leaves: KVM's table, and what has to be said differently on each vCPU. */

import { CPUID_ENTRY, CPUID_SIGNIFICANT_INDEX, SIZE } from "./abi.ts";

/** Bits of leaf 1 that KVM leaves to user space (KVM API documentation, 4.46). */
const TSC_DEADLINE = 1 << 24, X2APIC = 1 << 21, HYPERVISOR = 1 << 31, HTT = 1 << 28;

/** Leaves in which hypervisors say who they are. */
const HYPERVISOR_LEAVES = 0x4000_0000, HYPERVISOR_LEAVES_END = 0x4001_0000;

const ADDRESS_SIZES = 0x8000_0008;

/** What CPUID answers for a leaf; `index` only where a leaf has several subleaves. */
export interface CpuidLeaf {
  readonly leaf: number;
  readonly index?: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** struct kvm_cpuid2 with its entries. */
export class CpuidTable {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;

  constructor(private readonly capacity: number) {
    this.bytes = new Uint8Array(SIZE.kvm_cpuid2 + capacity * SIZE.kvm_cpuid_entry2);
    this.#view = new DataView(this.bytes.buffer);
    this.#view.setUint32(0, capacity, true);
  }

  /** Entries in use. */
  get length(): number {
    return this.#view.getUint32(0, true);
  }

  /** How wide the guest's physical addresses are (leaf 0x80000008); 36 bits, where that is not said. */
  get addressBits(): number {
    const entry = this.#find(ADDRESS_SIZES, 0);
    return entry < 0 ? 36 : this.#get(entry, CPUID_ENTRY.eax) & 0xff;
  }

  /** A copy with the identity of vCPU `id` of `vcpus`, and the local APIC features that the host has. */
  forVcpu(id: number, vcpus: number, tscDeadline: boolean): CpuidTable {
    const table = new CpuidTable(this.capacity);
    table.bytes.set(this.bytes);
    const leaf1 = table.#find(1, 0);
    if (leaf1 >= 0) {
      const ebx = table.#get(leaf1, CPUID_ENTRY.ebx) & 0xff00;
      table.#set(leaf1, CPUID_ENTRY.ebx, ebx | ((id & 0xff) << 24) | (Math.min(vcpus, 255) << 16));
      const deadline = tscDeadline ? TSC_DEADLINE : 0;
      const ecx = table.#get(leaf1, CPUID_ENTRY.ecx) & ~TSC_DEADLINE;
      table.#set(leaf1, CPUID_ENTRY.ecx, ecx | X2APIC | HYPERVISOR | deadline);
      const edx = table.#get(leaf1, CPUID_ENTRY.edx);
      table.#set(leaf1, CPUID_ENTRY.edx, vcpus > 1 ? edx | HTT : edx & ~HTT);
    }
    for (const leaf of [0xb, 0x1f]) table.#topology(leaf, id, vcpus);
    return table;
  }

  /** Has another hypervisor answer than KVM: these leaves in place of its own. @throws {RangeError} there is no room */
  setHypervisor(leaves: readonly CpuidLeaf[]): void {
    let kept = 0;
    for (let entry = 0; entry < this.length; entry++) {
      const leaf = this.#get(entry, CPUID_ENTRY.function);
      if (leaf >= HYPERVISOR_LEAVES && leaf < HYPERVISOR_LEAVES_END) continue;
      const at = SIZE.kvm_cpuid2 + entry * SIZE.kvm_cpuid_entry2;
      this.bytes.copyWithin(SIZE.kvm_cpuid2 + kept++ * SIZE.kvm_cpuid_entry2, at, at + SIZE.kvm_cpuid_entry2);
    }
    this.bytes.fill(0, SIZE.kvm_cpuid2 + kept * SIZE.kvm_cpuid_entry2);
    this.#view.setUint32(0, kept, true);
    for (const { leaf, index, ...values } of leaves) {
      const entry = this.#append(leaf, index);
      if (entry < 0) throw new RangeError(`more than ${this.capacity} CPUID entries`);
      for (const name of ["eax", "ebx", "ecx", "edx"] as const) this.#set(entry, CPUID_ENTRY[name], values[name]);
    }
  }

  /** Leaves 0xb and 0x1f: one thread a core, all cores in one package, x2APIC id = vCPU id. */
  #topology(leaf: number, id: number, vcpus: number): void {
    const shift = vcpus > 1 ? 32 - Math.clz32(vcpus - 1) : 0;
    const levels = [[0, 1, 1], [shift, vcpus, 2], [0, 0, 0]]; // SMT, core, end
    levels.forEach(([bits, count, type], level) => {
      let entry = this.#find(leaf, level);
      if (entry < 0 && this.#find(leaf, 0) >= 0) entry = this.#append(leaf, level);
      if (entry < 0) return;
      this.#set(entry, CPUID_ENTRY.eax, bits);
      this.#set(entry, CPUID_ENTRY.ebx, count);
      this.#set(entry, CPUID_ENTRY.ecx, level | (type << 8));
      this.#set(entry, CPUID_ENTRY.edx, id);
    });
  }

  /** @returns the new entry, or -1: there is no room */
  #append(leaf: number, index: number | undefined): number {
    const entry = this.length;
    if (entry >= this.capacity) return -1;
    this.#view.setUint32(0, entry + 1, true);
    this.#set(entry, CPUID_ENTRY.function, leaf);
    this.#set(entry, CPUID_ENTRY.index, index ?? 0);
    this.#set(entry, CPUID_ENTRY.flags, index === undefined ? 0 : CPUID_SIGNIFICANT_INDEX);
    return entry;
  }

  #find(leaf: number, index: number): number {
    for (let entry = 0; entry < this.length; entry++) {
      const indexed = (this.#get(entry, CPUID_ENTRY.flags) & CPUID_SIGNIFICANT_INDEX) !== 0;
      if (this.#get(entry, CPUID_ENTRY.function) !== leaf) continue;
      if (!indexed || this.#get(entry, CPUID_ENTRY.index) === index) return entry;
    }
    return -1;
  }

  #get(entry: number, field: number): number {
    return this.#view.getUint32(SIZE.kvm_cpuid2 + entry * SIZE.kvm_cpuid_entry2 + field, true);
  }

  #set(entry: number, field: number, value: number): void {
    this.#view.setUint32(SIZE.kvm_cpuid2 + entry * SIZE.kvm_cpuid_entry2 + field, value, true);
  }
}
