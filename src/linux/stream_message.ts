/** Stream sockets whose bytes carry descriptors (SCM_RIGHTS). */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { EAGAIN, ECONNRESET, EINTR, EPROTOTYPE } from "./errno.ts";
import { check, LinuxError } from "./linux_error.ts";
import { MAX_PACKET_BYTES, MSG_CMSG_CLOEXEC, MSG_NOSIGNAL, room } from "./socket_message.ts";
import { addressOf, openSocket, SocketPathError } from "./socket_path.ts";
import { StreamSocket } from "./stream_socket.ts";

const AF_UNIX = 1, SOCK_STREAM = 1, SOCK_DGRAM = 2, SOCK_SEQPACKET = 5, SOCK_NONBLOCK = 0x800, SOCK_CLOEXEC = 0x80000;

/** Both ends of a new connection. @throws {LinuxError} */
export function connectedPair(subject: string): [StreamSocket, StreamSocket] {
  const pair = new Int32Array(2);
  check(calls.socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, pair), "socketpair", subject);
  return [new StreamSocket(pair[0], subject), new StreamSocket(pair[1], subject)];
}

/**
 * Sends bytes, and duplicates of `descriptors` with the first of them.
 * @throws {LinuxError} EPIPE, ECONNRESET the other end is closed; EAGAIN it does not receive: some may have been sent
 */
export function sendMessage(socket: StreamSocket, bytes: Uint8Array, descriptors: readonly number[] = []): void {
  room.pack(bytes, descriptors);
  for (;;) {
    const sent = calls.sendmsg(socket.number, room.header, MSG_NOSIGNAL);
    if (sent === -EINTR) continue;
    if (check(sent, "sendmsg", socket.subject) < bytes.length) throw new LinuxError("sendmsg", EAGAIN, socket.subject);
    return;
  }
}

/**
 * Receives some bytes.
 * @param target where they go @param descriptors what comes with them is added, as many as are expected at most
 * @returns how many; 0: nothing has come yet; -1: the other end is closed @throws {LinuxError}
 */
export function receiveMessage(
  socket: StreamSocket,
  target: Uint8Array,
  descriptors: Descriptor[] = [],
  expected = 0,
): number {
  for (;;) {
    room.clear(expected, Math.min(target.length, MAX_PACKET_BYTES));
    const sizeBytes = calls.recvmsg(socket.number, room.header, MSG_CMSG_CLOEXEC);
    if (sizeBytes === -EINTR) continue;
    if (sizeBytes === -EAGAIN) return 0;
    if (sizeBytes === -ECONNRESET) return -1;
    check(sizeBytes, "recvmsg", socket.subject);
    descriptors.push(...room.descriptors(socket.subject));
    target.set(room.bytes(sizeBytes));
    return sizeBytes === 0 ? -1 : sizeBytes;
  }
}

/**
 * Makes sure that there is a stream socket at `path`, of which its owner notices nothing: the kernel looks for somebody
 * who is bound there before it compares the types, and lets datagrams go anywhere without asking.
 * @throws {SocketPathError} it is another kind of socket @throws {LinuxError} ENOENT, ECONNREFUSED: nobody is
 */
export function requireStream(path: string): void {
  const address = addressOf(path);
  for (const type of [SOCK_SEQPACKET, SOCK_DGRAM]) {
    using probe = new Descriptor(openSocket(path, type, false), path);
    const result = calls.connect(probe.number, address, address.length);
    if (result === -EPROTOTYPE) continue;
    if (result !== -EAGAIN) check(result, "connect", path);
    throw new SocketPathError(path, "a socket for packets, not for a stream");
  }
}
