/** Makes one module of a file and what it imports from outside src, with esbuild. */

import type { BuildFailure, Plugin } from "esbuild";
import { EINVAL } from "../linux/errno.ts";
import { fileUrl } from "../machine/files.ts";
import { type Resolver, specifierBetween } from "./imports.ts";
import { PayloadError } from "./payload_error.ts";

/** A module made of several files. */
export interface Bundle {
  readonly source: string;
  readonly exports: readonly string[];
}

/**
 * Bundles. What lies in the tree stays outside; its imports are relative to `place`, a path from the root.
 *
 * @throws {PayloadError} EINVAL: what esbuild says, its first error; ENOENT: an import that leads nowhere
 */
export async function bundle(file: URL, place: string, resolver: Resolver): Promise<Bundle> {
  const { build, stop } = await import("esbuild");
  let refused: PayloadError | undefined;
  const tree: Plugin = {
    name: "tree",
    setup: ({ onResolve }) =>
      onResolve({ filter: /.*/ }, async ({ path, importer, kind }) => {
        if (kind === "entry-point") return {};
        try {
          const target = await resolver.resolve(path, fileUrl(importer), place);
          if ("file" in target) return { path: decodeURIComponent(target.file.pathname) };
          return { external: true, path: "bare" in target ? target.bare : specifierBetween(place, target.path) };
        } catch (error) {
          if (error instanceof PayloadError) refused = error;
          throw error;
        }
      }),
  };
  try {
    const { outputFiles, metafile } = await build({
      entryPoints: [decodeURIComponent(file.pathname)],
      bundle: true,
      write: false,
      metafile: true,
      format: "esm",
      target: "esnext",
      platform: "neutral",
      absWorkingDir: "/",
      outdir: "/",
      tsconfigRaw: { compilerOptions: { useDefineForClassFields: true } },
      logLevel: "silent",
      plugins: [tree],
    });
    return { source: outputFiles[0].text, exports: Object.values(metafile.outputs)[0].exports };
  } catch (error) {
    throw refused ?? failure(file, error);
  } finally {
    await stop();
  }
}

function failure(file: URL, error: unknown): unknown {
  const first = (error as Partial<BuildFailure>).errors?.[0];
  if (first === undefined) return error;
  const at = first.location === null ? "" : `:${first.location.line}:${first.location.column + 1}`;
  return new PayloadError(EINVAL, `${decodeURIComponent(file.pathname)}${at}: ${first.text}`);
}
