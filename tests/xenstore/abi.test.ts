/** src/xenstore/abi.ts against xen/io/xs_wire.h, as Debian's libxen-dev installs it. */

import { assertEquals } from "@std/assert";
import * as abi from "../../src/xenstore/abi.ts";
import { evaluate, testUnless, whyNoCompiler } from "../conformance/c_program.ts";

const PRELUDE = `#include <stddef.h>
#include <errno.h>
#include <string.h>
#include <xen/io/xs_wire.h>
`;
const missing = await whyNoCompiler(["stdint.h", "errno.h", "xen/io/xs_wire.h"], "gcc or Xen's headers (libxen-dev)");

/** The C side of each exported table, by its keys. */
const TABLES: Record<string, (key: string) => string> = {
  MESSAGE: (key) => `XS_${key}`,
  HEADER: (key) => `offsetof(struct xsd_sockmsg, ${key})`,
  INTERFACE: (key) => `offsetof(struct xenstore_domain_interface, ${key})`,
  FEATURE: (key) => `XENSTORE_SERVER_FEATURE_${key}`,
  CONNECTION: (key) => `XENSTORE_${key}`,
  RING_ERROR: (key) => `XENSTORE_ERROR_${key}`,
};

/** The C side of each exported number. */
const NUMBERS: Record<string, string> = {
  HEADER_BYTES: "sizeof(struct xsd_sockmsg)",
  PAYLOAD_MAX: "XENSTORE_PAYLOAD_MAX",
  ABS_PATH_MAX: "XENSTORE_ABS_PATH_MAX",
  REL_PATH_MAX: "XENSTORE_REL_PATH_MAX",
  RING_BYTES: "XENSTORE_RING_SIZE",
  INTERFACE_BYTES: "sizeof(struct xenstore_domain_interface)",
};

const declared = Object.entries(abi).filter(([name]) => name !== "ERROR_NAMES").flatMap(([name, value]) =>
  typeof value === "number"
    ? [{ name, value, expression: NUMBERS[name] }]
    : Object.entries(value).map(([key, value]) => ({ name: `${name}.${key}`, value, expression: TABLES[name]?.(key) }))
);

Deno.test("every export of xenstore/abi.ts has a counterpart in C", () => {
  assertEquals(declared.filter(({ expression }) => expression === undefined).map(({ name }) => name), []);
});

testUnless(missing, "every number of xenstore/abi.ts is that of xs_wire.h", async () => {
  const expressions = Object.fromEntries(declared.map(({ name, expression }) => [name, expression]));
  assertEquals(
    Object.fromEntries(declared.map(({ name, value }) => [name, value])),
    await evaluate(["stdint.h"], expressions, PRELUDE),
  );
});

testUnless(missing, "the types of messages are all that xs_wire.h has, and the fields have 32 bits", async () => {
  const known = Object.keys(abi.MESSAGE).length;
  const width = (field: string) => `sizeof(((struct xenstore_domain_interface *)0)->${field})`;
  const { types, ...widths } = await evaluate(["stdint.h"], {
    types: "XS_TYPE_COUNT",
    type: "sizeof(((struct xsd_sockmsg *)0)->type)",
    req: width("req"),
    rsp: width("rsp"),
    ...Object.fromEntries(
      Object.keys(abi.INTERFACE).filter((field) => !/^re[qs]$|^rsp$/.test(field)).map((field) => [field, width(field)]),
    ),
  }, PRELUDE);
  assertEquals(types, known + 1, "all but 20");
  const { req, rsp, ...words } = widths;
  assertEquals([req, rsp], [abi.RING_BYTES, abi.RING_BYTES]);
  assertEquals(new Set(Object.values(words)), new Set([4]));
});

testUnless(missing, "the names of errors are those of xs_wire.h, in its order", async () => {
  const expressions = Object.fromEntries(
    abi.ERROR_NAMES.map((name, index) => [name, `strcmp(xsd_errors[${index}].errstring, "${name}")`]),
  );
  const count = await evaluate(["stdint.h"], {
    ...expressions,
    count: "sizeof(xsd_errors) / sizeof(xsd_errors[0])",
  }, PRELUDE);
  assertEquals(count, {
    ...Object.fromEntries(abi.ERROR_NAMES.map((name) => [name, 0])),
    count: abi.ERROR_NAMES.length,
  });
});
