/** Unix sockets that carry a stream of bytes: nothing here waits for the other end. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { ECONNREFUSED, EINTR, ENOENT } from "./errno.ts";
import { check } from "./linux_error.ts";
import { asBigInt } from "./mapping.ts";
import {
  addressOf,
  directoryOf,
  listenAt,
  openSocket,
  SocketListener,
  SocketPathError,
  takeName,
} from "./socket_path.ts";

const SOCK_STREAM = 1, SOCK_NONBLOCK = 0x800, MSG_NOSIGNAL = 0x4000;

/** Places for asBigInt. */
const AT = 0, SIZE = 1;

/** One end of a connection. Memory is given by its address in this process, so that nothing is allocated. */
export class StreamSocket extends Descriptor {
  /** Connects. @returns undefined nobody listens there @throws {LinuxError} EAGAIN too many wait to be let in; EACCES, ... */
  static connect(path: string): StreamSocket | undefined {
    const address = addressOf(path);
    using stack = new DisposableStack();
    const socket = stack.use(new StreamSocket(openSocket(path, SOCK_STREAM, false), path));
    const result = calls.connect(socket.number, address, address.length);
    if (result === -ENOENT || result === -ECONNREFUSED) return undefined;
    check(result, "connect", path);
    stack.move();
    return socket;
  }

  /** Sends what there is room for. @returns how many bytes; -EAGAIN: none; another -errno: the other end is gone */
  send(address: number, sizeBytes: number): number {
    for (;;) {
      const result = calls.sendto(this.number, asBigInt(AT, address), asBigInt(SIZE, sizeBytes), MSG_NOSIGNAL);
      if (result !== -EINTR) return result;
    }
  }

  /** Receives what has come. @returns how many bytes; -EAGAIN: none yet; 0, or another -errno: the other end is gone */
  receive(address: number, sizeBytes: number): number {
    for (;;) {
      const result = calls.recvfrom(this.number, asBigInt(AT, address), asBigInt(SIZE, sizeBytes), 0);
      if (result !== -EINTR) return result;
    }
  }
}

/** Takes connections at a path, which goes when this is disposed. */
export class StreamListener extends SocketListener {
  /** Listens at `path`, as {@linkcode listenAt} does. */
  static create(path: string): StreamListener {
    return new StreamListener(listenAt(path, SOCK_STREAM), path);
  }

  /** The next connection; undefined if nobody has connected. @throws {LinuxError} EMFILE, ... */
  accept(): StreamSocket | undefined {
    const number = this.acceptNumber(SOCK_NONBLOCK);
    return number === undefined ? undefined : new StreamSocket(number, this.path);
  }
}

/** How often somebody else may be found about to listen, and how long to wait each time: it takes that other much less. */
const MOST_TRIES = 1000, TRY_MS = 1, NEVER = new Int32Array(new SharedArrayBuffer(4));

/**
 * Connects to whoever listens at `path`, or listens there if nobody does. Whoever is about to listen has a name for the
 * path's directory meanwhile: of several who come at once one listens, and none removes what another has just made.
 * @throws {SocketPathError} no path, or there is something else @throws {LinuxError} the directory; EAGAIN too many wait already
 */
export function meet(path: string): StreamSocket | StreamListener {
  const { dev, ino } = directoryOf(path);
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    using turn = takeName(`xenolith: a wire in ${dev}:${ino}`);
    const met = StreamSocket.connect(path) ?? (turn === undefined ? undefined : StreamListener.create(path));
    if (met !== undefined) return met;
    Atomics.wait(NEVER, 0, 0, TRY_MS);
  }
  throw new SocketPathError(path, "somebody else is about to listen there, and does not");
}
