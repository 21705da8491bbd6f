/** A device model's connection to the hypervisor of another process: requests and their replies, one at a time. */

import { type Descriptor, failedWith } from "../linux/descriptor.ts";
import { EBUSY, ECONNREFUSED, ECONNRESET, ENOENT, EOPNOTSUPP, EPIPE } from "../linux/errno.ts";
import { PacketSocket } from "../linux/socket.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import {
  decodeReply,
  encodeRequest,
  type Inputs,
  type OperationName,
  type Outputs,
  PROTOCOL_VERSION,
} from "./protocol.ts";

/** How often it is looked whether the socket is there by now. */
const RETRY_MS = 20;

/** No hypervisor can be reached, or not by this device model. One line. */
export class HypervisorUnavailable extends Error {
  static {
    this.prototype.name = "HypervisorUnavailable";
  }

  /** @param path the socket */
  constructor(readonly path: string, why: string) {
    super(`${path}: ${why}`);
  }
}

/** Another device model is connected. */
export class SocketOccupied extends HypervisorUnavailable {
  static {
    this.prototype.name = "SocketOccupied";
  }
}

/** A reply. The descriptors are the caller's. */
export interface Received<N extends OperationName> {
  readonly out: Outputs<N>;
  readonly list: DataView;
  readonly descriptors: readonly Descriptor[];
}

/** An open connection that has said HELLO. */
export class HypervisorConnection implements Disposable {
  readonly #socket: PacketSocket;
  /** vCPUs that the domain can have. */
  readonly vcpus: number;
  /** vCPUs that one waiting thread of the hypervisor serves. */
  readonly vcpusPerWaiter: number;
  /** Waiting threads. */
  readonly waiters: number;
  /** Called between a request and its reply: returns when that is there, at the latest. */
  beforeReply: () => void = () => {};

  /** @param socket from now on the connection's */
  private constructor(socket: PacketSocket) {
    this.#socket = socket;
    const { vcpus, vcpus_per_waiter, waiters } = this.call("hello", { version: PROTOCOL_VERSION }).out;
    this.vcpus = vcpus;
    this.vcpusPerWaiter = vcpus_per_waiter;
    this.waiters = waiters;
  }

  /**
   * Connects, as soon as somebody listens.
   * @param timeoutMs gives up after so long
   * @throws {HypervisorUnavailable} nobody listens, another device model is connected, or it speaks another version
   * @throws {LinuxError} the path cannot be, or may not be connected to
   */
  static async open(path: string, timeoutMs = Infinity): Promise<HypervisorConnection> {
    using stack = new DisposableStack();
    const socket = stack.use(await connect(path, timeoutMs));
    try {
      const connection = new HypervisorConnection(socket);
      stack.move();
      return connection;
    } catch (error) {
      if (!(error instanceof DmOpError)) throw error;
      if (error.errno === EBUSY) throw new SocketOccupied(path, "another device model is connected");
      const version = `the hypervisor does not speak version ${PROTOCOL_VERSION} of the protocol`;
      throw new HypervisorUnavailable(path, error.errno === EOPNOTSUPP ? version : error.message);
    }
  }

  /** The socket: it hangs up when the hypervisor is gone. */
  get descriptor(): number {
    return this.#socket.number;
  }

  /**
   * Has the hypervisor carry out an operation. Blocks until it has.
   * @param expected how many descriptors may come with the reply
   * @param descriptors that go with the request; they stay the caller's
   * @throws {DmOpError} it was refused @throws {HypervisorUnavailable} the hypervisor is gone
   */
  call<N extends OperationName>(
    name: N,
    values: Inputs<N>,
    expected = 0,
    descriptors: readonly number[] = [],
  ): Received<N> {
    const packet = this.#exchange(encodeRequest(name, values), expected, descriptors);
    const reply = decodeReply(name, packet.bytes);
    if (reply !== undefined && reply.result === 0) return { ...reply, descriptors: packet.descriptors };
    for (const descriptor of packet.descriptors) descriptor[Symbol.dispose]();
    if (reply === undefined) throw new HypervisorUnavailable(this.#socket.subject, `no reply to ${name}`);
    throw new DmOpError(name, -reply.result, describe(values));
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #exchange(request: Uint8Array, expected: number, descriptors: readonly number[]) {
    try {
      this.#socket.send(request, descriptors);
    } catch (error) {
      if (!failedWith(error, EPIPE, ECONNRESET)) throw error;
    }
    this.beforeReply();
    const packet = this.#socket.receive(expected);
    if (typeof packet === "object") return packet;
    throw new HypervisorUnavailable(this.#socket.subject, "the hypervisor is gone");
  }
}

async function connect(path: string, timeoutMs: number): Promise<PacketSocket> {
  for (const end = performance.now() + timeoutMs;;) {
    try {
      return PacketSocket.connect(path);
    } catch (error) {
      if (!failedWith(error, ENOENT, ECONNREFUSED)) throw error;
      if (performance.now() >= end) throw new HypervisorUnavailable(path, "nobody listens there");
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** "id=1 type=0 start=0x500 end=0x507" */
function describe(values: Readonly<Record<string, number | bigint>>): string {
  return Object.entries(values).map(([name, value]) => {
    return `${name}=${typeof value === "bigint" ? `0x${value.toString(16)}` : value}`;
  }).join(" ");
}
