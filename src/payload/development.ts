/** Edit and continue: a running domain follows the sources of the hypervisor and of its device models. */

import { EditedSources, type Edits, NO_EDITS } from "./edited_sources.ts";
import { encodePayload } from "./format.ts";
import { differences, functionsOf, parseModule } from "./functions.ts";
import type { LivePatching } from "./live_patching.ts";
import type { Payload } from "./manifest.ts";
import { ModelCopies, type ModelCopy } from "./model_copies.ts";
import { ModuleGraph } from "./module_graph.ts";
import { describePause } from "./pause.ts";
import { PayloadError } from "./payload_error.ts";

/** A save is worth a longer wait than a payload that somebody else has made. */
const LIMIT_MS = 1000;

/** What the domain runs, and what was tried last. */
interface State {
  payload: Payload | undefined;
  /** What it was built from. */
  replaced: ReadonlyMap<string, string>;
  models: ModelCopy;
  triedEdits: Edits;
  triedModels: ReadonlyMap<string, string>;
}

/** Builds payloads dev-1, dev-2 ... of what differs from what the program was started from. */
export class Development implements AsyncDisposable {
  #count = 0;
  readonly #state: State;

  private constructor(
    private readonly directory: string,
    private readonly sources: EditedSources,
    private readonly copies: ModelCopies,
    private readonly first: ModelCopy,
  ) {
    this.#state = {
      payload: undefined,
      replaced: NO_EDITS.replaced,
      models: first,
      triedEdits: NO_EDITS,
      triedModels: first.texts,
    };
  }

  /** @param models URLs of device models' modules, outside the program's sources. @throws {PayloadError} */
  static async start(models: readonly string[]): Promise<Development> {
    const directory = await Deno.makeTempDir({ prefix: "xenolith-dev-" });
    try {
      const graph = new ModuleGraph(), sources = await EditedSources.start(directory, graph);
      const copies = new ModelCopies(`${directory}/models`, models, sources.root, graph);
      const texts = await copies.read();
      for (const [url, text] of texts) await parseModule(pathOf(url), text);
      return new Development(directory, sources, copies, await copies.copy(texts));
    } catch (error) {
      await Deno.remove(directory, { recursive: true });
      throw error instanceof PayloadError ? new PayloadError(error.errno, plain(error.message, directory)) : error;
    }
  }

  /** The sources that the program was started from; a directory, with a slash at its end. */
  get root(): URL {
    return this.sources.root;
  }

  /** By the URL of a device model: the module to start it from. */
  get places(): ReadonlyMap<string, string> {
    return this.first.places;
  }

  /** The files of the device models, by URL. */
  get modelFiles(): Iterable<string> {
    return this.#state.triedModels.keys();
  }

  /**
   * Has the domain run what the sources are now.
   * @returns what has changed, in a line, or why not; undefined: nothing has
   */
  async catchUp(patching: LivePatching): Promise<string | undefined> {
    const parts = [...await attempted(() => this.#sources(patching)), ...await attempted(() => this.#models(patching))];
    return parts.length === 0 ? undefined : plain(parts.join("; "), this.directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }

  async #sources(patching: LivePatching): Promise<string[]> {
    const state = this.#state, edits = await this.sources.edits(), tried = state.triedEdits;
    state.triedEdits = edits;
    const parts = news(edits.others, tried.others).map((path) =>
      `${path} needs a restart: no Worker of the domain runs it`
    );
    for (const path of edits.gone.difference(tried.gone)) parts.push(`${path} is gone: the guest goes on with it`);
    if (!isSame(edits.replaced, tried.replaced)) parts.unshift(await this.#replace(patching, edits));
    const kept = news(edits.replaced, tried.replaced).filter((path) => edits.shared.has(path));
    return [...parts, ...kept.map((path) => `${path} is as it was for the domain's owner until a restart`)];
  }

  async #replace(patching: LivePatching, edits: Edits): Promise<string> {
    const state = this.#state, { payload: before } = state;
    if (isSame(edits.replaced, state.replaced)) return `the sources are what ${before?.name ?? "the program"} is`;
    if (edits.replaced.size === 0) {
      const { name } = before!, pause = await patching.revert(name, { limitMs: LIMIT_MS });
      [state.payload, state.replaced] = [undefined, edits.replaced];
      await patching.unload(name);
      return `${name} reverted: ${describePause(pause)}`;
    }
    const payload = await this.sources.build(`dev-${++this.#count}`, edits), { name } = payload;
    await patching.upload(await encodePayload(payload));
    try {
      const pause = await patching.replace(name, { limitMs: LIMIT_MS });
      [state.payload, state.replaced] = [payload, edits.replaced];
      if (before !== undefined) await patching.unload(before.name);
      return `${name}: ${changes(payload, before)}: ${describePause(pause)}`;
    } catch (error) {
      await patching.unload(name);
      throw error;
    }
  }

  async #models(patching: LivePatching): Promise<string[]> {
    const state = this.#state, texts = await this.copies.read(), tried = state.triedModels;
    state.triedModels = texts;
    if (isSame(texts, tried)) return [];
    const copy = await this.copies.copy(texts, state.models), described: string[] = [];
    for (const url of news(texts, state.models.texts)) described.push(await changed(url, state.models.texts, texts));
    const pairs = [...this.first.places].map(([url, first]) => [first, copy.places.get(url)!] as const);
    const pause = await patching.refresh(new Map(pairs), LIMIT_MS);
    state.models = copy;
    return [`${described.join(", ") || "device models as they were"}: ${describePause(pause)}`];
  }
}

