/** A vhost-user backend inside the test: it answers when it is told to, and as it is told to. */

import type { Descriptor } from "../../src/linux/descriptor.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { receiveMessage, sendMessage } from "../../src/linux/stream_message.ts";
import { StreamListener, StreamSocket } from "../../src/linux/stream_socket.ts";
import { FLAG, HEADER, PROTOCOL_FEATURES, REQUEST, VERSION } from "../../src/virtio/vhost_user_abi.ts";
import type { RequestName } from "../../src/virtio/vhost_user_connection.ts";

/** A request as it came. */
export interface Received {
  readonly name: RequestName;
  readonly payload: number[];
  readonly descriptors: number;
}

const NAMES = Object.fromEntries(Object.entries(REQUEST).map(([name, number]) => [number, name as RequestName]));

/** What it offers and says. */
export class FakeBackend implements Disposable {
  features = bits(9, 28, 29, 32, PROTOCOL_FEATURES);
  protocolFeatures = bits(0, 3, 5, 9, 12);
  queues = 1n;
  readonly configuration = new Uint8Array(60);
  readonly inflight = new Uint8Array(20).fill(9);
  /** Requests since it was last cleared. */
  readonly received: Received[] = [];
  /** The last descriptors of each request; the first of SET_BACKEND_REQ_FD is a socket. */
  readonly kept = new Map<RequestName, Descriptor[]>();
  /** Answers of one's own: a whole message, or only a payload; with "silence" there is none. */
  readonly answers = new Map<RequestName, Uint8Array | { payload: Uint8Array } | "silence">();
  #socket: StreamSocket | undefined;
  #listener: StreamListener | undefined;

  constructor(socket?: StreamSocket) {
    this.#socket = socket;
  }

  listen(path: string): void {
    this.#listener = StreamListener.create(path);
  }

  /** What there is to be waited for. */
  get descriptor(): number {
    return (this.#socket ?? this.#listener)!.number;
  }

  /** Nobody who connects is let in any more, and who is in is out. */
  die(): void {
    this.#listener?.[Symbol.dispose]();
    this.#listener = undefined;
    this.hangUp();
  }

  hangUp(): void {
    this.#socket?.[Symbol.dispose]();
    this.#socket = undefined;
  }

  /** Takes what has come, and answers it. */
  step(): void {
    this.#socket ??= this.#listener?.accept();
    while (this.#socket !== undefined && this.#take(this.#socket));
  }

  /** Asks the frontend for something, on the socket for that. */
  ask(request: number, needsReply: boolean): StreamSocket {
    const { number } = this.kept.get("SET_BACKEND_REQ_FD")![0], socket = new StreamSocket(number, "requests");
    sendMessage(socket, message(request, VERSION | (needsReply ? FLAG.NEED_REPLY : 0), new Uint8Array()));
    return socket;
  }

  get names(): string {
    return this.received.map(({ name }) => name).join(" ");
  }

  [Symbol.dispose](): void {
    this.die();
    for (const descriptors of this.kept.values()) for (const descriptor of descriptors) descriptor[Symbol.dispose]();
  }

  #take(socket: StreamSocket): boolean {
    const header = new Uint8Array(HEADER.bytes), descriptors: Descriptor[] = [];
    if (receiveMessage(socket, header, descriptors, 16) <= 0) return false;
    const view = new DataView(header.buffer), payload = new Uint8Array(view.getUint32(HEADER.size, true));
    if (payload.length > 0) receiveMessage(socket, payload);
    const name = NAMES[view.getUint32(HEADER.request, true)], flags = view.getUint32(HEADER.flags, true);
    this.received.push({ name, payload: [...payload], descriptors: descriptors.length });
    for (const descriptor of this.kept.get(name) ?? []) descriptor[Symbol.dispose]();
    this.kept.set(name, descriptors);
    this.#answer(socket, name, payload, (flags & FLAG.NEED_REPLY) !== 0);
    return this.#socket === socket;
  }

  #answer(socket: StreamSocket, name: RequestName, payload: Uint8Array, needsReply: boolean): void {
    const own = this.answers.get(name);
    if (own === "silence") return;
    if (own instanceof Uint8Array) return sendMessage(socket, own);
    const reply = own?.payload ?? this.#reply(name, payload) ?? (needsReply ? new Uint8Array(8) : undefined);
    if (reply === undefined) return;
    using file = name === "GET_INFLIGHT_FD" ? MemoryFile.create("inflight", 4096) : undefined;
    sendMessage(socket, message(REQUEST[name], VERSION | FLAG.REPLY, reply), file === undefined ? [] : [file.number]);
  }

  #reply(name: RequestName, payload: Uint8Array): Uint8Array | undefined {
    if (name === "GET_FEATURES") return number(this.features);
    if (name === "GET_PROTOCOL_FEATURES") return number(this.protocolFeatures);
    if (name === "GET_QUEUE_NUM") return number(this.queues);
    if (name === "GET_INFLIGHT_FD") return this.inflight;
    if (name === "GET_VRING_BASE") return payload;
    if (name !== "GET_CONFIG") return undefined;
    return Uint8Array.of(...payload.subarray(0, 12), ...this.configuration.subarray(0, payload.length - 12));
  }
}

export function bits(...numbers: number[]): bigint {
  return numbers.reduce((sum, bit) => sum | 1n << BigInt(bit), 0n);
}

export function message(request: number, flags: number, payload: Uint8Array, size = payload.length): Uint8Array {
  const bytes = new Uint8Array(HEADER.bytes + payload.length);
  new Uint32Array(bytes.buffer, 0, 3).set([request, flags, size]);
  bytes.set(payload, HEADER.bytes);
  return bytes;
}

export function number(value: bigint): Uint8Array {
  return new Uint8Array(BigUint64Array.of(value).buffer);
}
