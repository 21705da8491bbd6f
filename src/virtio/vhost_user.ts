/** A vhost-user backend that serves a device's rings in our stead: what it offers, and how it is set to work. */

import type { MemoryPiece } from "../dm/host.ts";
import type { Descriptor } from "../linux/descriptor.ts";
import { connectedPair } from "../linux/stream_message.ts";
import type { StreamSocket } from "../linux/stream_socket.ts";
import { FEATURE } from "./abi.ts";
import type { QueueLayout } from "./virtqueue.ts";
import {
  CONFIGURATION,
  INFLIGHT,
  MEMORY_TABLE,
  MOST_REGIONS,
  PROTOCOL_FEATURE,
  PROTOCOL_FEATURES,
  REGION,
  VRING_ADDRESS,
  VRING_STATE,
} from "./vhost_user_abi.ts";
import { type AwaitInput, BackendRequests, VhostUserConnection, VhostUserError } from "./vhost_user_connection.ts";

/** A ring to be served. */
export interface ServedRing {
  /** Which of the device's queues it is. */
  readonly index: number;
  readonly layout: QueueLayout;
  /** Where in the driver's ring it goes on. */
  readonly base: number;
  /** Eventfd of the driver's notifications. */
  readonly kick: number;
}

/** All that a backend needs to work. */
export interface Served {
  readonly memory: readonly MemoryPiece[];
  readonly rings: readonly ServedRing[];
  /** Eventfd of what is given back, and of what went wrong. */
  readonly call: number;
  readonly error: number;
  /** Where it, or one before it, keeps what is under way. */
  readonly inflight: InflightMemory | undefined;
}

/** Memory in which backends keep what is under way. Nobody looks at it here. */
export interface InflightMemory extends Disposable {
  readonly file: Descriptor;
  /** As it came. */
  readonly description: Uint8Array;
}

/** What the protocol can have and we make use of. */
const WANTED = [
  PROTOCOL_FEATURE.MQ,
  PROTOCOL_FEATURE.REPLY_ACK,
  PROTOCOL_FEATURE.BACKEND_REQ,
  PROTOCOL_FEATURE.CONFIG,
  PROTOCOL_FEATURE.INFLIGHT_SHMFD,
];

/** The protocol wants addresses of the frontend's for guest memory: they only have to agree with each other. */
const USER_BASE = 2n ** 44n;

const NOTHING = new Uint8Array(), NUMBER_BYTES = 8;

/** One connection to a backend, from its first message on. */
export class VhostUserBackend implements Disposable {
  readonly #held: DisposableStack;
  readonly #protocol: ReadonlySet<number>;
  readonly #hasProtocolFeatures: boolean;
  readonly connection: VhostUserConnection;
  /** The virtio features that it offers, by the number of their bit. */
  readonly features: ReadonlySet<number>;
  /** How many rings it can serve. */
  readonly queues: number;
  /** What it asks for, if it may. */
  readonly requests: BackendRequests | undefined;

