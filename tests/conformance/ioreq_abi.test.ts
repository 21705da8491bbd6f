/** src/ioreq/abi.ts against Xen's public headers, as Debian's libxen-dev installs them. */

import { assertEquals } from "@std/assert";
import * as abi from "../../src/ioreq/abi.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, EPERM } from "../../src/linux/errno.ts";
import { evaluate, testUnless, whyNoCompiler } from "./c_program.ts";

/** dm_op.h shows itself only to tools. */
const PRELUDE = `#define __XEN_TOOLS__ 1
#include <stddef.h>
#include <string.h>
#include <xen/xen.h>
#include <xen/hvm/ioreq.h>
#include <xen/hvm/dm_op.h>
/* What a structure's bit fields make of its bytes. */
static unsigned byte_of(struct ioreq request, int at) { unsigned char b[sizeof request]; memcpy(b, &request, sizeof b); return b[at]; }
`;
const missing = await whyNoCompiler(
  ["stdint.h", "xen/xen.h", "xen/hvm/ioreq.h"],
  "gcc or Xen's headers (libxen-dev)",
);

/** The type of a request without a bit field to take the offset of: the byte that a set field changes. */
const field = (member: string, value: number) => `byte_of((struct ioreq){ .${member} = ${value} }, 30)`;

/** The C side of each exported table, by its keys. */
const TABLES: Record<string, (key: string) => string> = {
  IOREQ: (key) => key === "state" ? "offsetof(struct ioreq, type) - 1" : `offsetof(struct ioreq, ${key})`,
  STATE: (key) => key === "NONE" ? "STATE_IOREQ_NONE" : key === "IORESP_READY" ? `STATE_${key}` : `STATE_IOREQ_${key}`,
  TYPE: (key) => `IOREQ_TYPE_${key}`,
  RANGE: (key) => `XEN_DMOP_IO_RANGE_${key}`,
};

/** The C side of each exported number. */
const NUMBERS: Record<string, string> = {
  IOREQ_BYTES: "sizeof(struct ioreq)",
  STATE_MASK: field("state", 15),
  DATA_IS_PTR: field("data_is_ptr", 1),
  DIR: field("dir", 1),
  DF: field("df", 1),
  DIR_READ: "IOREQ_READ",
  DIR_WRITE: "IOREQ_WRITE",
};

/** Not in the public headers: MAX_NR_IOREQ_SERVERS (asm-x86/hvm/domain.h), MAX_NR_IO_RANGES (common/ioreq.c). */
const NOT_PUBLIC = { MAX_SERVERS: 8, MAX_RANGES: 256 };

const declared = Object.entries(abi).filter(([name]) => !(name in NOT_PUBLIC)).flatMap(([name, value]) =>
  typeof value === "number"
    ? [{ name, value, expression: NUMBERS[name] }]
    : Object.entries(value).map(([key, value]) => ({ name: `${name}.${key}`, value, expression: TABLES[name]?.(key) }))
);

Deno.test("every export of ioreq/abi.ts has a counterpart in C", () => {
  assertEquals(declared.filter(({ expression }) => expression === undefined).map(({ name }) => name), []);
  const exported = Object.keys(abi);
  const named = [...Object.keys(TABLES), ...Object.keys(NUMBERS), ...Object.keys(NOT_PUBLIC)];
  assertEquals(named.filter((name) => !exported.includes(name)), []);
});

Deno.test("the limits of a domain are Xen's", () => {
  assertEquals({ MAX_SERVERS: abi.MAX_SERVERS, MAX_RANGES: abi.MAX_RANGES }, NOT_PUBLIC);
});

testUnless(missing, "every number of ioreq/abi.ts is that of Xen's public headers", async () => {
  const expressions = Object.fromEntries(declared.map(({ name, expression }) => [name, expression]));
  const expected = await evaluate(["stdint.h"], expressions, PRELUDE);
  assertEquals(Object.fromEntries(declared.map(({ name, value }) => [name, value])), expected);
});

testUnless(missing, "the fields of struct ioreq have the widths that IoreqPage reads and writes", async () => {
  const width = (member: string) => `sizeof(((struct ioreq *)0)->${member})`;
  const widths = await evaluate(["stdint.h"], {
    addr: width("addr"),
    data: width("data"),
    count: width("count"),
    size: width("size"),
    vp_eport: width("vp_eport"),
    type: width("type"),
    slots: `${PAGE_SIZE} / sizeof(struct ioreq)`,
  }, PRELUDE);
  assertEquals(widths, { addr: 8, data: 8, count: 4, size: 4, vp_eport: 4, type: 1, slots: 128 });
});

testUnless(missing, "Xen's error numbers for the refusals are those of Linux", async () => {
  const names = { EPERM, ENOENT, ENOMEM, EEXIST, EINVAL, ENOSPC };
  const expressions = Object.fromEntries(Object.keys(names).map((name) => [name, `XEN_${name}`]));
  assertEquals({ ...names }, await evaluate(["stdint.h"], expressions, PRELUDE + "#include <xen/errno.h>\n"));
});
