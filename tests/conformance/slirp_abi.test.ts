/** src/devices/slirp.ts against libslirp's header. */

import { assertEquals } from "@std/assert";
import { SLIRP_CALLBACKS, SLIRP_CONFIGURATION, SLIRP_NO_TIMEOUT, SLIRP_POLL } from "../../src/devices/slirp.ts";
import { evaluate, testUnless, whyNoCompiler } from "./c_program.ts";

const HEADERS = ["stddef.h", "stdint.h", "slirp/libslirp.h"];
const missing = await whyNoCompiler(HEADERS, "gcc or libslirp's headers (Debian: libslirp-dev)");

testUnless(missing, "every number of slirp.ts is that of libslirp's header", async () => {
  const offsets = Object.entries(SLIRP_CONFIGURATION).filter(([name]) => name !== "bytes");
  const expected = {
    ...Object.fromEntries(offsets),
    ...Object.fromEntries(SLIRP_CALLBACKS.map((name, index) => [name, index * 8])),
    ...Object.fromEntries(Object.entries(SLIRP_POLL).map(([name, value]) => [`SLIRP_POLL_${name}`, value])),
    timeout: SLIRP_NO_TIMEOUT,
  };
  const found = await evaluate(HEADERS, {
    ...Object.fromEntries(offsets.map(([name]) => [name, `offsetof(SlirpConfig, ${name})`])),
    ...Object.fromEntries(SLIRP_CALLBACKS.map((name) => [name, `offsetof(SlirpCb, ${name})`])),
    ...Object.fromEntries(Object.keys(SLIRP_POLL).map((name) => [`SLIRP_POLL_${name}`, `SLIRP_POLL_${name}`])),
    timeout: "UINT32_MAX",
  });
  assertEquals(found, expected);
  // Whatever of the structure a version beyond ours has, there is memory for it.
  const { version1 } = await evaluate(HEADERS, { version1: "offsetof(SlirpConfig, enable_emu) + 1" });
  assertEquals(SLIRP_CONFIGURATION.bytes >= version1, true);
});
