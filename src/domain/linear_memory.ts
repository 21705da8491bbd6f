/** A guest's memory by the linear addresses of one of its vCPUs, as its page tables have them at the moment. */

import type { Descriptor } from "../linux/descriptor.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { readRegisters, readSpecialRegisters, translate } from "../kvm/vcpu.ts";
import { PAGE_SIZE } from "../memory/address.ts";
import type { GuestMemory } from "../memory/guest_memory.ts";

/** The longest x86 instruction. */
export const MAX_INSTRUCTION_BYTES = 15;

/** Memory as a vCPU sees it. */
export class LinearMemory {
  constructor(private readonly vcpu: Descriptor, private readonly memory: GuestMemory) {}

  /** Fills `target` page by page, up to the first that is not mapped or not memory. @returns how many bytes */
  read(linear: bigint, target: Uint8Array): number {
    for (let done = 0; done < target.length;) {
      const at = linear + BigInt(done);
      const size = Math.min(target.length - done, PAGE_SIZE - Number(at & BigInt(PAGE_SIZE - 1)));
      const address = this.#physical(at);
      if (address < 0 || !this.memory.contains(address, size)) return done;
      this.memory.read(address, target.subarray(done, done + size));
      done += size;
    }
    return target.length;
  }

  /** An address that is not canonical KVM refuses. */
  #physical(linear: bigint): number {
    try {
      return translate(this.vcpu, linear);
    } catch (error) {
      if (error instanceof LinuxError) return -1;
      throw error;
    }
  }
}

/** Where a vCPU's next instruction is: rip, its linear address, and how wide its code is. @throws {LinuxError} */
export function codePosition(vcpu: Descriptor): { rip: bigint; linear: bigint; bits: 16 | 32 | 64 } {
  const rip = readRegisters(vcpu).get("rip"), special = readSpecialRegisters(vcpu), bits = special.codeBits;
  return { rip, linear: bits === 64 ? rip : (special.base("cs") + rip) & 0xffff_ffffn, bits };
}
