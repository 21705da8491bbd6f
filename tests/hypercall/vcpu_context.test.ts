/** readContext: which first state of a vCPU Xen takes, and what comes of it. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { VCPU_HVM_CONTEXT, VCPU_HVM_X86_32, VCPU_HVM_X86_64 } from "../../src/hypercall/abi/hvm_vcpu.ts";
import { readContext } from "../../src/hypercall/vcpu_context.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 500);
const ALLOWED = { cr4: 0xffff_ffff, efer: 0xd01 };
const PG = 1n << 31n, LME = 1n << 8n, LMA = 1n << 10n;

const FLAT = {
  eip: 0x1000n,
  cr0: 1n,
  cs_limit: 0xffff_ffffn,
  ds_limit: 0xffff_ffffn,
  ss_limit: 0xffff_ffffn,
  es_limit: 0xffff_ffffn,
  tr_limit: 0x67n,
  cs_ar: 0xc9an,
  ds_ar: 0xc92n,
  ss_ar: 0xc92n,
  es_ar: 0xc92n,
  tr_ar: 0x89n,
} as const;
const LONG = { rip: 0xffff_8000_0000_1000n, cr0: PG, cr4: 0x20n, efer: LME } as const;

type Fields32 = Partial<Record<Exclude<keyof typeof VCPU_HVM_X86_32, "bytes">, bigint>>;
type Fields64 = Partial<Record<Exclude<keyof typeof VCPU_HVM_X86_64, "bytes">, bigint>>;

function structure(mode: number): DataView {
  const view = new DataView(new ArrayBuffer(VCPU_HVM_CONTEXT.bytes));
  view.setUint32(VCPU_HVM_CONTEXT.mode, mode, true);
  return view;
}

function narrow(fields: Fields32): DataView {
  const view = structure(0);
  for (const [name, value] of Object.entries({ ...FLAT, ...fields })) {
    const at = VCPU_HVM_CONTEXT.cpu_regs + VCPU_HVM_X86_32[name as keyof Fields32];
    if (name === "efer") view.setBigUint64(at, value, true);
    else if (name.endsWith("_ar") || name === "pad2") view.setUint16(at, Number(value), true);
    else view.setUint32(at, Number(value), true);
  }
  return view;
}

function wide(fields: Fields64): DataView {
  const view = structure(1);
  for (const [name, value] of Object.entries({ ...LONG, ...fields })) {
    view.setBigUint64(VCPU_HVM_CONTEXT.cpu_regs + VCPU_HVM_X86_64[name as keyof Fields64], value, true);
  }
  return view;
}

Deno.test("readContext() takes a 32-bit state as it is, with segments that are used", () => {
  const context = readContext(narrow({ eax: 1n, esp: 0xffff_fff0n, eflags: 0xffff_ffffn, cr3: 0x5000n }), ALLOWED)!;
  const { rax, rsp, rip, rflags, cr0, cr3, efer } = context.registers;
  assertEquals([rax, rsp, rip, rflags, cr0, cr3, efer], [1n, 0xffff_fff0n, 0x1000n, 0x3f_7fd7n, 1n, 0x5000n, 0n]);
  const { cs, ds, tr } = context.segments;
  assertEquals(cs, { base: 0, limit: 0xffff_ffff, attributes: 0xc9b });
  assertEquals(ds, { base: 0, limit: 0xffff_ffff, attributes: 0xc93 });
  assertEquals(tr, { base: 0, limit: 0x67, attributes: 0x8b });
});

Deno.test("readContext() takes a 64-bit state with the segments of long mode, in long mode at once", () => {
  const context = readContext(wide({ rdi: 2n ** 64n - 1n, rflags: 0n }), ALLOWED)!;
  assertEquals([context.registers.rdi, context.registers.rflags], [2n ** 64n - 1n, 2n]);
  assertEquals(context.registers.efer, LME | LMA);
  assertEquals(context.segments.cs, { base: 0, limit: 0xffff_ffff, attributes: 0xa9b });
  assertEquals(context.segments.ss, { base: 0, limit: 0xffff_ffff, attributes: 0xc93 });
  assertEquals(context.segments.tr, { base: 0, limit: 0x67, attributes: 0x8b });
});

const TAKEN_32: Record<string, Fields32> = {
  "null ds and es": { ds_ar: 0n, es_ar: 0n },
  "readable code as data": { ds_ar: 0xc9an },
  "a busy TSS": { tr_ar: 0x8bn },
  "all at level 3": { cs_ar: 0xcfan, ss_ar: 0xcf2n, ds_ar: 0xcf2n },
  "data of a lower level": { cs_ar: 0xcfan, ss_ar: 0xcf2n },
  "eip at the limit": { cs_ar: 0x49an, cs_limit: 0xfffn, eip: 0xfffn },
  "eip at a limit in pages": { cs_limit: 0n, eip: 0xfffn },
  "compatibility mode": { efer: LME | LMA, cr0: PG | 1n, cr4: 0x20n },
};
const REFUSED_32: Record<string, Fields32> = {
  "pad1": { pad1: 0x1_0000n },
  "pad2": { pad2: 1n },
  "bits 12-15 of attributes": { ds_ar: 0x1c92n },
  "a null cs": { cs_ar: 0n },
  "a null ss": { ss_ar: 0n },
  "a null tr": { tr_ar: 0n },
  "a segment that is not present": { ds_ar: 0xc12n },
  "a system descriptor as cs": { cs_ar: 0xc8an },
  "a system descriptor as ds": { ds_ar: 0xc82n },
  "data as cs": { cs_ar: 0xc92n },
  "code as ss": { ss_ar: 0xc9an },
  "a read-only ss": { ss_ar: 0xc90n },
  "code that cannot be read as es": { es_ar: 0xc98n },
  "code as tr": { tr_ar: 0x9bn },
  "a 16-bit TSS": { tr_ar: 0x81n },
  "eip behind the limit": { cs_ar: 0x49an, cs_limit: 0xfffn },
  "levels of cs and ss that differ": { ss_ar: 0xcf2n },
  "ds of a higher level": { ds_ar: 0xcf2n },
  "es of a higher level": { es_ar: 0xcf2n },
  "LMA without LME": { efer: LMA },
  "an unknown bit of efer": { efer: 2n },
  "a high bit of efer": { efer: 1n << 40n },
};
const REFUSED_64: Record<string, Fields64> = {
  "rip that is not canonical": { rip: 0x8000_0000_0000n },
  "rip that is nearly canonical": { rip: 0xffff_0000_0000_0000n },
  "no paging": { cr0: 1n },
  "no PAE": { cr4: 0n },
  "no LME": { efer: LMA },
  "a high bit of cr4": { cr4: 0x20n | 1n << 32n },
  "an unknown bit of efer": { efer: LME | 1n << 12n },
};

Deno.test("readContext() takes what a processor would run in 32-bit mode", () => {
  for (const [what, fields] of Object.entries(TAKEN_32)) assert(readContext(narrow(fields), ALLOWED), what);
});

Deno.test("readContext() refuses what Xen refuses", () => {
  for (const [what, fields] of Object.entries(REFUSED_32)) {
    assertEquals(readContext(narrow(fields), ALLOWED), undefined, what);
  }
  for (const [what, fields] of Object.entries(REFUSED_64)) {
    assertEquals(readContext(wide(fields), ALLOWED), undefined, what);
  }
  for (const mode of [2, 0xffff_ffff]) assertEquals(readContext(structure(mode), ALLOWED), undefined);
  const padded = wide({});
  padded.setUint32(VCPU_HVM_CONTEXT.pad, 1, true);
  assertEquals(readContext(padded, ALLOWED), undefined);
  assertEquals(readContext(wide({}), { ...ALLOWED, cr4: 0 }), undefined);
});

Deno.test("readContext() answers anything", () => {
  const bytes = fc.uint8Array({ minLength: 128, maxLength: 128 });
  fc.assert(
    fc.property(fc.nat(2), bytes, (mode, bytes) => {
      const view = new DataView(Uint8Array.from(bytes).buffer);
      view.setUint32(0, mode, true);
      view.setUint32(4, 0, true);
      const context = readContext(view, ALLOWED);
      assert(context === undefined || (context.registers.rflags & 2n) === 2n);
    }),
    { numRuns: RUNS },
  );
});
