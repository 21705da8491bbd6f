/** The other end of a console's port at a Unix socket: one peer at a time, the next one waits to be let in. */

import type { DeviceModelHost } from "../dm/host.ts";
import { EAGAIN } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT } from "../linux/poll.ts";
import { SocketPathError } from "../linux/socket_path.ts";
import { StreamListener, type StreamSocket } from "../linux/stream_socket.ts";
import type { PortEnd, PortPeer, TransferBuffer } from "./console_port.ts";

/** A port whose socket cannot be. One line. */
export class PortError extends Error {
  static {
    this.prototype.name = "PortError";
  }

  constructor(readonly socket: string, why: string) {
    super(`virtio-console ${socket}: ${why}`);
  }
}

/** Listens where a port is to be. @throws {PortError} no socket can be made there */
export function listenAsPort(path: string): StreamListener {
  try {
    return StreamListener.create(path);
  } catch (error) {
    if (error instanceof SocketPathError) throw new PortError(path, error.why);
    throw error instanceof LinuxError ? new PortError(path, error.errnoName) : error;
  }
}

/** Listens as long as the model lives. */
export class PortSocket implements PortPeer {
  readonly #listener: StreamListener;
  #socket: StreamSocket | undefined;
  /** It sends no more, though it may still listen. */
  #hasEnded = false;
  /** It is gone, though there may be something of it to be taken. */
  #isGone = false;

  /** @throws {PortError} */
  constructor(host: DeviceModelHost, path: string, private readonly port: PortEnd) {
    const listener = this.#listener = listenAsPort(path);
    const socket = () => this.#socket?.number ?? -1;
    host.watch({
      descriptor: listener.number,
      interest: () => this.#socket === undefined ? POLLIN : -1,
      ready: () => this.#accept(),
    });
    host.watch({
      get descriptor() {
        return socket();
      },
      interest: () => this.#interest(),
      ready: (events) => this.#ready(events),
    });
    const close = () => {
      this.#socket?.[Symbol.dispose]();
      listener[Symbol.dispose]();
    };
    host.beforeStop(close);
    host.whenRelieved(close);
  }

  get isThere(): boolean {
    return this.#socket !== undefined;
  }

  put({ address }: TransferBuffer, sizeBytes: number): number {
    if (this.#socket === undefined || this.#isGone) return sizeBytes;
    const sent = this.#socket.send(address, sizeBytes);
    if (sent >= 0) return sent;
    if (sent === -EAGAIN) return 0;
    this.#isGone = true;
    return sizeBytes;
  }

  take({ address }: TransferBuffer, sizeBytes: number): number {
    if (this.#socket === undefined || this.#hasEnded) return 0;
    const received = this.#socket.receive(address, sizeBytes);
    if (received > 0) return received;
    if (received === -EAGAIN) return 0;
    this.#hasEnded = true;
    if (received < 0) this.#isGone = true;
    this.#closeIfOver();
    return 0;
  }

  #accept(): void {
    this.#socket = this.#listener.accept();
    if (this.#socket === undefined) return;
    this.#hasEnded = this.#isGone = false;
    this.port.changed();
  }

  /** A hang-up is reported whatever is asked for: once it is known, only what it still has to say is of interest. */
  #interest(): number {
    if (this.#socket === undefined) return -1;
    const events = (this.port.hasRoom && !this.#hasEnded ? POLLIN : 0) | (this.port.isStalled ? POLLOUT : 0);
    return events === 0 && this.#isGone ? -1 : events;
  }

  #ready(events: number): void {
    const hasHungUp = (events & (POLLHUP | POLLERR)) !== 0;
    if (hasHungUp) this.#isGone = true;
    if (this.port.isStalled && (hasHungUp || (events & POLLOUT) !== 0)) this.port.drained();
    if (hasHungUp || (events & POLLIN) !== 0) this.port.arrived();
    this.#closeIfOver();
  }

  #closeIfOver(): void {
    if (this.#socket === undefined || !this.#hasEnded || !this.#isGone) return;
    this.#socket[Symbol.dispose]();
    this.#socket = undefined;
    this.port.changed();
    if (this.port.isStalled) this.port.drained();
  }
}
