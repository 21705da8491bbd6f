/**
 * The command ring: how a device model in another process maps pages of its memory into its windows, and revokes them.
 * It lies in the server's notification area (docs/device-model-protocol.md gives its layout). The hypervisor takes
 * commands in their order, whenever it waits for that server, or when its pager was rung.
 */

import { EINVAL } from "../linux/errno.ts";
import type { PhysicalMap } from "../memory/physical_map.ts";
import type { Server } from "./server_table.ts";

/** What a command does. */
export const COMMAND = { MAP: 1, REVOKE: 2 } as const;
export type Command = (typeof COMMAND)[keyof typeof COMMAND];

/** Entries; both indices run freely, an entry's place is its index modulo this. */
export const COMMAND_ENTRIES = 256;

/** Words of the header. */
const PUSHED = 0, TAKEN = 1, HEADER_BYTES = 64;
/** An entry: op and access as bytes, memory as u16, pages as u32; gfn as u64; frame as u32, result as i32. */
const ENTRY = { op: 0, readOnly: 1, memory: 2, count: 4, gfn: 8, frame: 16, result: 20, bytes: 32 } as const;

/** Bytes of the ring. */
export const COMMAND_RING_BYTES = HEADER_BYTES + COMMAND_ENTRIES * ENTRY.bytes;

/** The ring as either side sees it. */
export class CommandRing {
  readonly #words: Int32Array;
  readonly #view: DataView;

  constructor(memory: ArrayBuffer, offset: number) {
    this.#words = new Int32Array(memory, offset, COMMAND_RING_BYTES / 4);
    this.#view = new DataView(memory, offset, COMMAND_RING_BYTES);
  }

  /** Commands ever pushed, modulo 2^32. */
  get pushed(): number {
    return Atomics.load(this.#words, PUSHED) >>> 0;
  }

  /** Commands ever carried out, modulo 2^32. */
  get taken(): number {
    return Atomics.load(this.#words, TAKEN) >>> 0;
  }

  /** The device model: whether there is room for another. */
  get hasRoom(): boolean {
    return ((this.pushed - this.taken) >>> 0) < COMMAND_ENTRIES;
  }

  /** The device model: adds a command; there has to be room. @returns its index */
  push(op: Command, gfn: number, count: number, memory: number, frame: number, readOnly: boolean): number {
    const index = this.pushed, at = entryAt(index), view = this.#view;
    view.setUint8(at + ENTRY.op, op);
    view.setUint8(at + ENTRY.readOnly, readOnly ? 1 : 0);
    view.setUint16(at + ENTRY.memory, memory, true);
    view.setUint32(at + ENTRY.count, count, true);
    view.setUint32(at + ENTRY.gfn, gfn, true);
    view.setUint32(at + ENTRY.gfn + 4, gfn / 2 ** 32, true);
    view.setUint32(at + ENTRY.frame, frame, true);
    Atomics.store(this.#words, PUSHED, (index + 1) | 0);
    return index;
  }

  /** The device model: what became of a command that was taken: 0 or -errno. */
  result(index: number): number {
    return this.#view.getInt32(entryAt(index) + ENTRY.result, true);
  }

  /** The hypervisor: whether there are commands that it has not taken. */
  isPending(server: Server): boolean {
    return this.pushed !== server.commandsTaken;
  }

  /** The hypervisor: carries out all that there are; in effect on return. Whatever stands there, it is bounded. */
  drain(server: Server, map: PhysicalMap): void {
    server.commandLock.acquire();
    const pushed = this.pushed;
    try {
      const most = Math.min((pushed - server.commandsTaken) >>> 0, COMMAND_ENTRIES);
      for (let index = pushed - most; index < pushed; index++) {
        const at = entryAt(index >>> 0);
        this.#view.setInt32(at + ENTRY.result, -this.#carryOut(at, server.id, map), true);
      }
    } finally {
      map.flush();
      this.#taken(server, pushed);
      server.commandLock.release();
    }
  }

  /** The hypervisor: what a device model has left there that is gone is not carried out. */
  drop(server: Server): void {
    server.commandLock.hold(() => this.#taken(server, this.pushed));
  }

  #taken(server: Server, count: number): void {
    server.commandsTaken = count;
    Atomics.store(this.#words, TAKEN, count | 0);
  }

  #carryOut(at: number, server: number, map: PhysicalMap): number {
    const view = this.#view, count = view.getUint32(at + ENTRY.count, true);
    const gfn = view.getUint32(at + ENTRY.gfn, true) + view.getUint32(at + ENTRY.gfn + 4, true) * 2 ** 32;
    switch (view.getUint8(at + ENTRY.op)) {
      case COMMAND.REVOKE:
        return map.revoke(server, gfn, count);
      case COMMAND.MAP: {
        const memory = view.getUint16(at + ENTRY.memory, true), frame = view.getUint32(at + ENTRY.frame, true);
        return map.map(server, gfn, count, memory, frame, view.getUint8(at + ENTRY.readOnly) !== 0);
      }
      default:
        return EINVAL;
    }
  }
}

function entryAt(index: number): number {
  return HEADER_BYTES + (index % COMMAND_ENTRIES) * ENTRY.bytes;
}
