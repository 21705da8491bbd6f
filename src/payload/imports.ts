/** Where the imports of a payload's modules lead, and how they read once the modules stand in the tree. */

import { EINVAL, ENOENT } from "../linux/errno.ts";
import type { ParsedModule } from "./functions.ts";
import { PayloadError } from "./payload_error.ts";
import type { SourceTree } from "./source_tree.ts";

/** What a specifier means: a module of the tree by its path, a file of the author's, or what Deno knows by that name. */
export type Target = { readonly path: string } | { readonly file: URL } | { readonly bare: string };

/** A module's specifiers, each with its place in the text, quotes included. */
export function specifiersOf({ source, tokens }: ParsedModule): { text: string; start: number; end: number }[] {
  return tokens.flatMap(({ type, value, start, end }, index) => {
    const before = (back: number) =>
      index < back ? "" : source.slice(tokens[index - back].start, tokens[index - back].end);
    const imports = before(1) === "from" || before(1) === "import" || (before(1) === "(" && before(2) === "import");
    return type.label === "string" && imports ? [{ text: value as string, start, end }] : [];
  });
}

/** The text with other specifiers. */
export function withSpecifiers(module: ParsedModule, change: (specifier: string) => string): string {
  let text = "", at = 0;
  for (const { text: specifier, start, end } of specifiersOf(module)) {
    const changed = change(specifier);
    text += module.source.slice(at, start) + (changed === specifier ? module.source.slice(start, end) : `"${changed}"`);
    at = end;
  }
  return text + module.source.slice(at);
}

/** How the module at `from` imports the one at `to`; both are paths from the root. */
export function specifierBetween(from: string, to: string): string {
  const folders = from.split("/").slice(0, -1), target = to.split("/");
  let common = 0;
  while (common < folders.length && folders[common] === target[common]) common++;
  const up = folders.length - common;
  return (up === 0 ? "./" : "../".repeat(up)) + target.slice(common).join("/");
}

/** Resolves imports for one payload. */
export class Resolver {
  #names: Record<string, string> | undefined;

  /** @param tree with the payloads below; @param replacing by the URL of the author's file: the path that it stands for */
  constructor(private readonly tree: SourceTree, private readonly replacing: ReadonlyMap<string, string>) {}

  /**
   * @param file the author's file that imports; undefined: the text is the tree's
   * @param place its path from the root, once it is in the tree
   * @throws {PayloadError} ENOENT: there is nothing
   */
  async resolve(specifier: string, file: URL | undefined, place: string): Promise<Target> {
    if (!/^(\.{0,2}\/|file:)/.test(specifier)) return await this.#named(specifier);
    const own = file === undefined ? undefined : new URL(specifier, file);
    const replaced = own && this.replacing.get(own.href);
    if (replaced !== undefined) return { path: replaced };
    if (own !== undefined && await isFile(own)) {
      const path = this.#pathOf(own.href);
      return path.startsWith("src/") ? { path } : { file: own };
    }
    const { href } = new URL(specifier, new URL(place, this.tree.root)), path = this.#pathOf(href);
    if ([...this.replacing.values()].includes(path) || await this.tree.has(path)) return { path };
    throw new PayloadError(ENOENT, `${place}: imports ${specifier}, which is nowhere`);
  }

  /** From the root; "" for what lies outside of the tree. */
  #pathOf(url: string): string {
    const { href } = this.tree.root;
    return url.startsWith(href) ? url.slice(href.length) : "";
  }

  /** Names that deno.json gives to modules of src are paths; Deno resolves the others where the payload runs. */
  async #named(name: string): Promise<Target> {
    this.#names ??= JSON.parse(await this.tree.read("deno.json") ?? "{}").imports ?? {};
    const target = this.#names![name];
    return target?.startsWith("./src/") ? { path: target.slice(2) } : { bare: name };
  }
}

async function isFile(url: URL): Promise<boolean> {
  try {
    return (await Deno.stat(url)).isFile;
  } catch {
    return false; // whatever keeps it from being looked at keeps it from being read
  }
}

/** Reads a file of the author's. @throws {PayloadError} ENOENT, EINVAL */
export async function readAuthors(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const path = decodeURIComponent(url.pathname);
  try {
    return await Deno.readFile(url);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new PayloadError(ENOENT, `${path}: no such file`);
    throw new PayloadError(EINVAL, `${path}: cannot be read: ${(error as Error).message}`);
  }
}
