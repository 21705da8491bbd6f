/** src/payload's numbers against <elf.h> and Xen's public header: every one of them. */

import { assert, assertEquals } from "@std/assert";
import * as abi from "../../src/payload/elf_abi.ts";
import { LIVEPATCH_FUNC, LIVEPATCH_FUNC_BYTES, LIVEPATCH_OPAQUE_SIZE } from "../../src/payload/native_functions.ts";
import { evaluate, testUnless, whyNoCompiler } from "./c_program.ts";

const noElf = await whyNoCompiler(["elf.h"], "gcc or the C library's headers");
const noXen = await whyNoCompiler(["stdint.h", "xen/xen.h"], "gcc or Xen's headers (libxen-dev)");

/** Only the hypervisor sees the structure, but the headers that sysctl.h includes would then want the hypervisor's own. */
const PRELUDE = `
#define __XEN_TOOLS__ 1
#include <stddef.h>
#include <xen/xen.h>
#include <xen/domctl.h>
#define __XEN__ 1
#include <xen/sysctl.h>
`;

/** Tables whose entries are constants of that prefix, and those whose entries are offsets in a structure. */
const CONSTANTS = ["SHT", "SHF", "SHN", "STB", "STT", "R_X86_64"] as const;
const STRUCTURES = {
  EHDR: ["Elf64_Ehdr", "e_"],
  SHDR: ["Elf64_Shdr", "sh_"],
  SYM: ["Elf64_Sym", "st_"],
  RELA: ["Elf64_Rela", "r_"],
} as const;
const SIZES = { SHDR_BYTES: "sizeof(Elf64_Shdr)", SYM_BYTES: "sizeof(Elf64_Sym)", RELA_BYTES: "sizeof(Elf64_Rela)" };

testUnless(noElf, "the tables of elf_abi.ts are those of <elf.h>", async () => {
  const expressions: Record<string, string> = { ET_REL: "ET_REL", ...SIZES }, ours: Record<string, number> = {};
  for (const name of Object.keys(expressions) as (keyof typeof SIZES | "ET_REL")[]) ours[name] = abi[name];
  const declare = (name: string, value: number, expression: string) => {
    ours[name] = value;
    expressions[name] = expression;
  };
  for (const prefix of CONSTANTS) {
    for (const [name, value] of Object.entries(abi[prefix])) declare(`${prefix}.${name}`, value, `${prefix}_${name}`);
  }
  for (const [table, [structure, prefix]] of Object.entries(STRUCTURES)) {
    for (const [name, value] of Object.entries(abi[table as keyof typeof STRUCTURES])) {
      declare(`${table}.${name}`, value, `offsetof(${structure}, ${prefix}${name})`);
    }
  }
  // The header of the C library lacks the type that gcc gives .eh_frame (psABI, table 4.12).
  expressions["SHT.X86_64_UNWIND"] = "SHT_LOPROC + 1";
  const tables = Object.entries(abi).flatMap(([name, value]) =>
    typeof value === "object" ? Object.keys(value) : [name]
  );
  assertEquals(Object.keys(ours).length, tables.length, "no number is left out");
  assert(tables.length > 60);
  assertEquals(await evaluate(["stddef.h", "elf.h"], expressions), ours);
});

testUnless(noXen, "struct livepatch_func is Xen's", async () => {
  const names = Object.keys(LIVEPATCH_FUNC).filter((name) => name !== "expected");
  const offsets = names.map((name) => [name, `offsetof(struct livepatch_func, ${name})`]);
  const found = await evaluate(
    ["stdint.h"],
    {
      ...Object.fromEntries(offsets),
      expected: "offsetof(struct livepatch_func, expect.data)",
      size: "sizeof(struct livepatch_func)",
      opaque: "LIVEPATCH_OPAQUE_SIZE",
      flags: "((union { struct livepatch_expectation e; uint8_t b; }){ .e = { .enabled = 1, .len = 5, .rsv = 2 } }).b",
    },
    PRELUDE,
  );
  const sizes = { size: LIVEPATCH_FUNC_BYTES, opaque: LIVEPATCH_OPAQUE_SIZE, flags: 1 | 5 << 1 | 2 << 6 };
  assertEquals(found, { ...LIVEPATCH_FUNC, ...sizes });
});
