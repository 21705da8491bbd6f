/** The payloads of one running domain: Xen's operations, states and error numbers (xen/common/livepatch.c). */

import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT } from "../linux/errno.ts";
import { type AtRest, type Succession, SuccessionError, type TakeOptions } from "../domain/succession.ts";
import { checkExpectations } from "./expectations.ts";
import { decodePayload, type PayloadFile } from "./format.ts";
import { GenerationTrees } from "./generation_tree.ts";
import { HookRunner } from "./hook_runner.ts";
import type { HookContext, HookName } from "./hooks.ts";
import { hooksPath, type Payload } from "./manifest.ts";
import { exchangeParts, NativeParts } from "./native_parts.ts";
import type { Aftermath, Pause } from "./pause.ts";
import { PayloadError } from "./payload_error.ts";
import { RunningSources } from "./running_sources.ts";
import { type PayloadKey, verifyPayload } from "./signature.ts";
import { PROGRAM_ROOT, SourceTree } from "./source_tree.ts";

/** How long vCPUs and device models may take to come to rest, unless somebody says otherwise (Xen: 30 ms). */
export const DEFAULT_LIMIT_MS = 30;

/** Nothing runs yet. */
const START_LIMIT_MS = 5000;

/** LIVEPATCH_STATE_CHECKED and LIVEPATCH_STATE_APPLIED. */
export type PayloadState = "CHECKED" | "APPLIED";

/** What is known of a payload. */
export interface PayloadStatus {
  readonly name: string;
  readonly buildId: string;
  readonly depends: string;
  readonly state: PayloadState;
  /** 0, -EAGAIN while an operation runs, or the error number of its last one, negative. */
  readonly rc: number;
}

/** How payloads are treated. */
export interface LivePatchingOptions {
  /** Only payloads that one of these has signed are taken; undefined: any. */
  readonly keys?: readonly PayloadKey[];
  /** The sources that the program was started from, if its own change meanwhile; a directory, with a slash at its end. */
  readonly root?: URL;
}

/** How an operation is carried out. */
export interface OperationOptions {
  /** Whatever lies under it. */
  readonly nodeps?: boolean;
  /** How long vCPUs and device models may take to come to rest; default {@linkcode DEFAULT_LIMIT_MS}. */
  readonly limitMs?: number;
}

interface Uploaded {
  readonly file: PayloadFile;
  readonly native: NativeParts;
  state: PayloadState;
  rc: number;
  /** It was applied before. */
  reverted: boolean;
}

/** The operations, one at a time. Made when the program starts: the sources are what they are then. */
export class LivePatching implements AsyncDisposable {
  readonly #uploaded = new Map<string, Uploaded>();
  /** Those that are applied, from the bottom up. */
  #stack: Uploaded[] = [];
  readonly #sources: SourceTree;
  readonly #trees: GenerationTrees;
  /** Where device models' modules are, by the URLs with which they were asked for, if not there. */
  #models: ReadonlyMap<string, string> = new Map();
  readonly #running: RunningSources;
  /** What an operation is on that is under way. */
  #subject: string | undefined;
  /** Resolves when none is under way. */
  #idle: Promise<void> = Promise.resolve();

  /** @param succession of the domain that runs; undefined: none does yet, see {@linkcode attach} */
  constructor(
    private succession: Pick<Succession, "prepare" | "take"> | undefined,
    private readonly options: LivePatchingOptions = {},
  ) {
    const { root = PROGRAM_ROOT } = options;
    this.#sources = new SourceTree(root);
    this.#trees = new GenerationTrees(root);
    this.#running = new RunningSources(root);
  }

  /**
   * Has a domain run what is applied, as the one before it did. Nothing of the kind is applied before the first.
   * @returns for the domain's end: it waits for the operation that is under way, and others are EBUSY from then on
   * @throws {PayloadError} EIO, EBUSY: the domain does not run it
   */
  async attach(succession: Pick<Succession, "prepare" | "take">): Promise<AsyncDisposable> {
    await using stack = new AsyncDisposableStack();
    this.succession = succession;
    stack.defer(() => {
      this.succession = undefined;
      return this.#idle;
    });
    if (this.isChanged) {
      await this.#exclusively("the start", () => this.#take(this.#stack, this.#models, { limitMs: START_LIMIT_MS }));
    }
    return stack.move();
  }

