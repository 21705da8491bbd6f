/** A test at the other end of a socket network: frames behind their sizes, or what is none. */

/** One connection. */
export class WirePeer implements Disposable {
  #bytes = new Uint8Array();

  constructor(private readonly connection: Deno.Conn) {}

  /** Sends bytes as they are, all of them. */
  async sendBytes(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) done += await this.connection.write(bytes.subarray(done));
  }

  /** Sends a frame. @param pieceBytes it is written in pieces of that size */
  async send(frame: Uint8Array, pieceBytes = Infinity): Promise<void> {
    const bytes = new Uint8Array(4 + frame.length);
    new DataView(bytes.buffer).setUint32(0, frame.length);
    bytes.set(frame, 4);
    for (let at = 0; at < bytes.length; at += pieceBytes) await this.sendBytes(bytes.subarray(at, at + pieceBytes));
  }

  /** The next frame; undefined: the other end is closed. */
  async frame(): Promise<Uint8Array | undefined> {
    if (!await this.#have(4)) return undefined;
    const size = new DataView(this.#bytes.buffer, this.#bytes.byteOffset).getUint32(0);
    if (!await this.#have(4 + size)) return undefined;
    const frame = this.#bytes.slice(4, 4 + size);
    this.#bytes = this.#bytes.slice(4 + size);
    return frame;
  }

  /** The next frame of which `what` makes something. @throws {Error} the other end is closed before that */
  async find<Found>(what: (frame: Uint8Array) => Found | undefined): Promise<Found> {
    for (;;) {
      const frame = await this.frame();
      if (frame === undefined) throw new Error("the other end is closed");
      const found = what(frame);
      if (found !== undefined) return found;
    }
  }

  /** Resolves when the other end is closed. */
  async closed(): Promise<void> {
    while (await this.frame() !== undefined);
  }

  [Symbol.dispose](): void {
    this.connection.close();
  }

  async #have(size: number): Promise<boolean> {
    const more = new Uint8Array(65536);
    while (this.#bytes.length < size) {
      const received = await this.connection.read(more).catch(() => null);
      if (received === null) return false;
      const bytes = new Uint8Array(this.#bytes.length + received);
      bytes.set(this.#bytes);
      bytes.set(more.subarray(0, received), this.#bytes.length);
      this.#bytes = bytes;
    }
    return true;
  }
}
