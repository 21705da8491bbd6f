/** The state in which a vCPU begins (VCPUOP_initialise), on its way from the thread that gives it to the one that takes it. */

import type { Registers, SpecialRegisters } from "../kvm/registers.ts";
import type { HvmVcpuContext } from "../hypercall/vcpu_context.ts";

const GENERAL = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "rip", "rflags"] as const;
const CONTROL = ["cr0", "cr3", "cr4", "efer"] as const;
const SEGMENTS = ["cs", "ds", "ss", "es", "tr"] as const;
const SEGMENTS_AT = (GENERAL.length + CONTROL.length) * 8, SEGMENT_BYTES = 12;

/** Of a segment's attributes: type [3:0], S 4, DPL [6:5], P 7, L 9, D/B 10, G 11. */
const S = 1 << 4, L = 1 << 9, DB = 1 << 10, G = 1 << 11;

/** Bytes of a state in shared memory. */
export const CONTEXT_BYTES = SEGMENTS_AT + SEGMENTS.length * SEGMENT_BYTES;

/** Puts it there. */
export function storeContext(view: DataView, { registers, segments }: HvmVcpuContext): void {
  [...GENERAL, ...CONTROL].forEach((name, index) => view.setBigUint64(index * 8, registers[name], true));
  SEGMENTS.forEach((name, index) => {
    const at = SEGMENTS_AT + index * SEGMENT_BYTES, { base, limit, attributes } = segments[name];
    view.setUint32(at, base, true);
    view.setUint32(at + 4, limit, true);
    view.setUint32(at + 8, attributes, true);
  });
}

/** Takes it from there into a vCPU's registers; those that it does not name stay. */
export function loadContext(view: DataView, registers: Registers, special: SpecialRegisters): void {
  GENERAL.forEach((name, index) => registers.set(name, view.getBigUint64(index * 8, true)));
  CONTROL.forEach((name, index) => special.set(name, view.getBigUint64((GENERAL.length + index) * 8, true)));
  SEGMENTS.forEach((name, index) => {
    const at = SEGMENTS_AT + index * SEGMENT_BYTES, attributes = view.getUint32(at + 8, true);
    const limit = view.getUint32(at + 4, true), granularity = (attributes & G) !== 0;
    special.setSegment(name, {
      selector: 0,
      base: view.getUint32(at, true),
      limit: granularity ? ((limit << 12) | 0xfff) >>> 0 : limit,
      type: attributes & 15,
      codeOrData: (attributes & S) !== 0,
      db: (attributes & DB) !== 0,
      long: (attributes & L) !== 0,
      granularity,
    });
  });
}
