/** A vCPU's first state on its way through shared memory. */

import { assertEquals } from "@std/assert";
import { SEGMENT, SREGS } from "../../src/kvm/abi.ts";
import { Registers, SpecialRegisters } from "../../src/kvm/registers.ts";
import { CONTEXT_BYTES, loadContext, storeContext } from "../../src/domain/xen_context.ts";
import type { HvmVcpuContext } from "../../src/hypercall/vcpu_context.ts";

const GENERAL = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "rip", "rflags"] as const;
const CONTROL = ["cr0", "cr3", "cr4", "efer"] as const;

Deno.test("what is stored is what is loaded, limits in bytes, and the rest stays", () => {
  const registers = Object.fromEntries(
    [...GENERAL, ...CONTROL].map((name, index) => [name, 0xffff_8000_0000_0000n + BigInt(index)]),
  ) as HvmVcpuContext["registers"];
  const data = { base: 0x1000, limit: 0xfffff, attributes: 0xc93 };
  const segments = {
    cs: { ...data, attributes: 0xa9b },
    ds: data,
    ss: data,
    es: data,
    tr: { base: 0, limit: 0x67, attributes: 0x8b },
  };
  const view = new DataView(new ArrayBuffer(CONTEXT_BYTES)),
    general = new Registers(),
    special = new SpecialRegisters();
  general.set("r8", 8n);
  storeContext(view, { registers, segments });
  loadContext(view, general, special);
  assertEquals(GENERAL.map((name) => general.get(name)), GENERAL.map((name) => registers[name]));
  assertEquals(CONTROL.map((name) => special.get(name)), CONTROL.map((name) => registers[name]));
  assertEquals(general.get("r8"), 8n);
  const loaded = new DataView(special.bytes.buffer), { cs, es, tr } = SREGS;
  assertEquals([cs, es].map((at) => loaded.getBigUint64(at + SEGMENT.base, true)), [0x1000n, 0x1000n]);
  assertEquals([cs, tr].map((at) => loaded.getUint32(at + SEGMENT.limit, true)), [0xffff_ffff, 0x67]);
  assertEquals(loaded.getUint8(cs + SEGMENT.l), 1);
});
