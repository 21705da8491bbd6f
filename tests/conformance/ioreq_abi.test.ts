/** src/ioreq/abi.ts against Xen's public headers, as Debian's libxen-dev installs them. */

import { assertEquals } from "@std/assert";
import * as abi from "../../src/ioreq/abi.ts";
import { BufferedRing } from "../../src/ioreq/buffered_ring.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, EPERM } from "../../src/linux/errno.ts";
import { evaluate, testUnless, whyNoCompiler } from "./c_program.ts";

/** dm_op.h shows itself only to tools. */
const PRELUDE = `#define __XEN_TOOLS__ 1
#include <stddef.h>
#include <string.h>
#include <xen/xen.h>
#include <xen/hvm/ioreq.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/dm_op.h>
#include <xen/memory.h>
/* What a structure's bit fields make of its bytes. */
static unsigned byte_of(struct ioreq request, int at) { unsigned char b[sizeof request]; memcpy(b, &request, sizeof b); return b[at]; }
static unsigned word_of(struct buf_ioreq slot, int at) { unsigned w[sizeof slot / 4]; memcpy(w, &slot, sizeof w); return w[at]; }
`;
const missing = await whyNoCompiler(
  ["stdint.h", "xen/xen.h", "xen/hvm/ioreq.h"],
  "gcc or Xen's headers (libxen-dev)",
);

/** The type of a request without a bit field to take the offset of: the byte that a set field changes. */
const field = (member: string, value: number) => `byte_of((struct ioreq){ .${member} = ${value} }, 30)`;

/** The first word of a slot of the buffered ring in which a field is set. */
const slot = (fields: string) => `word_of((struct buf_ioreq){ ${fields} }, 0)`;
const shift = (member: string) => `__builtin_ctz(${slot(`.${member} = 1`)})`;

/** The C side of each entry of BUFFERED_SLOT. */
const SLOT_FIELDS: Record<string, string> = {
  dirShift: shift("dir"),
  sizeShift: shift("size"),
  addrShift: shift("addr"),
  addrMask: `${slot(".addr = 0xffffffff")} >> ${shift("addr")}`,
};

/** The C side of each exported table, by its keys. */
const TABLES: Record<string, (key: string) => string> = {
  IOREQ: (key) => key === "state" ? "offsetof(struct ioreq, type) - 1" : `offsetof(struct ioreq, ${key})`,
  STATE: (key) =>
    key === "IORESP_RETRY"
      ? "4" /* ours */
      : key === "NONE"
      ? "STATE_IOREQ_NONE"
      : key === "IORESP_READY"
      ? `STATE_${key}`
      : `STATE_IOREQ_${key}`,
  TYPE: (key) => `IOREQ_TYPE_${key}`,
  RANGE: (key) => `XEN_DMOP_IO_RANGE_${key}`,
  BUFIOREQ: (key) => `HVM_IOREQSRV_BUFIOREQ_${key}`,
  BUFFERED_PAGE: (key) => `offsetof(struct buffered_iopage, ${key === "slots" ? "buf_ioreq" : key})`,
  BUFFERED_SLOT: (key) => SLOT_FIELDS[key],
  DM_OP: (key) => `XEN_DMOP_${key}`,
  RESOURCE_FRAME: (key) => `XENMEM_resource_ioreq_server_frame_${key}${key === "ioreq" ? "(0)" : ""}`,
};

/** The C side of each exported number. */
const NUMBERS: Record<string, string> = {
  IOREQ_BYTES: "sizeof(struct ioreq)",
  BUFFERED_SLOTS: "IOREQ_BUFFER_SLOT_NUM",
  BUFFERED_SLOT_BYTES: "sizeof(struct buf_ioreq)",
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

testUnless(missing, "the fields of struct ioreq have the widths that IoreqSlots reads and writes", async () => {
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

testUnless(
  missing,
  "the buffered ring is struct buffered_iopage, and a slot has the bits of Xen's struct buf_ioreq",
  async () => {
    const writes: [type: number, address: number, size: number, low: number][] = [
      [abi.TYPE.PIO, 0, 1, 0],
      [abi.TYPE.COPY, 0xf_ffff, 2, 0xffff],
      [abi.TYPE.COPY, 0xa_1234, 4, 0x8000_0001],
      [abi.TYPE.PIO, 0x80, 8, 0x1234_5678],
      [255, 0x5_5555, 1, 0xaa],
    ];
    const page = new Uint32Array(PAGE_SIZE / 4), ring = new BufferedRing(page.buffer), high = 0x9abc_def0;
    const ours: Record<string, number> = {}, theirs: Record<string, string> = {};
    for (const [index, [type, addr, size, low]] of writes.entries()) {
      const at = abi.BUFFERED_PAGE.slots / 4 + page[1] * 2, halves = size === 8 ? [low, high] : [low];
      ring.push(type, addr, size, low, high, false);
      for (const [half, data] of halves.entries()) {
        const fields = `.type = ${type}, .dir = IOREQ_WRITE, .size = ${
          Math.log2(size)
        }, .addr = ${addr}, .data = ${data}u`;
        for (const word of [0, 1]) {
          const name = `${index}.${half}.${word}`;
          ours[name] = page[at + half * 2 + word];
          theirs[name] = `word_of((struct buf_ioreq){ ${fields} }, ${word})`;
        }
      }
    }
    assertEquals({ ...ours, page: abi.BUFFERED_PAGE.slots + abi.BUFFERED_SLOTS * abi.BUFFERED_SLOT_BYTES }, {
      ...await evaluate(["stdint.h"], { ...theirs, page: "sizeof(struct buffered_iopage)" }, PRELUDE),
    });
  },
);

testUnless(missing, "the n-th ioreq page is the frame of the resource that Xen numbers so", async () => {
  const frame = (page: number) => `XENMEM_resource_ioreq_server_frame_ioreq(${page})`;
  const frames = await evaluate(["stdint.h"], { first: frame(0), last: frame(7) }, PRELUDE);
  assertEquals([frames.first, frames.last], [abi.RESOURCE_FRAME.ioreq, abi.RESOURCE_FRAME.ioreq + 7]);
});

testUnless(missing, "Xen's error numbers for the refusals are those of Linux", async () => {
  const names = { EPERM, ENOENT, ENOMEM, EEXIST, EINVAL, ENOSPC };
  const expressions = Object.fromEntries(Object.keys(names).map((name) => [name, `XEN_${name}`]));
  assertEquals({ ...names }, await evaluate(["stdint.h"], expressions, PRELUDE + "#include <xen/errno.h>\n"));
});
