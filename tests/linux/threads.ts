/** Functions of a module on threads of their own, for tests of what happens between threads. */

/** Longer than anything here takes: after that a wake-up was lost, and the test fails instead of hanging. */
const LOST_MS = 30_000;

/** Waits without giving the thread away. @throws {Error} it never comes true */
export function spinUntil(what: string, condition: () => boolean): void {
  for (const end = performance.now() + LOST_MS; !condition();) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
  }
}

/** Waits until `threads` threads have come here, so that what follows happens at the same time. */
export function meet(words: Int32Array, index: number, threads: number): void {
  Atomics.add(words, index, 1);
  spinUntil("the others come", () => Atomics.load(words, index) >= threads);
}

/** One call of an exported function in a Worker. Leaving `using` ends the Worker. */
export class Thread<Result = void> implements Disposable {
  readonly #worker = new Worker(new URL("./thread_worker.ts", import.meta.url).href, { type: "module" });
  readonly #ready = Promise.withResolvers<void>();
  readonly #result = Promise.withResolvers<Result>();
  readonly #timer: ReturnType<typeof setTimeout>;

  /**
   * @param module `import.meta.url` of a file without tests
   * @param name the function that it exports
   * @param args structured-cloneable: addresses of shared memory, mostly
   */
  constructor(module: string, name: string, ...args: unknown[]) {
    this.#worker.onmessage = ({ data }) => {
      if (data.kind === "ready") return this.#ready.resolve();
      if (data.kind === "result") return this.#result.resolve(data.result);
      this.#fail(new Error(`${name}: ${data.message}`));
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new Error(`${name}: ${event.message}`));
    };
    this.#timer = setTimeout(() => this.#fail(new Error(`${name} never returned`)), LOST_MS);
    this.#worker.postMessage({ module, name, args });
  }

  /** Resolves when the function is about to be called. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** What the function returned. */
  get result(): Promise<Result> {
    return this.#result.promise;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#worker.terminate();
  }

  #fail(error: Error): void {
    this.#ready.reject(error);
    this.#result.reject(error);
    for (const { promise } of [this.#ready, this.#result]) promise.catch(() => {}); // whoever awaits one, hears it
  }
}
