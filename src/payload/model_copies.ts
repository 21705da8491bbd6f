/** Copies of device models' modules: one that fails can give way to what was there before, whatever its file says now. */

import type { ModuleGraph } from "./module_graph.ts";
import { PROGRAM_ROOT } from "./source_tree.ts";

/** The models' modules as they were at one time. */
export interface ModelCopy {
  /** By the URL of a model: where its copy is. */
  readonly places: ReadonlyMap<string, string>;
  /** The texts of the models and of what they import, by URL. */
  readonly texts: ReadonlyMap<string, string>;
  /** The folder in which it is. */
  readonly root: string;
}

/** Makes such copies. */
export class ModelCopies {
  /**
   * @param directory where they are, each in a folder of its own; @param models URLs of files outside the program's sources
   * @param sources the program's, for models that import them by a path; a directory, with a slash at its end
   */
  constructor(
    private readonly directory: string,
    private readonly models: readonly string[],
    private readonly sources: URL,
    private readonly graph: ModuleGraph,
  ) {}

  /** The texts as they are now, without a copy. */
  async read(): Promise<ReadonlyMap<string, string>> {
    const excludes = (url: string) => url.startsWith(`${PROGRAM_ROOT.href}src/`);
    const urls = await this.graph.loadedWith(this.models, { excludes });
    const texts = [...urls].map(async (url) => [url, await Deno.readTextFile(new URL(url))] as const);
    return new Map(await Promise.all(texts));
  }

  /**
   * Each file lies in its copy as it does on the disk, with links to what lies beside it. Folders are used again, as those
   * of generations are: there are the first copy's, and two that take turns.
   * @param running a copy that stays; undefined: this is the first one
   */
  async copy(texts: ReadonlyMap<string, string>, running?: ModelCopy): Promise<ModelCopy> {
    const names = running === undefined ? ["0"] : ["1", "2"];
    const root = names.map((name) => `${this.directory}/${name}`).find((root) => root !== running?.root)!;
    const placeOf = (url: string) => root + new URL(url).pathname;
    await Deno.remove(root, { recursive: true }).catch(() => {}); // nothing was there
    const folders = new Set<string>();
    for (const [url, text] of texts) {
      const place = new URL(`file://${placeOf(url)}`), folder = new URL(".", url);
      folders.add(folder.href);
      await Deno.mkdir(new URL(".", place), { recursive: true });
      await Deno.writeTextFile(place, text);
    }
    if ([...texts.keys()].some((url) => url.startsWith(PROGRAM_ROOT.href))) {
      await link(new URL("src", this.sources), new URL(`file://${placeOf(PROGRAM_ROOT.href)}src`));
    }
    for (const folder of folders) {
      for await (const { name } of Deno.readDir(new URL(folder))) {
        const of = new URL(encodeURIComponent(name), folder);
        await link(of, new URL(`file://${placeOf(of.href)}`));
      }
    }
    return { places: new Map(this.models.map((url) => [url, `file://${placeOf(url)}`])), texts, root };
  }
}

/** Unless something is there. */
async function link(target: URL, place: URL): Promise<void> {
  try {
    await Deno.symlink(target, place);
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}
