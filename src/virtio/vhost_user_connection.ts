/** Messages between a vhost-user frontend and its backend: requests, replies, consent. */

import { type Descriptor, failedWith } from "../linux/descriptor.ts";
import { ECONNRESET, EPIPE } from "../linux/errno.ts";
import { receiveMessage, sendMessage } from "../linux/stream_message.ts";
import type { StreamSocket } from "../linux/stream_socket.ts";
import { BACKEND_REQUEST, FLAG, HEADER, REQUEST, VERSION, VERSION_MASK } from "./vhost_user_abi.ts";

export type RequestName = keyof typeof REQUEST;

/** A backend does, or says, what the protocol does not know. One line. */
export class VhostUserError extends Error {
  static {
    this.prototype.name = "VhostUserError";
  }

  /** @param socket its path */
  constructor(readonly socket: string, why: string) {
    super(`vhost-user ${socket}: ${why}`);
  }
}

/** The backend has closed the connection, or ended. */
export class BackendGone extends VhostUserError {
  static {
    this.prototype.name = "BackendGone";
  }

  constructor(socket: string) {
    super(socket, "the backend is gone");
  }
}

/** No message of ours or of a backend's has more. */
const MOST_BYTES = 512;

/** Waits until something can be read from a descriptor. @returns false it takes too long */
export type AwaitInput = (descriptor: number) => boolean;

/** Bytes that came, and the descriptor that came with them, if one did: the caller's to close. */
export interface Reply {
  readonly payload: DataView<ArrayBuffer>;
  readonly descriptor: Descriptor | undefined;
}

/** One end of a socket, as messages. */
class Messages {
  readonly #header = new DataView(new ArrayBuffer(HEADER.bytes));
  readonly #headerBytes = new Uint8Array(this.#header.buffer);

  constructor(readonly socket: StreamSocket, readonly path: string, private readonly awaitInput: AwaitInput) {}

  /** @throws {BackendGone} @throws {VhostUserError} it does not receive */
  send(request: number, flags: number, payload: Uint8Array, descriptors: readonly number[] = []): void {
    const bytes = new Uint8Array(HEADER.bytes + payload.length), header = new DataView(bytes.buffer);
    header.setUint32(HEADER.request, request, true);
    header.setUint32(HEADER.flags, VERSION | flags, true);
    header.setUint32(HEADER.size, payload.length, true);
    bytes.set(payload, HEADER.bytes);
    try {
      sendMessage(this.socket, bytes, descriptors);
    } catch (error) {
      if (failedWith(error, EPIPE, ECONNRESET)) throw new BackendGone(this.path);
      throw this.wrong("does not receive what it is sent");
    }
  }

  /** The next message. @param what it is waited for @throws {BackendGone} @throws {VhostUserError} */
  receive(what: string, descriptors: Descriptor[]): { request: number; flags: number; payload: DataView<ArrayBuffer> } {
    this.#fill(this.#headerBytes, what, descriptors);
    const header = this.#header, word = (at: number) => header.getUint32(at, true);
    const request = word(HEADER.request), flags = word(HEADER.flags), size = word(HEADER.size);
    if ((flags & VERSION_MASK) !== VERSION) throw this.wrong(`speaks version ${flags & VERSION_MASK}, not ${VERSION}`);
    if (size > MOST_BYTES) throw this.wrong(`sends a message of ${size} bytes`);
    const payload = new Uint8Array(size);
    if (size > 0) this.#fill(payload, what, descriptors);
    return { request, flags, payload: new DataView(payload.buffer) };
  }

  wrong(why: string): VhostUserError {
    return new VhostUserError(this.path, `the backend ${why}`);
  }

  #fill(target: Uint8Array, what: string, descriptors: Descriptor[]): void {
    for (let done = 0; done < target.length;) {
      const expected = descriptors.length === 0 ? 1 : 0;
      const received = receiveMessage(this.socket, target.subarray(done), descriptors, expected);
      if (received < 0) throw new BackendGone(this.path);
      if (received === 0 && !this.awaitInput(this.socket.number)) throw this.wrong(`does not answer ${what}`);
      done += received;
    }
  }
}

/** The frontend's end: everything that it asks for is done, or refused, when a call returns. */
export class VhostUserConnection implements Disposable {
  readonly #messages: Messages;
  /** Whether requests without a reply are consented to (REPLY_ACK). */
  acknowledges = false;

