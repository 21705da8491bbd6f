/**
 * src/hypercall/abi against Xen's public headers, for 64-bit and for 32-bit callers. The comment on an export says what
 * it is in C: `struct name` for a layout, `PREFIX_*` for a table; a number is the macro of its own name.
 */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { evaluateConstants, macros, testUnless, whyNoCompiler } from "../conformance/c_program.ts";

/** With __XEN_TOOLS__ the headers show all that they have, in the form of their newest interface. */
const HEADERS = [
  "xen.h",
  "version.h",
  "memory.h",
  "event_channel.h",
  "hvm/hvm_op.h",
  "hvm/params.h",
  "hvm/hvm_vcpu.h",
  "vcpu.h",
  "sched.h",
  "io/console.h",
  "grant_table.h",
  "physdev.h",
  "arch-x86/cpuid.h",
  "sysctl.h",
  "domctl.h",
  "platform.h",
];
const PRELUDE = ["#define __XEN_TOOLS__ 1", "#include <stddef.h>", "#include <stdint.h>"]
  .concat(HEADERS.map((header) => `#include <xen/${header}>`)).join("\n");
const missing = await whyNoCompiler(["stdint.h", "xen/xen.h"], "gcc or Xen's headers (libxen-dev)");

/** Exports that no public header has, and where they come from. */
const NOT_PUBLIC: Record<string, string> = {
  HYPERCALL_PORT: "ours",
  OUR_CPUID: "ours",
  REGIONS_LEAF: "ours",
  EXTENDED_REGIONS_VERSION: "ours",
  XENMEM_extended_regions: "ours",
  REGIONS_OP: "ours",
  EXTENDED_REGIONS: "ours",
  EXTENDED_REGION: "ours",
  XEN_VERSION: "ours: what Debian's headers are",
  MAX_EXTENT_ORDER: "CONFIG_DOMU_MAX_ORDER, xen/arch/x86/include/asm/config.h",
  MEMOP_EXTENT_SHIFT: "xen/include/xen/hypercall.h",
  MAX_EXTENTS: "xen/common/memory.c",
  MEMORY_MAP_ENTRY: "struct e820entry, xen/arch/x86/include/asm/e820.h",
  CPUID_LEAF: "only in comments of arch-x86/cpuid.h",
  HYPERCALL_PAGE_MSR: "xen/arch/x86/traps.c; guests read it from CPUID",
  HYPERCALL_STUB_BYTES: "only in comments of arch-x86/xen-x86_64.h and xen-x86_32.h",
};

/** Tables whose names do not follow from their comment. */
const SPECIAL: Record<string, (key: string) => string> = {
  XENVER_BYTES: (key) => `sizeof(${ARRAYS[key]})`,
  XENCONS_RING_BYTES: (key) => `sizeof(((struct xencons_interface *)0)->${key})`,
};
const ARRAYS: Record<string, string> = {
  extraversion: "xen_extraversion_t",
  capabilities: "xen_capabilities_info_t",
  changeset: "xen_changeset_info_t",
  guest_handle: "xen_domain_handle_t",
  commandline: "xen_commandline_t",
};

/** Macros that begin as those of a table do and are no part of it. */
const NOT_MEMBERS: Record<string, RegExp> = {
  __HYPERVISOR_: /^VIRT_/, // Xen's own addresses
  XENFEAT_: /^NR_SUBMAPS$/,
  XENMEM_: /^(resource|paging_op|access_op|sharing_op|SHARING_OP|FORK|RDM)_/, // what the structures of subops hold
  XENMEM_resource_: /_(id|frame)_/,
  HVMOP_: /^altp2m_|^ALTP2M_/, // subops of altp2m
  HVM_PARAM_: /^CALLBACK_(TYPE|IRQ_TYPE)_/, // what CALLBACK_IRQ holds
  SHUTDOWN_: /^MAX$/,
  GNTTABOP_: /^error_msgs$/, // strings
  PHYSDEVOP_: /^DBGP_|^pirq_eoi_gmfn$/, // what the structure of dbgp_op holds; the newer of two under its old name
  XEN_CPUID_: /^(NO_SUBLEAF|INPUT_UNUSED)$/, // of the tools' lists of leaves
};

type Numbers = Readonly<Record<string, number>>;
type Exported = number | bigint | Numbers | { readonly 64: number | Numbers; readonly 32: number | Numbers };

/** An export, and what the comment before it says that it is. */
interface Entry {
  readonly name: string;
  readonly value: Exported;
  readonly structure?: string;
  readonly prefix?: string;
}

