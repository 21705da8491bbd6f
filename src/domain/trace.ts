/** What each vCPU asked of ioreq servers, and how long it took: a ring for each vCPU in shared memory, always on. */

import { viewAt } from "../linux/mapping.ts";
import { PAGE_SIZE, roundUp } from "../memory/address.ts";
import { MAX_SERVERS } from "../ioreq/abi.ts";

/** Entries of a ring: the last so many requests of a vCPU. A power of two. */
export const TRACE_ENTRIES = 1024;

/** The header's fields: entries ever written, a bit for each server that has a request under way, then doubles. */
const HEAD = 0, UNDER_WAY = 4, WAITS_SINCE = 8, WAITED = 16;
/** Then of each server the request under way, or its last one: when it was sent, and where to. */
const SENT = 64, ADDRESS = SENT + MAX_SERVERS * 8, HEADER_BYTES = ADDRESS + MAX_SERVERS * 8;

/** An entry: sent at, address, ticks until answered; then server, type, size, flags as bytes. */
const ENTRY_BYTES = 32, ENTRY_SENT = 0, ENTRY_ADDRESS = 1, ENTRY_TICKS = 2, ENTRY_FACTS = 24;

const RING_BYTES = roundUp(HEADER_BYTES + TRACE_ENTRIES * ENTRY_BYTES, PAGE_SIZE);

/** How a request ended. */
export const TRACE_END = { ANSWERED: 0, GONE: 1, BUFFERED: 2, RETRIED: 3 } as const;
export type TraceEnd = (typeof TRACE_END)[keyof typeof TRACE_END];

/** One request. Times are time-stamp ticks. */
export interface TraceEntry {
  readonly sent: number;
  readonly ticks: number;
  readonly server: number;
  /** One of TYPE (src/ioreq/abi.ts). */
  readonly type: number;
  readonly address: number;
  readonly size: number;
  readonly write: boolean;
  readonly end: TraceEnd;
}

/** Memory for the rings of `vcpus` vCPUs; pages that nobody has written to cost nothing. */
export function traceBytes(vcpus: number): number {
  return vcpus * RING_BYTES;
}

/** One vCPU's ring. Only the thread that carries the vCPU writes. */
export class TraceRing {
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #bytes: Uint8Array;

  /** @param address where {@linkcode traceBytes} of memory begin */
  constructor(address: bigint, vcpu: number) {
    const memory = viewAt(address + BigInt(vcpu * RING_BYTES), RING_BYTES);
    this.#words = new Int32Array(memory);
    this.#doubles = new Float64Array(memory);
    this.#bytes = new Uint8Array(memory);
  }

  /** A request was sent. Of several servers that have one each (a broadcast), all are waited for. */
  begin(server: number, address: number, now: number): void {
    const underWay = this.#words[UNDER_WAY / 4];
    if (underWay === 0) this.#doubles[WAITS_SINCE / 8] = now;
    this.#doubles[SENT / 8 + server] = now;
    this.#doubles[ADDRESS / 8 + server] = address;
    Atomics.store(this.#words, UNDER_WAY / 4, underWay | (1 << server));
  }

  /** It was answered, or never will be. @returns the ticks that it took */
  end(server: number, type: number, size: number, write: boolean, end: TraceEnd, now: number): number {
    const sent = this.#doubles[SENT / 8 + server], ticks = now - sent, head = this.#words[HEAD / 4];
    const at = HEADER_BYTES + (head & (TRACE_ENTRIES - 1)) * ENTRY_BYTES;
    this.#doubles[at / 8 + ENTRY_SENT] = sent;
    this.#doubles[at / 8 + ENTRY_ADDRESS] = this.#doubles[ADDRESS / 8 + server];
    this.#doubles[at / 8 + ENTRY_TICKS] = ticks;
    this.#bytes[at + ENTRY_FACTS] = server;
    this.#bytes[at + ENTRY_FACTS + 1] = type;
    this.#bytes[at + ENTRY_FACTS + 2] = size;
    this.#bytes[at + ENTRY_FACTS + 3] = end * 2 + (write ? 1 : 0);
    const underWay = this.#words[UNDER_WAY / 4] & ~(1 << server);
    if (underWay === 0 && end !== TRACE_END.BUFFERED) this.#doubles[WAITED / 8] += now - this.#doubles[WAITS_SINCE / 8];
    Atomics.store(this.#words, UNDER_WAY / 4, underWay);
    Atomics.store(this.#words, HEAD / 4, head + 1);
    return ticks;
  }

  /** The request that waits for an answer now; of several the one that was sent first. */
  get current(): { server: number; sent: number; address: number } | undefined {
    const underWay = Atomics.load(this.#words, UNDER_WAY / 4);
    let oldest = -1;
    for (let server = 0; server < MAX_SERVERS; server++) {
      if ((underWay & (1 << server)) === 0) continue;
      if (oldest < 0 || this.#doubles[SENT / 8 + server] < this.#doubles[SENT / 8 + oldest]) oldest = server;
    }
    if (oldest < 0) return undefined;
    const sent = this.#doubles[SENT / 8 + oldest], address = this.#doubles[ADDRESS / 8 + oldest];
    return { server: oldest, sent, address };
  }

  /** Ticks that the vCPU has waited for servers. */
  get waited(): number {
    return this.#doubles[WAITED / 8];
  }

  /** Requests ever recorded; the ring holds the last {@linkcode TRACE_ENTRIES}. */
  get recorded(): number {
    return Atomics.load(this.#words, HEAD / 4) >>> 0;
  }

  /** The last requests, oldest first; exact once the vCPU has stopped. */
  entries(): TraceEntry[] {
    const head = this.recorded, count = Math.min(head, TRACE_ENTRIES);
    return Array.from({ length: count }, (_, index) => {
      const at = HEADER_BYTES + ((head - count + index) & (TRACE_ENTRIES - 1)) * ENTRY_BYTES;
      const [server, type, size, flags] = this.#bytes.subarray(at + ENTRY_FACTS, at + ENTRY_FACTS + 4);
      return {
        sent: this.#doubles[at / 8 + ENTRY_SENT],
        ticks: this.#doubles[at / 8 + ENTRY_TICKS],
        address: this.#doubles[at / 8 + ENTRY_ADDRESS],
        server,
        type,
        size,
        write: (flags & 1) !== 0,
        end: (flags >> 1) as TraceEnd,
      };
    });
  }
}
