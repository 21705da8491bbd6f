/** The domain's Workers: started early, told what to do once, waited for at the end. */

import { type Failure, type ModelRequest, REPLY, type Report, type Service, type Start } from "./messages.ts";
import { WORKER_URLS, type WorkerUrls } from "./worker_urls.ts";
import type { XenServiceState } from "./xen_service.ts";

/** Whose Workers they are. */
export interface CrewOwner {
  /** The run has ended in that Worker, or it failed (with the reason). */
  memberEnded(name: string, failure: Failure | undefined): void;
  /** The service is to be there from now on. */
  startService(service: Service): void;
  /** Carries out what a model asks for. Resolves to the result, or -errno; never rejects. */
  modelRequest(name: string, request: ModelRequest): Promise<number>;
}

/** One Worker of a domain. */
export class CrewMember {
  readonly #worker: Worker;
  readonly #ready = Promise.withResolvers<void>();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #loaded = Promise.withResolvers<void>();
  #report = Promise.withResolvers<void>();
  #failure: Failure | undefined;
  #handedOver: XenServiceState | undefined;
  #told = false;
  #idle = true;
  /** Its failure is the owner's to hear of. */
  #isProven = true;

  /**
   * Starts the Worker; loading its code overlaps with whatever the caller does next.
   * @param name for debuggers, and by which a bundle knows what it is
   * @param urls of the generation that it belongs to
   */
  constructor(
    role: keyof WorkerUrls,
    readonly name: string,
    private readonly owner: CrewOwner,
    urls: WorkerUrls = WORKER_URLS,
  ) {
    this.#worker = new Worker(urls[role], { type: "module", name: `${role}:${name}` });
    this.#worker.onmessage = ({ data }: MessageEvent<Report>) => {
      if (data.kind === "needs") return owner.startService(data.service);
      if (data.kind === "request") return void this.#request(data.request, data.reply);
      this.#report.resolve();
      this.#report = Promise.withResolvers();
      if (data.kind === "paused") return;
      if (data.kind === "loaded") return this.#loaded.resolve();
      if (data.kind === "ready") {
        this.#isProven = true;
        return this.#ready.resolve();
      }
      if (data.kind === "stopped") this.#handedOver = data.handedOver;
      this.#ended(data.kind === "failed" ? data.failure : undefined, data.kind !== "ended");
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#ended({ message: event.message, isLack: false }, true);
    };
  }

  /** Resolves when its code is there. Until it serves, what becomes of it is its loader's business, and not the owner's. @returns why it is not */
  async load(start: Start): Promise<string | undefined> {
    this.#isProven = false;
    this.#worker.postMessage({ load: start });
    await Promise.race([this.#loaded.promise, this.#stopped.promise]);
    return this.failure;
  }

  /** What it has left to the next of its kind, once it has stopped. */
  get handedOver(): XenServiceState | undefined {
    return this.#handedOver;
  }

  /** Why it is gone, if it has failed. */
  get failure(): string | undefined {
    return this.#failure?.message;
  }

  /** Hands the Worker its task. @throws {DOMException} a configuration that cannot be cloned: then it has none */
  start(start: Start): void {
    this.#worker.postMessage(start);
    this.#told = true;
    this.#idle = false;
  }

  /** Resolves when it has begun with its task, or is gone without. */
  get ready(): Promise<void> {
    return this.#told ? this.#ready.promise : Promise.resolve();
  }

  /** Resolves when the Worker will touch nothing any more. It has to be told to stop by other means. */
  get stopped(): Promise<void> {
    return this.#told ? this.#stopped.promise : Promise.resolve();
  }

  /** Whether the Worker touches nothing: it was never told to start, or it has stopped. */
  get idle(): boolean {
    return this.#idle;
  }

  /** Resolves at the next message from the Worker. */
  get nextReport(): Promise<void> {
    return this.#report.promise;
  }

  /** Ends the Worker's isolate. */
  terminate(): void {
    this.#worker.terminate();
  }

  /** It does not come to its end by itself. Deno does not end a thread that is in an endless loop: it goes on with the process. */
  giveUp(why: string): void {
    this.#worker.terminate();
    this.#ended({ message: why, isLack: false }, true);
  }

  #ended(failure: Failure | undefined, isGone: boolean): void {
    this.#failure = failure;
    if (isGone) this.#gone();
    if (this.#isProven || failure === undefined) this.owner.memberEnded(this.name, failure);
  }

  async #request(request: ModelRequest, reply: Int32Array<SharedArrayBuffer>): Promise<void> {
    answer(reply, await this.owner.modelRequest(this.name, request));
  }

  #gone(): void {
    this.#idle = true;
    this.#report.resolve();
    this.#ready.resolve();
    this.#stopped.resolve();
  }
}

function answer(reply: Int32Array<SharedArrayBuffer>, result: number): void {
  reply[REPLY.RESULT] = result;
  Atomics.store(reply, REPLY.DONE, 1);
  Atomics.notify(reply, REPLY.DONE);
}