const folder = new URL("../../src/hypercall/abi/", import.meta.url);
const files = [...Deno.readDirSync(folder)].map(({ name }) => new URL(name, folder));
const entries = (await Promise.all(files.map(entriesOf))).flat();
const compared = entries.filter(({ name }) => !(name in NOT_PUBLIC));

async function entriesOf(file: URL): Promise<Entry[]> {
  const text = Deno.readTextFileSync(file), exported: Record<string, Exported> = await import(file.href);
  return Object.entries(exported).map(([name, value]) => {
    const comment = new RegExp(`/\\*\\* ((?:(?!\\*/).)*) \\*/\nexport const ${name} =`).exec(text)?.[1] ?? "";
    return {
      name,
      value,
      structure: /^(?:struct|union) \w+/.exec(comment)?.[0],
      prefix: /\b(\w+_)\*/.exec(comment)?.[1],
    };
  });
}

/** An export as callers of one width see it. */
function of(value: Exported, bits: 32 | 64): number | bigint | Numbers {
  return typeof value === "object" && 64 in value
    ? (value as Record<32 | 64, number | Numbers>)[bits]
    : value as Numbers;
}

/** The C side of an export's member; undefined if the comment does not say what it is. */
function expression({ name, structure, prefix }: Entry, key: string, bits: 32 | 64): string | undefined {
  if (name in SPECIAL) return SPECIAL[name](key);
  if (structure === undefined) return prefix && prefix + key;
  if (key === "bytes") return `sizeof(${structure})`;
  if (key === "long") return "sizeof(xen_ulong_t)";
  const inArch = name === "SHARED_INFO" && key === "wc_sec_hi" && bits === 32;
  return `offsetof(${structure}, ${inArch ? "arch.wc_sec_hi" : key})`;
}

/** A number, and its C side if it has one. */
interface Compared {
  readonly name: string;
  readonly value: number | bigint;
  readonly expression?: string;
}

/** Every number that callers of one width see, with its C side. */
function numbers(bits: 32 | 64): Compared[] {
  return compared.flatMap((entry): Compared[] => {
    const value = of(entry.value, bits);
    if (typeof value !== "object") return [{ name: entry.name, value, expression: entry.name }];
    return Object.entries(value).map(([key, value]) => ({
      name: `${entry.name}.${key}`,
      value,
      expression: expression(entry, key, bits),
    }));
  });
}

Deno.test("every export of hypercall/abi has a counterpart in C, or a reason why not, and a name of its own", () => {
  const names = entries.map(({ name }) => name);
  assertEquals(names.length, new Set(names).size);
  assert(compared.length > 150, `${compared.length} exports`);
  assertEquals(numbers(64).filter(({ expression }) => expression === undefined).map(({ name }) => name), []);
  assertEquals([...Object.keys(NOT_PUBLIC), ...Object.keys(SPECIAL)].filter((name) => !names.includes(name)), []);
});

Deno.test("a layout is given by width where the widths differ, and once where they agree", () => {
  const same = entries.filter(({ value }) => typeof value === "object" && 64 in value)
    .filter(({ value }) => JSON.stringify(of(value, 64)) === JSON.stringify(of(value, 32)));
  assertEquals(same.map(({ name }) => name), []);
});

for (const bits of [64, 32] as const) {
  testUnless(missing, `every number and layout for ${bits}-bit callers is that of Xen's headers`, async () => {
    const declared = numbers(bits);
    const expressions = Object.fromEntries(declared.map(({ name, expression }) => [name, expression!]));
    const ours = Object.fromEntries(declared.map(({ name, value }) => [name, BigInt.asIntN(64, BigInt(value))]));
    assertEquals(ours, await evaluateConstants(bits, expressions, PRELUDE));
  });
}

testUnless(missing, "every macro of the headers that belongs to a table is in it", async () => {
  const defined = [...(await macros("xen/xen.h", PRELUDE)).keys()], tables = compared.filter(({ prefix }) => prefix);
  assert(tables.length > 35, `${tables.length} tables`);
  const left = tables.flatMap(({ value, prefix = "" }) =>
    defined.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length))
      .filter((key) => !(key in (value as Numbers)) && !NOT_MEMBERS[prefix]?.test(key)).map((key) => prefix + key)
  );
  const domids = defined.filter((name) => name.startsWith("DOMID_") && !entries.some((entry) => entry.name === name));
  assertEquals([...left, ...domids], []);
});

testUnless(missing, "a name that the headers do not have is an error", async () => {
  const unknown = [
    "XENMEM_no_such_subop",
    "offsetof(struct xen_add_to_physmap, no_such_field)",
    "sizeof(struct xen_no_such_structure)",
  ];
  for (const expression of unknown) {
    await assertRejects(() => evaluateConstants(32, { expression }, PRELUDE), Error, "no_such");
  }
});
