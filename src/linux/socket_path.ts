/** Unix sockets at a path, of any type: addresses, listening, and what others have left there. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { EADDRINUSE, EAGAIN, ECONNREFUSED, EINTR, EPROTOTYPE } from "./errno.ts";
import { check } from "./linux_error.ts";

const AF_UNIX = 1, SOCK_STREAM = 1, SOCK_CLOEXEC = 0x80000, SOCK_NONBLOCK = 0x800;

/** Bytes of sun_path; the last one is 0. */
const PATH_BYTES = 108;
/** Only the user that runs the hypervisor may connect. */
const OWNER_ONLY = 0o600;
const BACKLOG = 16;

/** Why there can be no socket where a file is. */
export const NO_SOCKET = "exists, and is no socket";

/** A path where no socket can be made, because of what is there. One line. */
export class SocketPathError extends Error {
  static {
    this.prototype.name = "SocketPathError";
  }

  /**
   * The message is path and reason.
   * @param path where the socket was to be
   * @param why the reason
   */
  constructor(readonly path: string, readonly why: string) {
    super(`${path}: ${why}`);
  }
}

/** A socket. @param type SOCK_STREAM or SOCK_SEQPACKET @param waits whether its calls wait @throws {LinuxError} */
export function openSocket(path: string, type: number, waits = true): number {
  const flags = SOCK_CLOEXEC | (waits ? 0 : SOCK_NONBLOCK);
  return check(calls.socket(AF_UNIX, type | flags), "socket", path);
}

/** struct sockaddr_un. An empty path would be a name that the kernel chooses. @throws {SocketPathError} no path of a socket */
export function addressOf(path: string): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length === 0 || bytes.length >= PATH_BYTES || bytes.includes(0)) {
    throw new SocketPathError(path, `a socket's path has 1 to ${PATH_BYTES - 1} bytes, none of them 0`);
  }
  const address = new Uint8Array(2 + bytes.length + 1);
  address[0] = AF_UNIX;
  address.set(bytes, 2);
  return address;
}

/** The directory of a socket that is, or is to be. @throws {SocketPathError} there is none, or `path` is no path */
export function directoryOf(path: string): Deno.FileInfo {
  addressOf(path);
  const directory = path.includes("/") ? path.slice(0, path.lastIndexOf("/") + 1) : ".";
  try {
    const information = Deno.statSync(directory);
    if (information.isDirectory) return information;
  } catch {
    // nothing, or nothing that may be looked at
  }
  throw new SocketPathError(path, `there is no directory ${directory}`);
}

/**
 * Takes a name that one at a time can have on this host (unix(7): an abstract address). It is free again when its
 * descriptor is closed, however its process ends.
 * @returns undefined somebody has it
 */
export function takeName(name: string): Descriptor | undefined {
  const address = Uint8Array.of(AF_UNIX, 0, 0, ...new TextEncoder().encode(name));
  using stack = new DisposableStack();
  const holder = stack.use(new Descriptor(openSocket(name, SOCK_STREAM), name));
  const bound = calls.bind(holder.number, address, address.length);
  if (bound === -EADDRINUSE) return undefined;
  check(bound, "bind", name);
  stack.move();
  return holder;
}

/**
 * Listens at `path`. A socket that nobody listens at any more is replaced.
 * @returns the socket, whose calls do not wait
 * @throws {SocketPathError} no path, somebody listens there, or it is no socket
 * @throws {LinuxError} ENOENT, EACCES the directory
 */
export function listenAt(path: string, type: number): number {
  const address = addressOf(path);
  using stack = new DisposableStack();
  const socket = stack.use(new Descriptor(openSocket(path, type, false), path));
  // Before bind(2): the file gets this mode (less the umask), and is never there with another.
  check(calls.fchmod(socket.number, OWNER_ONLY), "fchmod", path);
  let bound = calls.bind(socket.number, address, address.length);
  if (bound === -EADDRINUSE) {
    removeStale(path, type);
    bound = calls.bind(socket.number, address, address.length);
  }
  check(bound, "bind", path);
  check(calls.listen(socket.number, BACKLOG), "listen", path);
  return socket.release();
}

/** Takes connections at a path, which goes when this is disposed. */
export class SocketListener extends Descriptor {
  readonly #inode: number | null;

  /** @param number what {@linkcode listenAt} has returned */
  protected constructor(number: number, readonly path: string) {
    super(number, path);
    this.#inode = informationOf(path)?.ino ?? null;
  }

  /** The next connection; undefined if nobody has connected. @throws {LinuxError} EMFILE, ... */
  protected acceptNumber(flags = 0): number | undefined {
    for (;;) {
      const number = calls.accept4(this.number, SOCK_CLOEXEC | flags);
      if (number === -EINTR) continue;
      return number === -EAGAIN ? undefined : check(number, "accept", this.path);
    }
  }

  override [Symbol.dispose](): void {
    if (this.number >= 0 && informationOf(this.path)?.ino === this.#inode) remove(this.path);
    super[Symbol.dispose]();
  }
}

/** Removes a socket that nobody listens at. @throws {SocketPathError} it is none, or somebody does @throws {LinuxError} */
function removeStale(path: string, type: number): void {
  const address = addressOf(path), information = informationOf(path);
  if (information === undefined) return;
  if (!information.isSocket) throw new SocketPathError(path, NO_SOCKET);
  using probe = new Descriptor(openSocket(path, type, false), path);
  const result = calls.connect(probe.number, address, address.length);
  if (result === -ECONNREFUSED) return remove(path);
  // With a full backlog, or a socket of another type, somebody listens just the same.
  if (result !== -EAGAIN && result !== -EPROTOTYPE) check(result, "connect", path);
  throw new SocketPathError(path, "somebody listens there already");
}

/** @throws {LinuxError} */
function remove(path: string): void {
  check(calls.unlink(new TextEncoder().encode(path + "\0")), "unlink", path);
}

/** What is at `path` itself, be it a link; undefined if nothing is. */
export function informationOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
