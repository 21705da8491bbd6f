/** `dev`: `run`, while the hypervisor and its device models are edited: what is saved is what runs. */

import { STATUS } from "../domain/outcome.ts";
import { moduleUrl } from "../machine/files.ts";
import { type ModelModule, type ModelOptions, UsageError } from "../machine/options.ts";
import { Development } from "../payload/development.ts";
import type { LivePatching } from "../payload/live_patching.ts";
import { PROGRAM_ROOT } from "../payload/source_tree.ts";
import { parseRun, type RunArguments } from "./arguments.ts";
import { say, sayFailure } from "./failure.ts";
import { type Changer, runImages } from "./run.ts";

/** What `dev --help` says. */
export const DEV_HELP = `usage: dev [options of run] IMAGE

Runs the guest as \`run\` does, and watches the hypervisor's sources (src) and the modules of --device-model. Whatever is
saved replaces what runs, while the guest goes on; stderr says in one line for each save what has changed and how long
the guest stood still, or why nothing did (docs/live-patching.md). run --help lists the options; --lane, --stop and
--payload-key are not among them.

Exit status: as run.`;

/** Editors write a file in several steps. */
const QUIET_MS = 50;

/** @returns the exit status */
export async function dev(args: string[]): Promise<number> {
  try {
    const parsed = parseDev(args);
    if (parsed === undefined) {
      console.error(DEV_HELP);
      return STATUS.OK;
    }
    const models = parsed.machine.deviceModels ?? [];
    await using development = await Development.start(models.flatMap((model) => watchedUrl(model) ?? []));
    await using watch = new Watch(development);
    const deviceModels = models.map((model): ModelOptions => {
      const url = watchedUrl(model);
      return url === undefined ? model : { ...model as ModelModule, module: development.places.get(url)! };
    });
    return await runImages({ ...parsed, machine: { ...parsed.machine, deviceModels } }, watch);
  } catch (error) {
    return sayFailure(error);
  }
}

function parseDev(args: string[]): RunArguments | undefined {
  const parsed = parseRun(args);
  if (parsed === undefined) return undefined;
  if (parsed.stop !== undefined) throw new UsageError("dev takes no --stop");
  if (parsed.lane) throw new UsageError("dev takes no --lane");
  if (parsed.payloadKeys.length > 0) throw new UsageError("dev takes no --payload-key: its payloads are not signed");
  if (parsed.images.length > 1) throw new UsageError(`dev takes one image, not ${parsed.images.length}`);
  return parsed;
}

/** The URL of a module that is followed by a copy of it; undefined: a socket, or one of the program's own. */
function watchedUrl(model: ModelOptions): string | undefined {
  if (typeof model !== "object" || !("module" in model)) return undefined;
  const url = moduleUrl(model.module);
  return url.startsWith(`${PROGRAM_ROOT.href}src/`) ? undefined : url;
}

/** Has a machine follow the files, one save after another. */
class Watch implements Changer, AsyncDisposable {
  readonly #watchers = new Map<string, Deno.FsWatcher>();
  #patching: LivePatching | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Resolves when none is under way. */
  #done: Promise<void> = Promise.resolve();

  constructor(private readonly development: Development) {
    this.#watch(new URL("src", PROGRAM_ROOT), true);
    this.#watchModels();
  }

  get root(): URL {
    return this.development.root;
  }

  follow(patching: LivePatching): AsyncDisposable {
    this.#patching = patching;
    this.#saved();
    return {
      [Symbol.asyncDispose]: async () => {
        this.#patching = undefined;
        await this.#done;
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    for (const watcher of this.#watchers.values()) watcher.close();
    await this.#done;
  }

  /** Editors put another file in the place of the one that they save: so folders are watched. */
  #watchModels(): void {
    for (const url of this.development.modelFiles) this.#watch(new URL(".", url), false);
  }

  #watch(folder: URL, recursive: boolean): void {
    if (this.#watchers.has(folder.href)) return;
    const watcher = Deno.watchFs(decodeURIComponent(folder.pathname), { recursive });
    this.#watchers.set(folder.href, watcher);
    void (async () => {
      for await (const { kind, paths } of watcher) {
        if (kind !== "access" && paths.some((path) => /\.m?[jt]s$/.test(path))) this.#saved();
      }
    })();
  }

  #saved(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#done = this.#done.then(() => this.#catchUp()), QUIET_MS);
  }

  async #catchUp(): Promise<void> {
    const patching = this.#patching;
    if (patching === undefined) return;
    try {
      const line = await this.development.catchUp(patching);
      if (line !== undefined && this.#patching === patching) say(line);
    } catch (error) {
      sayFailure(error);
    }
    this.#watchModels();
  }
}
