/** The payloads of one running domain: Xen's operations, states and error numbers (xen/common/livepatch.c). */

import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT } from "../linux/errno.ts";
import { type Succession, SuccessionError, type TakeOptions } from "../domain/succession.ts";
import { checkExpectations } from "./expectations.ts";
import { decodePayload, type PayloadFile } from "./format.ts";
import { GenerationTrees } from "./generation_tree.ts";
import { runHook } from "./hook_runner.ts";
import type { HookName } from "./hooks.ts";
import { hooksPath, type Payload } from "./manifest.ts";
import { exchangeParts, NativeParts } from "./native_parts.ts";
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

/** What an operation that has the guest stand still has taken. */
export interface Pause {
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
      await this.#hook(uploaded, "load", over(this.#stack));
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
      return () => this.#apply(uploaded, this.#stack, limitMs);
    });
  }

  /** Takes the topmost payload off: CHECKED. @throws {PayloadError} ENOENT; EINVAL: not applied; EBUSY: not the topmost, or as for {@linkcode apply} */
  async revert(name: string, { limitMs = DEFAULT_LIMIT_MS }: OperationOptions = {}): Promise<Pause> {
    return await this.#on(name, (uploaded) => {
      if (uploaded.state !== "APPLIED") throw new PayloadError(EINVAL, `${name}: not applied`);
      const top = this.#stack.at(-1)!;
      if (top !== uploaded) throw new PayloadError(EBUSY, `${name}: ${top.file.payload.name} lies on it`);
      return async () => {
        const below = this.#stack.slice(0, -1), tree = over(this.#stack);
        await this.#hook(uploaded, "preRevert", tree);
        const pausedMs = await this.#succeed(below, [uploaded], limitMs, () => this.#hook(uploaded, "revert", tree));
        this.#leave([uploaded], below);
        await this.#hook(uploaded, "postRevert", tree);
        return { pausedMs };
      };
    });
  }

  /** Takes all payloads off and puts one on, in one stop. @throws {PayloadError} as {@linkcode apply} */
  async replace(name: string, { nodeps = false, limitMs = DEFAULT_LIMIT_MS }: OperationOptions = {}): Promise<Pause> {
    return await this.#on(name, async (uploaded) => {
      if (this.#stack.length === 1 && this.#stack[0] === uploaded) {
        throw new PayloadError(EINVAL, `${name}: applied, and nothing else is`);
      }
      const others = this.#stack.filter((other) => other !== uploaded), isApplied = uploaded.state === "APPLIED";
      await this.#requireApplicable(uploaded, [], nodeps, isApplied);
      return async () => {
        const pause = await this.#apply(uploaded, [], limitMs, others);
        this.#leave(others, [uploaded]);
        return pause;
      };
    });
  }

  /** Forgets a payload. @throws {PayloadError} ENOENT; EINVAL: it is applied; EBUSY: another one uses its machine code; what the hook `unload` says */
  async unload(name: string): Promise<void> {
    await this.#on(name, (uploaded) => {
      if (uploaded.state !== "CHECKED") throw new PayloadError(EINVAL, `${name}: applied`);
      uploaded.native.requireUnused();
      return async () => {
        await this.#hook(uploaded, "unload", over(this.#stack));
        uploaded.native[Symbol.dispose]();
        this.#uploaded.delete(name);
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
      return { pausedMs };
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

  /** @param off what is taken off in the same stop */
  async #apply(uploaded: Uploaded, below: readonly Uploaded[], limitMs: number, off: readonly Uploaded[] = []) {
    const next = [...below, uploaded], tree = over(next);
    await this.#hook(uploaded, "preApply", tree);
    const pausedMs = await this.#succeed(
      next,
      [uploaded, ...off],
      limitMs,
      () => this.#hook(uploaded, "apply", tree),
    );
    uploaded.state = "APPLIED";
    this.#stack = next;
    await this.#hook(uploaded, "postApply", tree);
    return { pausedMs };
  }

  #leave(those: readonly Uploaded[], stack: Uploaded[]): void {
    for (const uploaded of those) {
      uploaded.state = "CHECKED";
      uploaded.reverted = true;
    }
    this.#stack = stack;
  }

  /**
   * @param changed those that come or go
   * @param hook called while nothing runs; what it throws is a veto
   */
  async #succeed(
    stack: readonly Uploaded[],
    changed: readonly Uploaded[],
    limitMs: number,
    hook: () => Promise<void>,
  ): Promise<number> {
    const modules = changed.flatMap(({ file }) => file.payload.modules);
    const resets = modules.some(({ handOver }) => handOver === "reset");
    const [before, after] = [this.#stack, stack].map((payloads) => payloads.map(({ native }) => native));
    const atRest = async (inside: number) => {
      await hook();
      exchangeParts(before, after, inside);
    };
    const atRestAgain = (inside: number) => Promise.resolve(exchangeParts(after, before, inside));
    return await this.#take(stack, this.#models, { limitMs, atRest, atRestAgain, resets });
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

  async #hook(uploaded: Uploaded, name: HookName, texts: ReadonlyMap<string, string>): Promise<void> {
    const { payload, buildId } = uploaded.file;
    if (payload.hooks === undefined || !payload.hooks.names.includes(name)) return;
    const tree = await this.#trees.of(new Map([...texts, ...textsOf([payload])]));
    await runHook(payload, name, { payload: payload.name, buildId }, tree);
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
