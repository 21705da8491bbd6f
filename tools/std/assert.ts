/** `@std/assert` by way of npm, with types (see deno.json). */

// @ts-types="./assert_types.d.ts"
export * from "npm:deno-std@1.4.0/assert/mod.js";
