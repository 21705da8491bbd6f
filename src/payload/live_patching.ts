/** The payloads of one running domain: Xen's operations, states and error numbers (xen/common/livepatch.c). */

import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, ESHUTDOWN } from "../linux/errno.ts";
import { type AtRest, type Succession, SuccessionError, type TakeOptions } from "../domain/succession.ts";
import { checkExpectations } from "./expectations.ts";
import { decodePayload, type PayloadFile } from "./format.ts";
import { GenerationTrees } from "./generation_tree.ts";
import { HookRunner } from "./hook_runner.ts";
import type { HookContext, HookName } from "./hooks.ts";
import { hooksPath, type Payload } from "./manifest.ts";
import { NativeParts } from "./native_parts.ts";
import { PayloadError } from "./payload_error.ts";
import { type PayloadKey, verifyPayload } from "./signature.ts";
import { buildIdOf, PROGRAM_ROOT, SourceTree } from "./source_tree.ts";

/** How long vCPUs and device models may take to come to rest, unless somebody says otherwise (Xen: 30 ms). */
export const DEFAULT_LIMIT_MS = 30;

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

/** What hooks have thrown that have no say, since what they follow is done: a line each. */
export interface Aftermath {
  readonly failed: readonly string[];
}

/** What an operation that has the guest stand still has taken. */
export interface Pause extends Aftermath {
  /** Milliseconds for which vCPUs were kept out of the guest. */
  readonly pausedMs: number;
}

interface Uploaded {
  readonly file: PayloadFile;
  readonly native: NativeParts;
  state: PayloadState;
  rc: number;
  /** It was applied before. */
  reverted: boolean;
}

/** The operations, one at a time. */
export class LivePatching implements AsyncDisposable {
  readonly #uploaded = new Map<string, Uploaded>();
  /** Those that are applied, from the bottom up. */
  #stack: Uploaded[] = [];
  readonly #sources: SourceTree;
  readonly #trees: GenerationTrees;
  /** Where device models' modules are, by the URLs with which they were asked for, if not there. */
  #models: ReadonlyMap<string, string> = new Map();
  #base: Promise<string> | undefined;
  #running: string | undefined;
  /** Resolves when no operation runs. */
  #idle: Promise<void> = Promise.resolve();
  #isOver = false;

  constructor(
    private readonly succession: Pick<Succession, "prepare" | "take">,
    private readonly options: LivePatchingOptions = {},
  ) {
    const { root = PROGRAM_ROOT } = options;
    this.#sources = new SourceTree(root);
    this.#trees = new GenerationTrees(root);
  }

  /**
   * Takes a payload: CHECKED.
   * @throws {PayloadError} EINVAL: damaged, or not signed as it has to be; EEXIST: one of that name is there; EAGAIN;
   *   EOPNOTSUPP: the program is a bundle; what the hook `load` says
   */
  async upload(bytes: Uint8Array<ArrayBuffer>): Promise<PayloadStatus> {
    return await this.#exclusively("upload", async () => {
      const file = await decodePayload(bytes), { payload } = file;
      if (this.options.keys !== undefined) await verifyPayload(file, this.options.keys);
      if (this.#uploaded.has(payload.name)) throw new PayloadError(EEXIST, `${payload.name}: there is one already`);
      await this.buildId;
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
    return this.#base ??= buildIdOf(this.#sources.root);
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
      return await this.#change([], uploaded, limitMs);
    });
  }

  /** Takes the topmost payload off: CHECKED. @throws {PayloadError} ENOENT; EINVAL: not applied; EBUSY: not the topmost, or as for {@linkcode apply} */
  async revert(name: string, { limitMs = DEFAULT_LIMIT_MS }: OperationOptions = {}): Promise<Pause> {
    return await this.#on(name, async (uploaded) => {
      if (uploaded.state !== "APPLIED") throw new PayloadError(EINVAL, `${name}: not applied`);
      const top = this.#stack.at(-1)!;
      if (top !== uploaded) throw new PayloadError(EBUSY, `${name}: ${top.file.payload.name} lies on it`);
      return await this.#change([uploaded], undefined, limitMs);
    });
  }

  /** Takes all payloads off and puts one on, in one stop. @throws {PayloadError} as {@linkcode apply} */
  async replace(name: string, { nodeps = false, limitMs = DEFAULT_LIMIT_MS }: OperationOptions = {}): Promise<Pause> {
    return await this.#on(name, async (uploaded) => {
      if (this.#stack.length === 1 && this.#stack[0] === uploaded) {
        throw new PayloadError(EINVAL, `${name}: applied, and nothing else is`);
      }
      await this.#requireApplicable(uploaded, [], nodeps, uploaded.state === "APPLIED");
      return await this.#change(this.#stack, uploaded, limitMs);
    });
  }

  /** Forgets a payload. @throws {PayloadError} ENOENT; EINVAL: it is applied; EBUSY: others use its symbols */
  async unload(name: string): Promise<Aftermath> {
    return await this.#on(name, async (uploaded) => {
      if (uploaded.state !== "CHECKED") throw new PayloadError(EINVAL, `${name}: applied`);
      const failed = await this.#after([[uploaded, "unload"]], over(this.#stack));
      uploaded.native[Symbol.dispose]();
      this.#uploaded.delete(name);
      return { failed };
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

  /** After the end of the run. An operation that is under way ends before. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#idle;
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
    const atRest: AtRest = async (inside, deadlineMs) => {
      for (const { hook, uploaded } of hooks) await hook.run(contextOf(uploaded), deadlineMs - performance.now());
      return exchange(going.map(({ native }) => native), coming.map(({ native }) => native), inside);
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
    const { succession } = this, tree = await this.#trees.of(over(stack));
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

  /** The result of an operation on a payload is kept with it. */
  async #on<T>(name: string, operation: (uploaded: Uploaded) => Promise<T>): Promise<T> {
    const uploaded = this.#find(name);
    return await this.#exclusively(name, async () => {
      uploaded.rc = -EAGAIN;
      try {
        const result = await operation(uploaded);
        uploaded.rc = 0;
        return result;
      } catch (error) {
        uploaded.rc = error instanceof PayloadError ? -error.errno : -EINVAL;
        throw error;
      }
    });
  }

  async #exclusively<T>(what: string, operation: () => Promise<T>): Promise<T> {
    if (this.#isOver) throw new PayloadError(ESHUTDOWN, "the run is over");
    if (this.#running !== undefined) throw new PayloadError(EAGAIN, `an operation on ${this.#running} runs`);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#running = what;
    this.#idle = promise;
    try {
      return await operation();
    } finally {
      this.#running = undefined;
      resolve();
    }
  }
}

type AfterHook = readonly [uploaded: Uploaded, name: HookName];

function contextOf({ file: { payload, buildId } }: Uploaded): HookContext {
  return { payload: payload.name, buildId };
}

/**
 * Has machine code go and come.
 * @param inside vCPUs that are inside KVM_RUN for a page
 * @returns what takes that back, when nothing runs again
 * @throws {PayloadError} it cannot be done: then nothing has changed
 */
function exchange(off: readonly NativeParts[], on: readonly NativeParts[], inside: number): (inside: number) => void {
  const done: ((inside: number) => void)[] = [];
  const takeBack = (inside: number) => done.toReversed().forEach((undo) => undo(inside));
  try {
    for (const parts of off) {
      parts.revert(inside);
      done.push((inside) => parts.apply(inside));
    }
    for (const parts of on) {
      parts.apply(inside);
      done.push((inside) => parts.revert(inside));
    }
  } catch (error) {
    takeBack(inside);
    throw error;
  }
  return takeBack;
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