/** What is said of something, or why it is not done. */
async function attempted(act: () => Promise<string[]>): Promise<string[]> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof PayloadError) return [error.message];
    throw error;
  }
}

/** Keys whose texts are not in the other. */
function news(texts: ReadonlyMap<string, string>, before: ReadonlyMap<string, string>): string[] {
  return [...texts.keys()].filter((key) => texts.get(key) !== before.get(key));
}

function isSame(one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>): boolean {
  return one.size === other.size && news(one, other).length === 0;
}

/** The modules in which two payloads differ, each with its functions that do. */
function changes(now: Payload, before: Payload | undefined): string {
  const differing = now.modules.flatMap(({ path, source, replaces, functions }) => {
    const old = before?.modules.find((module) => module.path === path);
    if (old?.source === source) return [];
    if (replaces === null) return [named(path, ["new"])];
    const digests = (of: typeof functions = []) => new Map(of.map(({ name, new: digest }) => [name, digest ?? ""]));
    const own = digests(functions), others = digests(old?.functions);
    return [named(path, [...new Set([...news(own, others), ...[...others.keys()].filter((name) => !own.has(name))])])];
  });
  const gone = before?.modules.filter(({ path }) => !now.modules.some((module) => module.path === path)) ?? [];
  return [...differing, ...gone.map(({ path }) => named(path, ["as it was"]))].join(", ");
}

/** The same of one of a device model's files. */
async function changed(url: string, before: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>) {
  const path = pathOf(url), old = before.get(url);
  if (old === undefined) return named(path, ["new"]);
  const functions = differences(await functionsOf(path, old), await functionsOf(path, now.get(url)!));
  return named(path, functions.map(({ name }) => name));
}

function pathOf(url: string): string {
  return decodeURIComponent(new URL(url).pathname);
}

function named(path: string, functions: readonly string[]): string {
  return `${path} (${functions.length === 0 ? "no function" : functions.join(", ")})`;
}

/** A message in which copies have the names of what they are copies of. */
function plain(message: string, directory: string): string {
  const copies = new RegExp(`(file://)?${RegExp.escape(directory)}/(models/\\d+/|base/|changed/)([^\\s"()]*)`, "g");
  return message.replaceAll(copies, (_, scheme?: string, copy: string = "", rest: string = "") => {
    const path = copy.startsWith("models/") ? `/${rest}` : rest;
    return scheme === undefined ? path : decodeURIComponent(path);
  });
}
