/** Unix sockets that carry whole packets and, with them, descriptors (SOCK_SEQPACKET, SCM_RIGHTS). */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { EAGAIN, ECONNRESET, EINTR } from "./errno.ts";
import { check } from "./linux_error.ts";
import { POLLERR, POLLHUP, PollSet } from "./poll.ts";
import { MSG_CMSG_CLOEXEC, MSG_NOSIGNAL, room } from "./socket_message.ts";
import { addressOf, listenAt, openSocket, SocketListener } from "./socket_path.ts";

export { MAX_DESCRIPTORS, MAX_PACKET_BYTES } from "./socket_message.ts";

const SOCK_SEQPACKET = 5;
const SHUT_RDWR = 2;
const MSG_CTRUNC = 8, MSG_TRUNC = 0x20, MSG_DONTWAIT = 0x40;

/** Descriptors that came with a packet did not fit: too many, or this process may have no more. The rest is closed. */
export class DescriptorsLostError extends Error {
  static {
    this.prototype.name = "DescriptorsLostError";
  }
}

/** What was received. */
export interface Packet {
  /** The first {@linkcode MAX_PACKET_BYTES} of it; the caller's to keep. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** What it had when it was sent. */
  readonly sizeBytes: number;
  /** They are the caller's. */
  readonly descriptors: Descriptor[];
}

/** One end of a connection. */
export class PacketSocket extends Descriptor {
  readonly #flags: number;

  /** @param waits whether sending and receiving wait until they can be done */
  constructor(number: number, subject: string, waits: boolean) {
    super(number, subject);
    this.#flags = waits ? 0 : MSG_DONTWAIT;
  }

  /** Connects; its calls wait. @throws {LinuxError} ENOENT no such path; ECONNREFUSED nobody listens there */
  static connect(path: string): PacketSocket {
    const address = addressOf(path);
    using stack = new DisposableStack();
    const socket = stack.use(new PacketSocket(openSocket(path, SOCK_SEQPACKET), path, true));
    check(calls.connect(socket.number, address, address.length), "connect", path);
    stack.move();
    return socket;
  }

  /**
   * Sends one packet and duplicates of `descriptors`.
   * @throws {LinuxError} EPIPE, ECONNRESET the other end is closed; EAGAIN it does not receive, and nobody waits
   * @throws {RangeError} too many bytes or descriptors
   */
  send(bytes: Uint8Array, descriptors: readonly number[] = []): void {
    room.pack(bytes, descriptors);
    for (;;) {
      const sent = calls.sendmsg(this.number, room.header, this.#flags | MSG_NOSIGNAL);
      if (sent === -EINTR) continue;
      check(sent, "sendmsg", this.subject);
      return;
    }
  }

  /**
   * Receives one packet. Descriptors that come with it, but are not expected, never become this process's.
   * @param expected how many descriptors there is room for
   * @param exact whether it is an error that there were more
   * @returns "nothing" if nothing has come and nobody waits; "end" if the other end is closed, or sent an empty packet
   * @throws {DescriptorsLostError} not all of the expected ones could be received @throws {LinuxError}
   */
  receive(expected = 0, exact = true): Packet | "nothing" | "end" {
    for (;;) {
      room.clear(expected);
      const sizeBytes = calls.recvmsg(this.number, room.header, this.#flags | MSG_TRUNC | MSG_CMSG_CLOEXEC);
      if (sizeBytes === -EINTR) continue;
      if (sizeBytes === -EAGAIN) return "nothing";
      if (sizeBytes === -ECONNRESET) return "end";
      check(sizeBytes, "recvmsg", this.subject);
      const descriptors = room.descriptors(this.subject);
      const lost = exact && expected > 0 && (room.flags & MSG_CTRUNC) !== 0;
      if (lost || sizeBytes === 0) { for (const descriptor of descriptors) descriptor[Symbol.dispose](); }
      if (lost) throw new DescriptorsLostError(`${this.subject}: not all descriptors of a packet could be received`);
      return sizeBytes === 0 ? "end" : { bytes: room.bytes(sizeBytes), sizeBytes, descriptors };
    }
  }

  /** Whether the other end is closed, or the connection shut down, though packets may be left to receive. */
  get hungUp(): boolean {
    const poll = new PollSet(1);
    poll.add(this.number, 0);
    poll.look();
    return (poll.result(0) & (POLLHUP | POLLERR)) !== 0;
  }

  /** Ends the connection for both ends; the descriptor stays open. */
  shutDown(): void {
    calls.shutdown(this.number, SHUT_RDWR);
  }
}

/** Takes connections at a path, which goes when this is disposed. */
export class PacketListener extends SocketListener {
  /** Listens at `path`, as {@linkcode listenAt} does. */
  static create(path: string): PacketListener {
    return new PacketListener(listenAt(path, SOCK_SEQPACKET), path);
  }

  /** The next connection, whose calls do not wait; undefined if nobody has connected. @throws {LinuxError} EMFILE, ... */
  accept(): PacketSocket | undefined {
    const number = this.acceptNumber();
    return number === undefined ? undefined : new PacketSocket(number, this.path, false);
  }
}
