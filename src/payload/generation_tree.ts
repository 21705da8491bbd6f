/** A generation's sources on disk: the program's tree with payloads over it, of which only what differs is there twice. */

import { WORKER_URLS, type WorkerUrls } from "../domain/worker_urls.ts";
import { sha256 } from "./digest.ts";
import { PROGRAM_ROOT } from "./source_tree.ts";

/** The generation that runs, the one that is to follow it, and one for hooks beside them. */
const PLACES = ["0", "1", "2"];

/**
 * Where generations lie, each in a folder of its own; it goes when this is disposed. Folders are used again: whatever has a
 * new path stays in Deno's memory for as long as the process lives, about 3.5 MiB for a generation.
 */
export class GenerationTrees implements AsyncDisposable {
  #directory: string | undefined;
  /** By their digests, those that were asked for last at the end. */
  readonly #trees = new Map<string, URL>();
  #running: URL | undefined;

  /** @param root the program's tree, with a slash at its end */
  constructor(private readonly root: URL = PROGRAM_ROOT) {}

  /**
   * The tree with these texts in it. It stays until others are asked for; the same texts give the same tree meanwhile.
   * @param replaced by their paths from the root @returns its root, with a slash at its end
   */
  async of(replaced: ReadonlyMap<string, string>): Promise<URL> {
    if (replaced.size === 0) return this.root;
    this.#directory ??= await Deno.makeTempDir({ prefix: "xenolith-generations-" });
    const id = await sha256(JSON.stringify([...replaced].sort())), known = this.#trees.get(id);
    const tree = known ?? await this.#emptied(this.#directory);
    this.#trees.delete(id);
    if (known === undefined) {
      await Deno.mkdir(tree);
      await this.#lay(tree, "", [...replaced.keys()]);
      for (const [path, text] of replaced) await Deno.writeTextFile(new URL(path, tree), text);
    }
    this.#trees.set(id, tree);
    return tree;
  }

  /** A tree that stays until another one runs. */
  runs(tree: URL): void {
    this.#running = tree;
  }

  /** A message in which the modules of all trees have their paths from the root. */
  plain(message: string): string {
    if (this.#directory === undefined) return message;
    return message.replaceAll(new RegExp(`(file://)?${RegExp.escape(this.#directory)}/\\d+/`, "g"), "");
  }

  /** A folder that is not there: one that nobody has, or that of the tree which was not asked for the longest. */
  async #emptied(directory: string): Promise<URL> {
    const taken = new Set([...this.#trees.values()].map(({ href }) => href));
    let tree = PLACES.map((place) => new URL(`file://${directory}/${place}/`)).find(({ href }) => !taken.has(href));
    if (tree === undefined) {
      const [id, oldest] = [...this.#trees].find(([, tree]) => tree !== this.#running)!;
      this.#trees.delete(id);
      tree = oldest;
    }
    if (await exists(tree)) await Deno.remove(tree, { recursive: true });
    return tree;
  }

  /** The Workers' modules in such a tree. */
  static urls(tree: URL): WorkerUrls {
    return Object.fromEntries(
      Object.entries(WORKER_URLS).map(([role, url]) => [role, GenerationTrees.place(tree, url)]),
    ) as WorkerUrls;
  }

  /** Where such a tree has a module: in itself what the program's sources have, any other where it is. */
  static place(tree: URL, url: string): string {
    const { href } = PROGRAM_ROOT;
    return url.startsWith(`${href}src/`) ? new URL(url.slice(href.length), tree).href : url;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#directory !== undefined) await Deno.remove(this.#directory, { recursive: true });
    this.#directory = undefined;
  }

  /** Links of what is as it was, folders as a whole; relative imports lead through them back into the tree. */
  async #lay(tree: URL, folder: string, replaced: readonly string[]): Promise<void> {
    const names = new Set(replaced.map((path) => path.slice(folder.length).split("/")));
    const own = new Set([...names].filter((parts) => parts.length > 1).map(([first]) => first));
    const written = new Set([...names].filter((parts) => parts.length === 1).map(([first]) => first));
    for (const name of own) {
      await Deno.mkdir(new URL(folder + name, tree));
      const below = `${folder}${name}/`;
      await this.#lay(tree, below, replaced.filter((path) => path.startsWith(below)));
    }
    const source = new URL(folder, this.root);
    if (!await exists(source)) return; // of what the payload brings along
    for await (const { name } of Deno.readDir(source)) {
      if (own.has(name) || written.has(name) || (folder === "" && name !== "src")) continue;
      await Deno.symlink(new URL(name, source), new URL(folder + name, tree));
    }
  }
}

async function exists(url: URL): Promise<boolean> {
  try {
    await Deno.stat(url);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
