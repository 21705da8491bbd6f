/** The sources that the hypervisor runs from, as payloads see them: the tree, and what payloads put over it. */

import { EOPNOTSUPP } from "../linux/errno.ts";
import { sha256 } from "./digest.ts";
import type { Payload } from "./manifest.ts";
import { PayloadError } from "./payload_error.ts";

/** From this file's folder. */
const ROOT = "../../";

/** The tree that this program runs from. */
export const PROGRAM_ROOT = new URL(ROOT, import.meta.url);

/**
 * The hypervisor's build-id: SHA-256 over a line for each src/**\/*.ts, sorted by path, as sha256sum(1) writes it.
 *
 * @param root a directory, with a slash at its end
 * @returns 64 hexadecimal digits
 * @throws {PayloadError} EOPNOTSUPP: there are no sources; the program is a bundle
 */
export async function buildIdOf(root: URL): Promise<string> {
  const paths = await sourcesIn(root);
  const lines = paths.sort().map(async (path) => {
    return `${await sha256(await Deno.readFile(new URL(path, root)))}  ${path}\n`;
  });
  return await sha256((await Promise.all(lines)).join(""));
}

/**
 * The paths of all src/**\/*.ts from the root, in no order.
 * @throws {PayloadError} EOPNOTSUPP: there are no sources; the program is a bundle
 */
export async function sourcesIn(root: URL): Promise<string[]> {
  try {
    return await modulesIn(root, "src/");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new PayloadError(EOPNOTSUPP, "the program runs from a bundle, which has no modules to replace");
  }
}

async function modulesIn(root: URL, folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, root))) {
    if (isDirectory) found.push(...await modulesIn(root, `${folder}${name}/`));
    else if (name.endsWith(".ts")) found.push(folder + name);
  }
  return found;
}

/** A tree of sources with payloads over it. Does not change: {@linkcode with} gives another. */
export class SourceTree {
  readonly #replaced: ReadonlyMap<string, string>;

  /** @param root a directory, with a slash at its end */
  constructor(readonly root: URL = PROGRAM_ROOT, replaced: ReadonlyMap<string, string> = new Map()) {
    this.#replaced = replaced;
  }

  /** The same with one more payload on top. */
  with(payload: Payload): SourceTree {
    const modules = payload.modules.map(({ path, source }) => [path, source] as const);
    return new SourceTree(this.root, new Map([...this.#replaced, ...modules]));
  }

  /** Whether there is a module at that path: one of src, or one that a payload brings along. */
  async has(path: string): Promise<boolean> {
    return this.#replaced.has(path) || path.startsWith("src/") && await this.read(path) !== undefined;
  }

  /** The text of a module by its path from the root; undefined: there is none. */
  async read(path: string): Promise<string | undefined> {
    const replaced = this.#replaced.get(path);
    if (replaced !== undefined) return replaced;
    try {
      return await Deno.readTextFile(new URL(path, this.root));
    } catch (error) {
      const { NotFound, IsADirectory, NotADirectory } = Deno.errors;
      if ([NotFound, IsADirectory, NotADirectory].some((kind) => error instanceof kind)) return undefined;
      throw error;
    }
  }
}