  /** Whether a domain has to run something else than what it is started from. */
  get isChanged(): boolean {
    return this.#stack.length + this.#models.size > 0;
  }

  /**
   * Takes a payload: CHECKED.
   * @param name of its file, for messages
   * @throws {PayloadError} EINVAL: damaged, or not signed as it has to be; EEXIST: one of that name is there; EAGAIN;
   *   EOPNOTSUPP: the program is a bundle; what the hook `load` says
   */
  async upload(bytes: Uint8Array<ArrayBuffer>, name?: string): Promise<PayloadStatus> {
    return await this.#exclusively("upload", async () => {
      const file = await decodePayload(bytes, name), { payload } = file;
      if (this.options.keys !== undefined) await verifyPayload(file, this.options.keys);
      if (this.#uploaded.has(payload.name)) throw new PayloadError(EEXIST, `${payload.name}: there is one already`);
      using stack = new DisposableStack();
      const native = stack.use(new NativeParts(payload));
      const uploaded: Uploaded = { file, native, state: "CHECKED", rc: 0, reverted: false };
      await this.#run(uploaded, "load", over(this.#stack));
      stack.move();
      this.#uploaded.set(payload.name, uploaded);
      return statusOf(uploaded);
    });
  }

  /** The hypervisor's own. @throws {PayloadError} EOPNOTSUPP */
  get buildId(): Promise<string> {
    return this.#running.buildId;
  }

  /** @throws {PayloadError} ENOENT */
  get(name: string): PayloadStatus {
    return statusOf(this.#find(name));
  }

  /** In the order in which they came. */
  list(): PayloadStatus[] {
    return [...this.#uploaded.values()].map(statusOf);
  }

  /**
   * Puts a payload on top of what is applied: APPLIED.
   * @throws {PayloadError} ENOENT; EINVAL: it is applied, or lies on something else than it depends on, or is not to be
   *   applied again, or finds other functions than it expects; EBUSY: a vCPU or a model did not come to rest in time; what
   *   its hooks say; EAGAIN. Then nothing has changed
   */
  async apply(name: string, { nodeps = false, limitMs = DEFAULT_LIMIT_MS }: OperationOptions = {}): Promise<Pause> {
    return await this.#on(name, async (uploaded) => {
      await this.#requireApplicable(uploaded, this.#stack, nodeps);
      return () => this.#change([], uploaded, limitMs);
    });
  }

  /** Takes the topmost payload off: CHECKED. @throws {PayloadError} ENOENT; EINVAL: not applied; EBUSY: not the topmost, or as for {@linkcode apply} */
  async revert(name: string, { limitMs = DEFAULT_LIMIT_MS }: OperationOptions = {}): Promise<Pause> {
    return await this.#on(name, (uploaded) => {
      if (uploaded.state !== "APPLIED") throw new PayloadError(EINVAL, `${name}: not applied`);
      const top = this.#stack.at(-1)!;
      if (top !== uploaded) throw new PayloadError(EBUSY, `${name}: ${top.file.payload.name} lies on it`);
      return () => this.#change([uploaded], undefined, limitMs);
    });
  }

  /** Takes all payloads off and puts one on, in one stop. @throws {PayloadError} as {@linkcode apply} */
  async replace(name: string, { nodeps = false, limitMs = DEFAULT_LIMIT_MS }: OperationOptions = {}): Promise<Pause> {
    return await this.#on(name, async (uploaded) => {
      if (this.#stack.length === 1 && this.#stack[0] === uploaded) {
        throw new PayloadError(EINVAL, `${name}: applied, and nothing else is`);
      }
      await this.#requireApplicable(uploaded, [], nodeps, uploaded.state === "APPLIED");
      return () => this.#change(this.#stack, uploaded, limitMs);
    });
  }

  /** Forgets a payload. @throws {PayloadError} ENOENT; EINVAL: it is applied; EBUSY: another one uses its machine code */
  async unload(name: string): Promise<Aftermath> {
    return await this.#on(name, (uploaded) => {
      if (uploaded.state !== "CHECKED") throw new PayloadError(EINVAL, `${name}: applied`);
      uploaded.native.requireUnused();
      return async () => {
        const failed = await this.#after([[uploaded, "unload"]], over(this.#stack));
        uploaded.native[Symbol.dispose]();
        this.#uploaded.delete(name);
        return { failed };
      };
    });
  }

  /**
   * Has device models' modules taken from elsewhere, and loads them anew; the payloads stay as they are.
   * @param models by the URL with which a model was asked for: where its module is from now on
   * @throws {PayloadError} EBUSY as for {@linkcode apply}; EIO: a module does not load, or fails: those before it go on;
   *   EAGAIN
   */
  async refresh(models: ReadonlyMap<string, string>, limitMs: number = DEFAULT_LIMIT_MS): Promise<Pause> {
    return await this.#exclusively("device models", async () => {
      const pausedMs = await this.#take(this.#stack, models, { limitMs });
      this.#models = models;
      return { pausedMs, failed: [] };
    });
  }

  /** After the end of all runs: nothing is called any more. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { native } of this.#stack.toReversed()) native.revert(0);
    for (const { native } of [...this.#uploaded.values()].reverse()) native[Symbol.dispose]();
    await this.#trees[Symbol.asyncDispose]();
  }

  async #requireApplicable(uploaded: Uploaded, below: readonly Uploaded[], nodeps: boolean, again = false) {
    const { payload } = uploaded.file, { name, depends } = payload;
    if (uploaded.state === "APPLIED" && !again) throw new PayloadError(EINVAL, `${name}: applied already`);
    if (uploaded.reverted && !payload.again) {
      throw new PayloadError(EINVAL, `${name}: was reverted, and keeps state: it is not to be applied again`);
    }
    const top = below.at(-1)?.file.buildId ?? await this.buildId;
    if (!nodeps && depends !== top) {
      throw new PayloadError(EINVAL, `${name}: depends on ${depends}, and would lie on ${top}`);
    }
    const sources = below.reduce((tree, { file }) => tree.with(file.payload), this.#sources);
    await checkExpectations(payload, sources);
  }

  /**
   * Has payloads go, the topmost first, and one come, in one stop. Whatever vetoes or fails before that is over has nothing
   * changed; hooks that come after it have no say any more.
   * @param off from the bottom up: the top of the stack, or all of it
   */
  async #change(off: readonly Uploaded[], on: Uploaded | undefined, limitMs: number): Promise<Pause> {
    const going = off.toReversed(), coming = on === undefined ? [] : [on];
    const next = [...this.#stack.slice(0, this.#stack.length - off.length), ...coming];
    const before = over(this.#stack), after = over(next);
    for (const uploaded of going) await this.#run(uploaded, "preRevert", before);
    for (const uploaded of coming) await this.#run(uploaded, "preApply", after);
    await using held = new AsyncDisposableStack();
    const hooks: { hook: HookRunner; uploaded: Uploaded }[] = [];
    const load = async (uploaded: Uploaded, name: HookName, texts: ReadonlyMap<string, string>) => {
      const hook = await this.#hook(uploaded, name, texts);
      if (hook !== undefined) hooks.push({ hook: held.use(hook), uploaded });
    };
    for (const uploaded of going) await load(uploaded, "revert", before);
    for (const uploaded of coming) await load(uploaded, "apply", after);
    const [those, these] = [this.#stack, next].map((payloads) => payloads.map(({ native }) => native));
    const atRest: AtRest = async (inside, deadlineMs) => {
      for (const { hook, uploaded } of hooks) await hook.run(contextOf(uploaded), deadlineMs - performance.now());
      exchangeParts(those, these, inside);
      return (inside) => exchangeParts(these, those, inside);
    };
    const modules = [...off, ...coming].flatMap(({ file }) => file.payload.modules);
    const resets = modules.some(({ handOver }) => handOver === "reset");
    const pausedMs = await this.#take(next, this.#models, { limitMs, atRest, resets });
    for (const uploaded of off) {
      uploaded.state = "CHECKED";
      uploaded.reverted = true;
    }
    for (const uploaded of coming) uploaded.state = "APPLIED";
    this.#stack = next;
    const reverted = going.map((uploaded): AfterHook => [uploaded, "postRevert"]);
    const applied = coming.map((uploaded): AfterHook => [uploaded, "postApply"]);
    return { pausedMs, failed: [...await this.#after(reverted, before), ...await this.#after(applied, after)] };
  }

  async #take(stack: readonly Uploaded[], models: ReadonlyMap<string, string>, options: TakeOptions): Promise<number> {
    const { succession } = this;
    if (succession === undefined) throw new PayloadError(EBUSY, "the run is over");
    const tree = await this.#trees.of(over(stack));
    const place = (url: string) => models.get(url) ?? GenerationTrees.place(tree, url);
    try {
      const pausedMs = await succession.take(await succession.prepare(GenerationTrees.urls(tree), place), options);
      this.#trees.runs(tree);
      return pausedMs;
    } catch (error) {
      throw error instanceof SuccessionError ? new PayloadError(error.errno, error.message) : error;
    }
  }

  /** @returns undefined the payload does not have it */
  async #hook(
    { file: { payload } }: Uploaded,
    name: HookName,
    texts: ReadonlyMap<string, string>,
  ): Promise<HookRunner | undefined> {
    if (payload.hooks === undefined || !payload.hooks.names.includes(name)) return undefined;
    return await HookRunner.load(payload, name, await this.#trees.of(new Map([...texts, ...textsOf([payload])])));
  }

  async #run(uploaded: Uploaded, name: HookName, texts: ReadonlyMap<string, string>): Promise<void> {
    await using hook = await this.#hook(uploaded, name, texts);
    await hook?.run(contextOf(uploaded));
  }

  /** Hooks that have no say. @returns what they have thrown */
  async #after(hooks: readonly AfterHook[], texts: ReadonlyMap<string, string>): Promise<string[]> {
    const failed: string[] = [];
    for (const [uploaded, name] of hooks) {
      try {
        await this.#run(uploaded, name, texts);
      } catch (error) {
        failed.push((error as Error).message);
      }
    }
    return failed;
  }

  #find(name: string): Uploaded {
    const uploaded = this.#uploaded.get(name);
    if (uploaded === undefined) throw new PayloadError(ENOENT, `no payload ${name}`);
    return uploaded;
  }

  /**
   * The result of an operation on a payload is kept with it; that of one which does not begin is not, as in Xen.
   * @param require what the operation needs; gives the operation
   */
  async #on<T>(
    name: string,
    require: (uploaded: Uploaded) => Promise<() => Promise<T>> | (() => Promise<T>),
  ): Promise<T> {
    const uploaded = this.#find(name);
    return await this.#exclusively(name, async () => {
      const operation = await require(uploaded);
      uploaded.rc = -EAGAIN;
      try {
        const result = await operation();
        uploaded.rc = 0;
        return result;
      } catch (error) {
        uploaded.rc = error instanceof PayloadError ? -error.errno : -EINVAL;
        throw error;
      }
    });
  }

  /** @throws {PayloadError} EAGAIN; EINVAL: what the program runs is not on the disk any more */
  async #exclusively<T>(what: string, operation: () => Promise<T>): Promise<T> {
    if (this.#subject !== undefined) throw new PayloadError(EAGAIN, `an operation on ${this.#subject} runs`);
    this.#subject = what;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#idle = promise;
    try {
      await this.#running.requireUnchanged();
      return await operation();
    } catch (error) {
      throw error instanceof PayloadError ? new PayloadError(error.errno, this.#trees.plain(error.message)) : error;
    } finally {
      this.#subject = undefined;
      resolve();
    }
  }
}

type AfterHook = readonly [uploaded: Uploaded, name: HookName];

function contextOf({ file: { payload, buildId } }: Uploaded): HookContext {
  return { payload: payload.name, buildId };
}

function statusOf({ file: { payload, buildId }, state, rc }: Uploaded): PayloadStatus {
  return { name: payload.name, buildId, depends: payload.depends, state, rc };
}

/** The texts that these payloads put over the program's, the hooks' modules included. */
function over(stack: readonly Uploaded[]): Map<string, string> {
  return textsOf(stack.map(({ file }) => file.payload));
}

function textsOf(payloads: readonly Payload[]): Map<string, string> {
  return new Map(payloads.flatMap((payload) => [
    ...payload.modules.map(({ path, source }) => [path, source] as const),
    ...payload.hooks === undefined ? [] : [[hooksPath(payload), payload.hooks.source] as const],
  ]));
}
