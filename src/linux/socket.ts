/** Unix sockets that carry whole packets and, with them, descriptors (SOCK_SEQPACKET, SCM_RIGHTS). */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { EAGAIN, ECONNRESET, EINTR } from "./errno.ts";
import { check } from "./linux_error.ts";
import { bytesAddress } from "./mapping.ts";
import { POLLERR, POLLHUP, PollSet } from "./poll.ts";
import { addressOf, listenAt, openSocket, SocketListener } from "./socket_path.ts";

const SOCK_SEQPACKET = 5;
const SOL_SOCKET = 1, SCM_RIGHTS = 1, SHUT_RDWR = 2;
const MSG_CTRUNC = 8, MSG_TRUNC = 0x20, MSG_DONTWAIT = 0x40, MSG_NOSIGNAL = 0x4000, MSG_CMSG_CLOEXEC = 0x4000_0000;

/** Descriptors that one packet can carry (the kernel's SCM_MAX_FD). */
export const MAX_DESCRIPTORS = 253;

/** Bytes of the largest packet that is sent or received whole. */
export const MAX_PACKET_BYTES = 16 << 10;

/** struct cmsghdr: size_t cmsg_len, int cmsg_level, int cmsg_type; then the descriptors, padded to 8 bytes. */
const CONTROL = { length: 0, level: 8, type: 12, data: 16 } as const;
const CONTROL_BYTES = CONTROL.data + Math.ceil(MAX_DESCRIPTORS * 4 / 8) * 8;

/** struct msghdr (56 bytes), whose pointers lead to struct iovec (16), the control data and the packet behind it. */
const HEADER = { vector: 16, vectors: 24, control: 32, controlLength: 40, flags: 48 } as const;
const VECTOR_AT = 56, CONTROL_AT = 72, PACKET_AT = CONTROL_AT + CONTROL_BYTES;

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

/** The one message of this isolate: a call fills it, and it is read before the next. */
class MessageRoom {
  readonly header: Uint8Array<ArrayBuffer>;
  readonly #memory = new ArrayBuffer(PACKET_AT + MAX_PACKET_BYTES);
  readonly #view = new DataView(this.#memory);

  constructor() {
    this.header = new Uint8Array(this.#memory, 0, VECTOR_AT);
    const address = bytesAddress(new Uint8Array(this.#memory));
    this.#view.setBigUint64(HEADER.vector, address + BigInt(VECTOR_AT), true);
    this.#view.setBigUint64(HEADER.vectors, 1n, true);
    this.#view.setBigUint64(HEADER.control, address + BigInt(CONTROL_AT), true);
    this.#view.setBigUint64(VECTOR_AT, address + BigInt(PACKET_AT), true);
  }

  /** A message to send. @throws {RangeError} */
  pack(bytes: Uint8Array, descriptors: readonly number[]): void {
    if (bytes.length > MAX_PACKET_BYTES) throw new RangeError(`a packet of ${bytes.length} bytes`);
    const count = descriptors.length;
    if (count > MAX_DESCRIPTORS) throw new RangeError(`${count} descriptors in one packet: at most ${MAX_DESCRIPTORS}`);
    new Uint8Array(this.#memory, PACKET_AT).set(bytes);
    const length = CONTROL.data + count * 4;
    this.#view.setBigUint64(CONTROL_AT + CONTROL.length, BigInt(length), true);
    this.#view.setInt32(CONTROL_AT + CONTROL.level, SOL_SOCKET, true);
    this.#view.setInt32(CONTROL_AT + CONTROL.type, SCM_RIGHTS, true);
    descriptors.forEach((number, index) => this.#view.setInt32(CONTROL_AT + CONTROL.data + index * 4, number, true));
    this.#setLengths(bytes.length, count === 0 ? 0 : length);
  }

  /** Room for a message to receive. */
  clear(expected: number): void {
    const controlBytes = CONTROL.data + Math.min(expected, MAX_DESCRIPTORS) * 4;
    this.#setLengths(MAX_PACKET_BYTES, expected === 0 ? 0 : controlBytes);
  }

  get flags(): number {
    return this.#view.getInt32(HEADER.flags, true);
  }

  /** A copy of what was received. */
  bytes(sizeBytes: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#memory, PACKET_AT, Math.min(sizeBytes, MAX_PACKET_BYTES)).slice();
  }

  /** What came along; SCM_RIGHTS is the only control data that a socket gets unasked. */
  descriptors(subject: string): Descriptor[] {
    if (this.#view.getBigUint64(HEADER.controlLength, true) < BigInt(CONTROL.data)) return [];
    const length = Number(this.#view.getBigUint64(CONTROL_AT + CONTROL.length, true));
    return Array.from({ length: Math.floor((length - CONTROL.data) / 4) }, (_, index) => {
      const number = this.#view.getInt32(CONTROL_AT + CONTROL.data + index * 4, true);
      return new Descriptor(number, `descriptor received at ${subject}`);
    });
  }

  #setLengths(packetBytes: number, controlBytes: number): void {
    this.#view.setBigUint64(VECTOR_AT + 8, BigInt(packetBytes), true);
    this.#view.setBigUint64(HEADER.controlLength, BigInt(controlBytes), true);
    this.#view.setInt32(HEADER.flags, 0, true);
  }
}

const room = new MessageRoom();
