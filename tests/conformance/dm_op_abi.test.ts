/** src/dm/protocol.ts against Xen's public header: Xen's operations have its structures, member for member. */

import { assert, assertEquals } from "@std/assert";
import { HEADER, type Layout, MAX_REQUEST_BYTES, NO_GFNS, OPERATIONS } from "../../src/dm/protocol.ts";
import { evaluate, testUnless, whyNoCompiler } from "./c_program.ts";

const PRELUDE = `
#define __XEN_TOOLS__ 1
#include <stddef.h>
#include <xen/xen.h>
#include <xen/event_channel.h>
#include <xen/hvm/dm_op.h>
`;
const missing = await whyNoCompiler(["stdint.h", "xen/xen.h"], "gcc or Xen's headers (libxen-dev)");

const XENS = Object.entries<Layout>(OPERATIONS).filter(([, { op }]) => op < 0x100);

/** Bytes of a member. */
const widths = { u8: 1, u16: 2, u32: 4, u64: 8 } as const;

testUnless(missing, "numbers, sizes and members of Xen's operations are those of dm_op.h", async () => {
  assert(XENS.length >= 13);
  const expressions: Record<string, string> = {}, declared: Record<string, number> = {};
  const declare = (name: string, value: number, expression: string) => {
    declared[name] = value;
    expressions[name] = expression;
  };
  for (const [name, { op, sizeBytes, in: inputs, out }] of XENS) {
    const union = `((struct xen_dm_op *)0)->u.${name}`;
    declare(name, op, `XEN_DMOP_${name}`);
    declare(`${name} size`, sizeBytes, `sizeof(${union})`);
    for (const [field, [offset, width]] of Object.entries({ ...inputs, ...out })) {
      declare(`${name}.${field}`, offset, `(size_t)&${union}.${field} - offsetof(struct xen_dm_op, u)`);
      declare(`${name}.${field} size`, widths[width], `sizeof(${union}.${field})`);
    }
  }
  declare("payload", HEADER.payload, "offsetof(struct xen_dm_op, u)");
  declare("pad", HEADER.pad, "offsetof(struct xen_dm_op, pad)");
  declare("most", MAX_REQUEST_BYTES, "sizeof(struct xen_dm_op)");
  declare("no_gfns", NO_GFNS, "XEN_DMOP_no_gfns");
  assertEquals(declared, await evaluate(["stdint.h"], expressions, PRELUDE));
});

Deno.test("every byte of Xen's structures is a member or padding that must be zero", () => {
  for (const [name, { sizeBytes, zero, in: inputs, out }] of XENS) {
    const covered = new Set<number>();
    const cover = (offset: number, bytes: number) => {
      for (let byte = 0; byte < bytes; byte++) {
        assert(!covered.has(offset + byte), `${name}: byte ${offset + byte} twice`);
        covered.add(offset + byte);
      }
    };
    for (const [offset, width] of Object.values({ ...inputs, ...out })) cover(offset, widths[width]);
    for (const [offset, bytes] of zero) cover(offset, bytes);
    assertEquals(covered.size, sizeBytes, name);
  }
});
