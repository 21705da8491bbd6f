/** Payloads for tests. */

import type { Payload } from "../../src/payload/manifest.ts";

/** What SHA-256 gives, as far as anybody looks. */
export const DIGEST = "0123456789abcdef".repeat(4);

/** One of everything. */
export const PAYLOAD: Payload = {
  name: "fix-uart",
  depends: DIGEST,
  again: false,
  description: "A description – in two\nlines",
  author: "Somebody",
  date: "2026-01-02",
  modules: [
    {
      path: "src/devices/uart.ts",
      source: "export const x = 1;\n",
      replaces: DIGEST,
      handOver: "reset",
      functions: [
        { name: "Uart.writeByte", old: DIGEST, new: "f".repeat(64) },
        { name: "added", old: null, new: DIGEST },
        { name: "gone", old: DIGEST, new: null },
      ],
    },
    { path: "payloads/fix-uart/1_helper.js", source: "", replaces: null, handOver: "keep", functions: [] },
  ],
  hooks: { names: ["preApply", "unload"], source: "\ufeffexport function preApply() {}\n// ∀ 𝒳\n" },
  native: [{ name: "loop.o", bytes: new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 0, 255]) }],
};