  /** @param socket from now on this object's @param path what people call the backend */
  constructor(socket: StreamSocket, path: string, awaitInput: AwaitInput) {
    this.#messages = new Messages(socket, path, awaitInput);
  }

  get path(): string {
    return this.#messages.path;
  }

  /** To be watched: what comes unasked is an end, or nonsense. */
  get descriptor(): number {
    return this.#messages.socket.number;
  }

  /** Has something done. @throws {BackendGone} @throws {VhostUserError} it is refused */
  tell(name: RequestName, payload: Uint8Array, descriptors: readonly number[] = []): void {
    this.#messages.send(REQUEST[name], this.acknowledges ? FLAG.NEED_REPLY : 0, payload, descriptors);
    if (!this.acknowledges) return;
    const { payload: reply } = this.#reply(name, 0);
    if (reply.byteLength !== 8) throw this.#wrongSize(name, reply);
    if (reply.getBigUint64(0, true) !== 0n) throw this.#messages.wrong(`refuses ${name}`);
  }

  /** Asks for something. @param bytes what the answer has to have @throws {BackendGone} @throws {VhostUserError} */
  ask(name: RequestName, payload: Uint8Array, bytes: number): DataView<ArrayBuffer> {
    return this.askForFile(name, payload, bytes, 0).payload;
  }

  /** The same, when a descriptor may come with it. */
  askForFile(name: RequestName, payload: Uint8Array, bytes: number, expected = 1): Reply {
    this.#messages.send(REQUEST[name], 0, payload);
    const reply = this.#reply(name, expected);
    if (reply.payload.byteLength === bytes) return reply;
    reply.descriptor?.[Symbol.dispose]();
    throw this.#wrongSize(name, reply.payload);
  }

  /** Something came that was not asked for. @throws {BackendGone} @throws {VhostUserError} always one of them */
  unasked(): never {
    const descriptors: Descriptor[] = [];
    try {
      const { request } = this.#messages.receive("anything", descriptors);
      throw this.#messages.wrong(`sends message ${request}, which nobody asked for`);
    } finally {
      for (const descriptor of descriptors) descriptor[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    this.#messages.socket[Symbol.dispose]();
  }

  #reply(name: RequestName, expected: number): Reply {
    const descriptors: Descriptor[] = [];
    try {
      const { request, flags, payload } = this.#messages.receive(name, descriptors);
      if ((flags & FLAG.REPLY) === 0) throw this.#messages.wrong(`sends message ${request} where ${name} is answered`);
      if (request !== REQUEST[name]) throw this.#messages.wrong(`answers request ${request} where ${name} was asked`);
      return { payload, descriptor: expected > 0 ? descriptors.shift() : undefined };
    } finally {
      for (const descriptor of descriptors) descriptor[Symbol.dispose]();
    }
  }

  #wrongSize(name: RequestName, { byteLength }: DataView): VhostUserError {
    return this.#messages.wrong(`answers ${name} with ${byteLength} bytes`);
  }
}

/** The other way round: what the backend asks of the frontend, on a socket of its own (BACKEND_REQ). */
export class BackendRequests implements Disposable {
  readonly #messages: Messages;

  /** @param socket from now on this object's */
  constructor(socket: StreamSocket, path: string, awaitInput: AwaitInput) {
    this.#messages = new Messages(socket, path, awaitInput);
  }

  /** To be watched. */
  get descriptor(): number {
    return this.#messages.socket.number;
  }

  /** Takes one request. @returns whether the configuration has changed @throws {BackendGone} @throws {VhostUserError} */
  take(): boolean {
    const descriptors: Descriptor[] = [];
    try {
      const { request, flags } = this.#messages.receive("its own request", descriptors);
      const isKnown = request === BACKEND_REQUEST.CONFIG_CHANGE_MSG;
      const consent = new Uint8Array(8);
      consent[0] = isKnown ? 0 : 1;
      if ((flags & FLAG.NEED_REPLY) !== 0) this.#messages.send(request, FLAG.REPLY, consent);
      return isKnown;
    } finally {
      for (const descriptor of descriptors) descriptor[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    this.#messages.socket[Symbol.dispose]();
  }
}
