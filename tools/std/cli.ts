/** `@std/cli` by way of npm, with types (see deno.json). */

// @ts-types="./cli_types.d.ts"
export * from "npm:deno-std@1.4.0/cli/parse_args.js";
