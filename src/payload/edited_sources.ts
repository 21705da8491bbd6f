/** The program's sources while somebody edits them: what they were, what they are now, and the payload between the two. */

import { WORKER_URLS } from "../domain/worker_urls.ts";
import { buildPayload } from "./build.ts";
import type { Payload } from "./manifest.ts";
import { type ModuleGraph, readModule } from "./module_graph.ts";
import { PROGRAM_ROOT, sourcesIn } from "./source_tree.ts";

/** What stays as it is for as long as the program runs: the gate's watch, and the isolate that owns the domain. */
const KEPT = [WORKER_URLS.gate, new URL("src/domain/domain.ts", PROGRAM_ROOT).href];

/** Those of Workers and processes that payloads replace. */
const REPLACED = Object.values(WORKER_URLS).filter((url) => !KEPT.includes(url));

/** What differs now from what the program was started from; modules by their paths from the root. */
export interface Edits {
  /** Texts that Workers and device models are to run. */
  readonly replaced: ReadonlyMap<string, string>;
  /** Those of them that others run as well, and keep. */
  readonly shared: ReadonlySet<string>;
  /** Texts that only those who stay run, or nobody. */
  readonly others: ReadonlyMap<string, string>;
  /** Modules that are not there any more. */
  readonly gone: ReadonlySet<string>;
}

/** Nothing differs. */
export const NO_EDITS: Edits = { replaced: new Map(), shared: new Set(), others: new Map(), gone: new Set() };

/** Compares; {@linkcode root} stays as it was when this was made. */
export class EditedSources {
  private constructor(
    private readonly directory: string,
    private readonly before: ReadonlyMap<string, string>,
    private readonly graph: ModuleGraph,
  ) {}

  /** @param directory to put things in; it exists. @throws {PayloadError} EOPNOTSUPP: the program is a bundle */
  static async start(directory: string, graph: ModuleGraph): Promise<EditedSources> {
    const before = await sources();
    const made = new EditedSources(directory, before, graph);
    await write(made.root, before);
    const names = await readModule(new URL("deno.json", PROGRAM_ROOT).href);
    if (names !== undefined) await Deno.writeTextFile(new URL("deno.json", made.root), names);
    return made;
  }

  /** The sources that the program was started from; a directory, with a slash at its end. */
  get root(): URL {
    return new URL(`file://${this.directory}/base/`);
  }

  /** As they are now, whether they make sense or not. */
  async edits(): Promise<Edits> {
    const texts = await sources();
    const changed = [...texts].filter(([path, text]) => this.before.get(path) !== text);
    const gone = new Set(this.before.keys()).difference(new Set(texts.keys()));
    if (changed.length === 0) return { ...NO_EDITS, gone };
    const run = await this.graph.loadedWith(REPLACED), kept = await this.graph.loadedWith(KEPT, { dynamic: false });
    const isIn = (modules: Set<string>) => ([path]: [string, string]) => modules.has(urlOf(path));
    const replaced = changed.filter(isIn(run));
    return {
      replaced: new Map(replaced),
      shared: new Set(replaced.filter(isIn(kept)).map(([path]) => path)),
      others: new Map(changed.filter((one) => !isIn(run)(one))),
      gone,
    };
  }

  /** @throws {PayloadError} EINVAL, ENOENT: in one line, what is wrong with a module */
  async build(name: string, { replaced }: Edits): Promise<Payload> {
    const changed = new URL(`file://${this.directory}/changed/`);
    await Deno.remove(changed, { recursive: true }).catch(() => {}); // there was none
    await write(changed, replaced);
    const modules = Object.fromEntries([...replaced.keys()].map((path) => [path, path]));
    return await buildPayload({ name, modules }, changed, { root: this.root });
  }
}

async function sources(): Promise<ReadonlyMap<string, string>> {
  const paths = await sourcesIn(PROGRAM_ROOT);
  const texts = await Promise.all(paths.map(async (path) => [path, await readModule(urlOf(path))] as const));
  return new Map(texts.flatMap(([path, text]) => text === undefined ? [] : [[path, text]]));
}

async function write(root: URL, texts: ReadonlyMap<string, string>): Promise<void> {
  for (const [path, text] of texts) {
    await Deno.mkdir(new URL(".", new URL(path, root)), { recursive: true });
    await Deno.writeTextFile(new URL(path, root), text);
  }
}

function urlOf(path: string): string {
  return new URL(path, PROGRAM_ROOT).href;
}
