/**
 * `dying_backend.ts SOCKET IMAGE REQUESTS`: a vhost-user backend for one disk that takes what there is, gives it back in the
 * reverse order, and dies in the middle of that, once it has done so many requests. What was under way is in memory that
 * the frontend keeps (docs/interop/vhost-user.rst, "Inflight I/O tracking"; one request a batch).
 */

import type { Descriptor } from "../../src/linux/descriptor.ts";
import { clearEvent, signalEvent } from "../../src/linux/event_descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { AVAILABLE, DESCRIPTOR, USED } from "../../src/virtio/abi.ts";
import { BLOCK_REQUEST, BLOCK_TYPE, SECTOR_BYTES } from "../../src/virtio/block_abi.ts";
import { MEMORY_TABLE, PROTOCOL_FEATURES, REGION, VRING_ADDRESS } from "../../src/virtio/vhost_user_abi.ts";
import { bits, FakeBackend } from "../virtio/fake_backend.ts";

/** Where the memory of what is under way has what; then a byte for each head. */
const LAST = 0, USED_INDEX = 1, HEADS = 8;

const [path, image, requests] = Deno.args;
const file = Deno.openSync(image, { read: true, write: true });
const fake = new FakeBackend();
fake.features = bits(32, PROTOCOL_FEATURES);
fake.configuration.set(new Uint8Array(new BigUint64Array([BigInt(file.statSync().size / SECTOR_BYTES)]).buffer));

interface Piece {
  readonly user: bigint;
  readonly guest: bigint;
  readonly size: bigint;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What there is once the frontend has said it all. */
class Rings {
  readonly #pieces = this.#map();
  readonly #kept = new Uint16Array(Mapping.file(last("SET_INFLIGHT_FD")!, 4096).buffer);
  readonly #inFlight = new Uint8Array(this.#kept.buffer, HEADS);
  readonly #address = payload("SET_VRING_ADDR");
  readonly #size = payload("SET_VRING_NUM").getUint32(4, true);
  readonly #available = this.#ring(VRING_ADDRESS.available);
  readonly #used = this.#ring(VRING_ADDRESS.used);
  readonly #descriptors = this.#ring(VRING_ADDRESS.descriptors);
  readonly kick = last("SET_VRING_KICK")!.number;
  readonly #call = last("SET_VRING_CALL")!.number;
  #taken: number;
  #done = 0;

  constructor() {
    const kept = this.#kept, given = this.#usedIndex;
    if (kept[USED_INDEX] !== given) this.#inFlight[kept[LAST]] = 0;
    kept[USED_INDEX] = given;
    const again = this.#heads;
    this.#taken = (given + again.length) & 0xffff;
    this.#give(again);
  }

  serve(): void {
    const end = Atomics.load(this.#halves(this.#available), (this.#available.byteOffset + AVAILABLE.idx) / 2);
    for (; this.#taken !== end; this.#taken = (this.#taken + 1) & 0xffff) {
      this.#inFlight[this.#available.getUint16(AVAILABLE.ring + this.#taken % this.#size * 2, true)] = 1;
    }
    this.#give(this.#heads);
  }

  get #heads(): number[] {
    return Array.from(this.#inFlight.subarray(0, this.#size).keys()).filter((head) => this.#inFlight[head] !== 0);
  }

  get #usedIndex(): number {
    return this.#used.getUint16(USED.idx, true);
  }

  #give(heads: readonly number[]): void {
    heads.toReversed().forEach((head, index) => {
      if (index > 0 && this.#done >= Number(requests)) Deno.kill(Deno.pid, "SIGKILL");
      const written = this.#act(head), used = this.#used, given = this.#usedIndex;
      used.setUint32(USED.ring + given % this.#size * USED.entry, head, true);
      used.setUint32(USED.ring + given % this.#size * USED.entry + 4, written, true);
      this.#kept[LAST] = head;
      Atomics.store(this.#halves(used), (used.byteOffset + USED.idx) / 2, (given + 1) & 0xffff);
      this.#inFlight[head] = 0;
      this.#kept[USED_INDEX] = (given + 1) & 0xffff;
      this.#done++;
      signalEvent(this.#call);
    });
  }

  /** Header, data, status: as this guest has it. @returns bytes written */
  #act(head: number): number {
    const [header, data, status] = [0, 1, 2].map((index) => {
      const at = (head + index) * DESCRIPTOR.bytes, address = this.#descriptors.getBigUint64(at, true);
      return this.#at("guest", address, this.#descriptors.getUint32(at + DESCRIPTOR.len, true));
    });
    file.seekSync(Number(header.getBigUint64(BLOCK_REQUEST.sector, true)) * SECTOR_BYTES, Deno.SeekMode.Start);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const isRead = header.getUint32(BLOCK_REQUEST.type, true) === BLOCK_TYPE.IN;
    if (isRead) file.readSync(bytes);
    else file.writeSync(bytes);
    status.setUint8(0, 0);
    return isRead ? bytes.length + 1 : 1;
  }

  #map(): Piece[] {
    const table = payload("SET_MEM_TABLE");
    return fake.kept.get("SET_MEM_TABLE")!.map((descriptor, index) => {
      const at = (field: number) => table.getBigUint64(MEMORY_TABLE.regions + index * REGION.bytes + field, true);
      const size = at(REGION.size), { buffer } = Mapping.file(descriptor, Number(size), Number(at(REGION.offset)));
      return { user: at(REGION.user), guest: at(REGION.guest), size, bytes: new Uint8Array(buffer) };
    });
  }

  #ring(field: number): DataView<ArrayBuffer> {
    return this.#at("user", this.#address.getBigUint64(field, true));
  }

  #at(kind: "user" | "guest", address: bigint, bytes?: number): DataView<ArrayBuffer> {
    const piece = this.#pieces.find((piece) => address >= piece[kind] && address < piece[kind] + piece.size)!;
    return new DataView(piece.bytes.buffer, Number(address - piece[kind]), bytes);
  }

  #halves({ buffer }: DataView<ArrayBuffer>): Uint16Array<ArrayBuffer> {
    return new Uint16Array(buffer);
  }
}

function last(name: Parameters<typeof fake.kept.get>[0]): Descriptor | undefined {
  return fake.kept.get(name)?.[0];
}

function payload(name: Parameters<typeof fake.kept.get>[0]): DataView {
  return new DataView(Uint8Array.from(fake.received.findLast((received) => received.name === name)!.payload).buffer);
}

fake.listen(path);
console.log("listening");
const poll = new PollSet(2);
let rings: Rings | undefined;
for (;;) {
  poll.clear();
  poll.add(fake.descriptor, POLLIN);
  poll.add(rings?.kick ?? -1, POLLIN);
  poll.wait();
  const isSetUp = fake.received.length;
  fake.step();
  if (fake.received.slice(isSetUp).some(({ name }) => name === "SET_VRING_ENABLE")) rings = new Rings();
  if (fake.received.at(-1)?.name === "GET_VRING_BASE") Deno.exit(0);
  if (rings === undefined) continue;
  clearEvent(rings.kick);
  rings.serve();
}
