/** A wire between two machines that is a Unix socket: two of ours, or one of ours and whatever speaks QEMU's framing. */

import { failedWith } from "../linux/descriptor.ts";
import { EAGAIN, ECONNREFUSED, ENOENT } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { POLLIN, POLLOUT } from "../linux/poll.ts";
import { directoryOf, informationOf, NO_SOCKET, SocketPathError } from "../linux/socket_path.ts";
import { requireStream } from "../linux/stream_message.ts";
import { meet, StreamListener, type StreamSocket } from "../linux/stream_socket.ts";
import { FrameReader, FrameWriter } from "./frame_stream.ts";
import { type Network, NetworkError } from "./network.ts";

/** Who is first listens, who comes then connects; when the other leaves, the same begins again. */
export class SocketNetwork implements Network {
  #peer: StreamSocket | undefined;
  #listener: StreamListener | undefined;
  readonly #reader = new FrameReader();
  readonly #writer = new FrameWriter();

  /** @throws {NetworkError} nothing can be there, or something else is */
  constructor(private readonly path: string) {
    try {
      this.#meet();
    } catch (error) {
      throw refusal(path, error) ?? error;
    }
  }

  get descriptor(): number {
    return (this.#peer ?? this.#listener)?.number ?? -1;
  }

  interest(receiving: boolean): number {
    if (this.#peer === undefined) return this.#listener === undefined ? -1 : POLLIN;
    const events = (receiving ? POLLIN : 0) | (this.#writer.isCut ? POLLOUT : 0);
    return events === 0 ? -1 : events; // that the other has left is seen behind the last frame
  }

  ready(events: number): void {
    const { isCut } = this.#writer;
    if (this.#peer === undefined) return void (this.#peer = this.#listener?.accept());
    if (isCut) this.#continue(this.#peer);
    if ((events & POLLIN) !== 0 || !isCut) this.#fill(this.#peer);
  }

  receive(frame: Uint8Array<ArrayBuffer>): number {
    const size = this.#reader.next(frame);
    if (size >= 0) return size;
    this.#leave();
    return 0;
  }

  send(frame: Uint8Array<ArrayBuffer>, sizeBytes: number): void {
    if (this.#peer === undefined) return;
    if (this.#writer.isCut) this.#continue(this.#peer);
    if (this.#writer.isCut) return;
    this.#writer.begin(frame, sizeBytes);
    this.#continue(this.#peer);
    if (!this.#writer.isCut) this.#writer.clear();
  }

  [Symbol.dispose](): void {
    this.#peer?.[Symbol.dispose]();
    this.#listener?.[Symbol.dispose]();
  }

  #continue(peer: StreamSocket): void {
    const sent = peer.send(this.#writer.address, this.#writer.left);
    if (sent > 0) this.#writer.sent(sent);
    else if (sent !== -EAGAIN) this.#writer.clear(); // it has left, which is seen when there is nothing left to read
  }

  /** One call, so that nobody who sends for ever keeps the model from its other work. */
  #fill(peer: StreamSocket): void {
    this.#reader.makeRoom();
    const received = peer.receive(this.#reader.address, this.#reader.roomBytes);
    if (received > 0) this.#reader.filled(received);
    else if (received !== -EAGAIN) this.#leave();
  }

  /** Ends the connection: what the other had still to send is lost. */
  #leave(): void {
    this.#peer?.[Symbol.dispose]();
    this.#peer = undefined;
    this.#reader.clear();
    this.#writer.clear();
    if (this.#listener !== undefined) return;
    try {
      this.#meet();
    } catch (error) {
      // The place is gone: it will be a wire without another end.
      if (!(error instanceof LinuxError || error instanceof SocketPathError)) throw error;
    }
  }

  #meet(): void {
    const met = meet(this.path);
    if (met instanceof StreamListener) this.#listener = met;
    else this.#peer = met;
  }
}

/** Whether there can be a socket, or is one, of which nobody notices anything. @throws {NetworkError} */
export function checkSocketPath(path: string): undefined {
  try {
    directoryOf(path);
    if (informationOf(path)?.isSocket === false) throw new SocketPathError(path, NO_SOCKET);
    requireStream(path);
  } catch (error) {
    if (!failedWith(error, ENOENT, ECONNREFUSED)) throw refusal(path, error) ?? error; // else nobody is there yet
  }
}

function refusal(path: string, error: unknown): NetworkError | undefined {
  if (error instanceof SocketPathError) return new NetworkError(`socket ${path}`, error.why);
  return error instanceof LinuxError ? new NetworkError(`socket ${path}`, error.errnoName) : undefined;
}
