/** `deno task bundle [OUTPUT]`: all of `run` and `doctor` in one file, dist/xenolith.js, which needs nothing but Deno. */

import { build, type Plugin, stop } from "esbuild";
import configuration from "../../deno.json" with { type: "json" };

const ROOT = new URL("../../", import.meta.url);
const OUTPUT = Deno.args[0] ?? "dist/xenolith.js";

/**
 * What Deno fetches when it is needed: the disassembler brings WebAssembly of 2 MB and serves only when a guest dies, the
 * others build payloads.
 */
const FETCHED = ["iced-x86", "esbuild", "@babel/parser"] as const;

/** Deno's names for modules, as deno.json gives them; and the bundle's own place of the Workers. */
const names: Plugin = {
  name: "names",
  setup({ onResolve }) {
    const tools = new URL("../std/", import.meta.url).pathname;
    onResolve({ filter: /^@std\// }, ({ path }) => ({ path: `${tools}${path.slice("@std/".length)}.ts` }));
    onResolve({ filter: /^npm:/ }, ({ path }) => ({ path: new URL(import.meta.resolve(path)).pathname }));
    onResolve({ filter: /worker_urls\.ts$/ }, () => ({ path: new URL("worker_urls.ts", import.meta.url).pathname }));
    for (const name of FETCHED) {
      onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: configuration.imports[name], external: true }));
    }
  },
};

const result = await build({
  entryPoints: [new URL("entry.ts", import.meta.url).pathname],
  outfile: new URL(OUTPUT, ROOT).pathname,
  bundle: true,
  format: "esm",
  target: "esnext",
  platform: "neutral",
  minify: true,
  legalComments: "none",
  external: ["node:*"],
  plugins: [names],
  metafile: true,
  logLevel: "warning",
});
await stop();
const [{ bytes }] = Object.values(result.metafile.outputs);
console.error(`${OUTPUT}: ${(bytes / 1024).toFixed(0)} KiB`);