  /** Finds out what it can. @param socket from now on this object's @throws {VhostUserError} */
  constructor(socket: StreamSocket, path: string, awaitInput: AwaitInput) {
    using held = new DisposableStack();
    const connection = this.connection = held.use(new VhostUserConnection(socket, path, awaitInput));
    const offered = bitsOf(this.#number("GET_FEATURES"));
    this.#hasProtocolFeatures = offered.delete(PROTOCOL_FEATURES);
    this.features = offered;
    this.#protocol = this.#hasProtocolFeatures ? this.#negotiate() : new Set();
    connection.acknowledges = this.#protocol.has(PROTOCOL_FEATURE.REPLY_ACK);
    connection.tell("SET_OWNER", NOTHING);
    this.queues = this.#protocol.has(PROTOCOL_FEATURE.MQ) ? Number(this.#number("GET_QUEUE_NUM")) : 1;
    if (this.queues < 1) throw new VhostUserError(path, "the backend serves no queues");
    if (this.#protocol.has(PROTOCOL_FEATURE.BACKEND_REQ)) {
      const [ours, its] = connectedPair(`requests of ${path}`);
      using _its = its;
      this.requests = held.use(new BackendRequests(ours, path, awaitInput));
      connection.tell("SET_BACKEND_REQ_FD", NOTHING, [its.number]);
    }
    this.#held = held.move();
  }

  /** The first so many bytes of the device's configuration. @throws {VhostUserError} */
  readConfiguration(sizeBytes: number): Uint8Array<ArrayBuffer> {
    const { path } = this.connection;
    if (!this.#protocol.has(PROTOCOL_FEATURE.CONFIG)) {
      throw new VhostUserError(path, "the backend has no configuration");
    }
    const request = configuration(0, new Uint8Array(sizeBytes));
    const reply = this.connection.ask("GET_CONFIG", request, request.length);
    return new Uint8Array(reply.buffer, CONFIGURATION.data);
  }

  /** The driver has written to the configuration. @throws {VhostUserError} */
  writeConfiguration(offset: number, bytes: Uint8Array): void {
    this.connection.tell("SET_CONFIG", configuration(offset, bytes));
  }

  /**
   * What driver and device have agreed on. Where memory is, is between driver and transport: to a backend ACCESS_PLATFORM
   * would mean that addresses go through an IOMMU, for which it would have to ask. @throws {VhostUserError}
   */
  agree(features: ReadonlySet<number>): void {
    const taken = [...features].filter((bit) => this.features.has(bit) && bit !== FEATURE.ACCESS_PLATFORM);
    const bits = [...taken, ...this.#hasProtocolFeatures ? [PROTOCOL_FEATURES] : []];
    this.connection.tell("SET_FEATURES", number(numberOf(bits)));
  }

  /** New memory for what is under way, if it keeps such. It outlives the connection. @throws {VhostUserError} */
  createInflight(queues: number, queueSize: number): InflightMemory | undefined {
    if (!this.#protocol.has(PROTOCOL_FEATURE.INFLIGHT_SHMFD)) return undefined;
    const request = new DataView(new ArrayBuffer(INFLIGHT.bytes)), requestBytes = new Uint8Array(request.buffer);
    request.setUint16(INFLIGHT.queues, queues, true);
    request.setUint16(INFLIGHT.queueSize, queueSize, true);
    const { payload, descriptor } = this.connection.askForFile("GET_INFLIGHT_FD", requestBytes, INFLIGHT.bytes);
    if (descriptor === undefined) {
      throw new VhostUserError(this.connection.path, "the backend answers GET_INFLIGHT_FD without memory");
    }
    const description = new Uint8Array(payload.buffer);
    return { file: descriptor, description, [Symbol.dispose]: () => descriptor[Symbol.dispose]() };
  }

  /** Has it serve. @throws {VhostUserError} */
  start({ memory, rings, call, error, inflight }: Served): void {
    const { connection } = this;
    if (inflight !== undefined && this.#protocol.has(PROTOCOL_FEATURE.INFLIGHT_SHMFD)) {
      connection.tell("SET_INFLIGHT_FD", inflight.description, [inflight.file.number]);
    }
    connection.tell("SET_MEM_TABLE", memoryTable(memory), memory.map(({ descriptor }) => descriptor));
    for (const { index, layout, base, kick } of rings) {
      connection.tell("SET_VRING_NUM", state(index, layout.size));
      connection.tell("SET_VRING_BASE", state(index, base));
      connection.tell("SET_VRING_ADDR", addresses(index, layout));
      connection.tell("SET_VRING_CALL", number(BigInt(index)), [call]);
      connection.tell("SET_VRING_ERR", number(BigInt(index)), [error]);
      connection.tell("SET_VRING_KICK", number(BigInt(index)), [kick]);
    }
    if (!this.#hasProtocolFeatures) return;
    for (const { index } of rings) connection.tell("SET_VRING_ENABLE", state(index, 1));
  }

  /** Has it stop, when all that it has taken is given back. @throws {VhostUserError} */
  stop(rings: readonly Pick<ServedRing, "index">[]): void {
    for (const { index } of rings) this.connection.ask("GET_VRING_BASE", state(index, 0), VRING_STATE.bytes);
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }

  #negotiate(): Set<number> {
    const offered = bitsOf(this.#number("GET_PROTOCOL_FEATURES")), taken = WANTED.filter((bit) => offered.has(bit));
    this.connection.tell("SET_PROTOCOL_FEATURES", number(numberOf(taken)));
    return new Set(taken);
  }

  #number(name: "GET_FEATURES" | "GET_PROTOCOL_FEATURES" | "GET_QUEUE_NUM"): bigint {
    return this.connection.ask(name, NOTHING, NUMBER_BYTES).getBigUint64(0, true);
  }
}

/** Whether so many pieces of memory fit into a table. */
export function fitsTable(memory: readonly MemoryPiece[]): boolean {
  return memory.length <= MOST_REGIONS;
}

function bitsOf(value: bigint): Set<number> {
  const bits = new Set<number>();
  for (let bit = 0; bit < 64; bit++) if ((value >> BigInt(bit) & 1n) !== 0n) bits.add(bit);
  return bits;
}

function numberOf(bits: readonly number[]): bigint {
  return bits.reduce((sum, bit) => sum | 1n << BigInt(bit), 0n);
}

function number(value: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(NUMBER_BYTES));
  view.setBigUint64(0, value, true);
  return new Uint8Array(view.buffer);
}

function state(index: number, num: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(VRING_STATE.bytes));
  view.setUint32(VRING_STATE.index, index, true);
  view.setUint32(VRING_STATE.num, num, true);
  return new Uint8Array(view.buffer);
}

function addresses(index: number, { descriptors, used, available }: QueueLayout): Uint8Array {
  const view = new DataView(new ArrayBuffer(VRING_ADDRESS.bytes));
  view.setUint32(VRING_ADDRESS.index, index, true);
  view.setBigUint64(VRING_ADDRESS.descriptors, userAddress(descriptors), true);
  view.setBigUint64(VRING_ADDRESS.used, userAddress(used), true);
  view.setBigUint64(VRING_ADDRESS.available, userAddress(available), true);
  return new Uint8Array(view.buffer);
}

function memoryTable(memory: readonly MemoryPiece[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(MEMORY_TABLE.regions + memory.length * REGION.bytes));
  view.setUint32(MEMORY_TABLE.count, memory.length, true);
  memory.forEach(({ address, sizeBytes, offset }, index) => {
    const at = MEMORY_TABLE.regions + index * REGION.bytes;
    view.setBigUint64(at + REGION.guest, BigInt(address), true);
    view.setBigUint64(at + REGION.size, BigInt(sizeBytes), true);
    view.setBigUint64(at + REGION.user, userAddress(address), true);
    view.setBigUint64(at + REGION.offset, BigInt(offset), true);
  });
  return new Uint8Array(view.buffer);
}

function userAddress(address: number): bigint {
  return USER_BASE + BigInt(address);
}

function configuration(offset: number, bytes: Uint8Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(CONFIGURATION.data + bytes.length));
  view.setUint32(CONFIGURATION.offset, offset, true);
  view.setUint32(CONFIGURATION.size, bytes.length, true);
  new Uint8Array(view.buffer).set(bytes, CONFIGURATION.data);
  return new Uint8Array(view.buffer);
}
