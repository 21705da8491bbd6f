/** A device model's end of the socket in the gate's own isolate: it never blocks, so that the gate gets its turn. */

import { assert } from "@std/assert";
import { decodeReply, encodeRequest, type Inputs, type OperationName, type Outputs } from "../../src/dm/protocol.ts";
import { failedWith } from "../../src/linux/descriptor.ts";
import { ECONNREFUSED, ENOENT, errnoName } from "../../src/linux/errno.ts";
import { POLLIN, POLLOUT, PollSet } from "../../src/linux/poll.ts";
import { type Packet, PacketSocket } from "../../src/linux/socket.ts";

/** Longer than any reply takes. */
const LOST_MS = 20_000;

/** Descriptors of this process by what a leak of the gate would add to. */
export interface Holdings {
  /** Sockets that carry packets: Deno's own do not. */
  readonly packetSockets: number;
  readonly memoryFiles: number;
  readonly events: number;
}

/** What is open now. */
export function holdings(): Holdings {
  const files = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => linkAt(`/proc/self/fd/${name}`));
  const lines = Deno.readTextFileSync("/proc/net/unix").split("\n").map((line) => line.split(/ +/));
  const packet = new Set(lines.filter(([, , , , type]) => type === "0005").map((line) => `socket:[${line[6]}]`));
  return {
    packetSockets: files.filter((file) => packet.has(file)).length,
    memoryFiles: files.filter((file) => file.startsWith("/memfd:")).length,
    events: files.filter((file) => file === "anon_inode:[eventfd]").length,
  };
}

/** Other threads open and close theirs meanwhile. */
function linkAt(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    return "";
  }
}

/** A successful reply. */
export interface Good<N extends OperationName> {
  readonly out: Outputs<N>;
  readonly list: DataView;
  readonly descriptors: Packet["descriptors"];
}

export class GateClient implements Disposable {
  readonly socket: PacketSocket;
  readonly #held = new DisposableStack();

  constructor(path: string) {
    this.socket = this.#held.use(PacketSocket.connect(path));
  }

  /** One that has said HELLO. */
  static async greeted(path: string): Promise<GateClient> {
    const client = new GateClient(path);
    await client.do("hello", { version: 1 });
    return client;
  }

  /** Likewise, as soon as somebody listens: this isolate, perhaps. */
  static async awaited(path: string): Promise<GateClient> {
    for (;;) {
      try {
        return await GateClient.greeted(path);
      } catch (error) {
        if (!failedWith(error, ENOENT, ECONNREFUSED)) throw error;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  }

  /** Whether sending would not block now. */
  get writable(): boolean {
    const poll = new PollSet(1);
    poll.add(this.socket.number, POLLOUT);
    poll.look();
    return poll.result(0) === POLLOUT;
  }

  /** What comes next: a packet, or the end of the connection. */
  async next(expected = 0): Promise<Packet | "end"> {
    const poll = new PollSet(1);
    for (const end = performance.now() + LOST_MS; performance.now() < end;) {
      poll.clear();
      poll.add(this.socket.number, POLLIN);
      if (poll.look() > 0) {
        const packet = this.socket.receive(expected);
        assert(packet !== "nothing");
        if (typeof packet === "object") { for (const descriptor of packet.descriptors) this.#held.use(descriptor); }
        return packet;
      }
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    throw new Error("no reply");
  }

  /** Sends bytes as they are. @returns the reply's packet, or "end" if the connection was closed */
  async raw(request: Uint8Array, expected = 0, descriptors: readonly number[] = []): Promise<Packet | "end"> {
    this.socket.send(request, descriptors);
    return await this.next(expected);
  }

  /** @returns the name of the error that the reply carries, "" if none, or "end". */
  async refusal(request: Uint8Array): Promise<string> {
    const packet = await this.raw(request, 250);
    if (packet === "end") return packet;
    const result = new DataView(packet.bytes.buffer).getInt32(4, true);
    return result === 0 ? "" : errnoName(-result);
  }

  /** @returns the name of the error that the reply carries, or "". */
  async try<N extends OperationName>(name: N, values: Inputs<N>): Promise<string> {
    return await this.refusal(encodeRequest(name, values));
  }

  /** Fails if it is refused. */
  async do<N extends OperationName>(name: N, values: Inputs<N>): Promise<Good<N>> {
    const packet = await this.raw(encodeRequest(name, values), 250);
    assert(packet !== "end", `${name}: the connection was closed`);
    const reply = decodeReply(name, packet.bytes);
    assert(reply !== undefined, `${name}: another operation's reply`);
    assert(reply.result === 0, `${name}: ${errnoName(-reply.result)}`);
    return { ...reply, descriptors: packet.descriptors };
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }
}
