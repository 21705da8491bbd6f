/** The connection to a vhost-user backend: made when the model starts, and made again whenever it is lost. */

import type { DeviceModelHost } from "../dm/host.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { POLLIN } from "../linux/poll.ts";
import { PollGroup } from "../linux/poll_group.ts";
import { StreamSocket } from "../linux/stream_socket.ts";
import { VhostUserBackend } from "../virtio/vhost_user.ts";
import { BackendGone, VhostUserError } from "../virtio/vhost_user_connection.ts";

/** How long an answer may take: a backend that is to stop first ends what is under way. */
const ANSWER_MS = 10_000;

/** How often a backend that is gone is looked for. */
const RETRY_MS = 100;

/** What is waited for: a backend's answers, which are not to come unasked, and its requests. */
const ANSWERS = 0, REQUESTS = 1, BOTH = 2;

/** Whose backend it is. What is thrown here as a VhostUserError is the backend's fault. */
export interface BackendUser {
  /** There is one again. */
  connected(backend: VhostUserBackend): void;
  /** Its configuration has changed. */
  changed(backend: VhostUserBackend): void;
  /** It makes no sense, and is not looked for until {@linkcode BackendLink.retry}. */
  failed(): void;
}

/** At most one connection at a time. */
export class BackendLink implements Disposable {
  readonly #group: PollGroup;
  readonly #awaitInput = (descriptor: number) => this.host.waitFor(descriptor, POLLIN, ANSWER_MS);
  #backend: VhostUserBackend | undefined;
  #isRetrying = false;
  /** The user knows that there is none. */
  #isMissed = false;

  constructor(
    private readonly host: DeviceModelHost,
    readonly path: string,
    private readonly user: BackendUser,
  ) {
    this.#group = new PollGroup(BOTH, `vhost-user ${path}`);
    host.watch({
      descriptor: this.#group.descriptor.number,
      interest: () => POLLIN,
      ready: () => this.#ready(),
    });
  }

  /** Connects for the first time. @throws {VhostUserError} nobody listens, or what does is no such backend */
  open(): VhostUserBackend {
    const socket = StreamSocket.connect(this.path);
    if (socket === undefined) throw new VhostUserError(this.path, "no backend listens there");
    return this.#take(socket);
  }

  /** Has the backend do something, if there is one. One that fails is given up, or looked for again if it is gone. */
  use(work: (backend: VhostUserBackend) => void): void {
    if (this.#backend === undefined) return;
    try {
      work(this.#backend);
    } catch (error) {
      this.#lose(error);
    }
  }

  /** A backend that has failed gets another chance. */
  retry(): void {
    if (this.#backend !== undefined || this.#isRetrying) return;
    this.#isRetrying = true;
    this.#arrange();
  }

  /** Leaves the backend to somebody else. Should nobody take it, it is this link's again. */
  release(): void {
    this.#close();
    this.retry();
  }

  [Symbol.dispose](): void {
    this.#backend?.[Symbol.dispose]();
    this.#backend = undefined;
    this.#group[Symbol.dispose]();
  }

  #ready(): void {
    if (this.#isRetrying) return this.#lookAgain();
    this.#group.look();
    const requests = this.#group.result(REQUESTS);
    if (this.#group.result(ANSWERS) !== 0) this.use(({ connection }) => connection.unasked());
    if (requests === 0) return;
    this.use((backend) => {
      if (backend.requests?.take()) this.user.changed(backend);
    });
  }

  #lookAgain(): void {
    let socket;
    try {
      socket = StreamSocket.connect(this.path);
    } catch (error) {
      if (!(error instanceof LinuxError)) throw error; // else not yet, as if nobody listened
    }
    if (socket === undefined) return this.#arrange();
    this.#isRetrying = false;
    try {
      this.user.connected(this.#take(socket));
      if (this.#isMissed) this.#say(`vhost-user ${this.path}: the backend is back`);
      this.#isMissed = false;
    } catch (error) {
      this.#lose(error);
    }
  }

  /** @throws {VhostUserError} */
  #take(socket: StreamSocket): VhostUserBackend {
    this.#backend = new VhostUserBackend(socket, this.path, this.#awaitInput);
    this.#arrange();
    return this.#backend;
  }

  #lose(error: unknown): void {
    if (!(error instanceof VhostUserError)) throw error;
    this.#close();
    if (!(error instanceof BackendGone)) {
      this.#say(error.message);
      return this.user.failed();
    }
    if (!this.#isMissed) this.#say(`${error.message}; requests wait until it is back`);
    this.#isMissed = true;
    this.retry();
  }

  #close(): void {
    this.#backend?.[Symbol.dispose]();
    this.#backend = undefined;
    this.#arrange();
  }

  /** Waits for what there is now. */
  #arrange(): void {
    const group = this.#group, backend = this.#backend;
    group.begin();
    if (backend !== undefined) group.add(backend.connection.descriptor, POLLIN);
    if (backend?.requests !== undefined) group.add(backend.requests.descriptor, POLLIN);
    group.end(this.#isRetrying ? RETRY_MS : Infinity);
  }

  #say(text: string): void {
    console.error(`xenolith: ${text.replaceAll("\n", "\\n")}`);
  }
}
