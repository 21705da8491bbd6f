/** Guest memory with a queue in it, as a driver has it: good or bad. */

import type { GuestMemoryAccess, LocatedMemory } from "../../src/dm/host.ts";
import { MemoryViews } from "../../src/memory/memory_views.ts";
import { AVAILABLE, DESCRIPTOR, USED } from "../../src/virtio/abi.ts";
import type { QueueLayout } from "../../src/virtio/virtqueue.ts";

/** One page of memory at each of these addresses: two that follow each other, and one apart. */
export const PAGES = [0x1000, 0x2000, 0x8000] as const, PAGE = 4096;

/** Memory that is there page by page, and never together in this process. */
export class TestMemory implements GuestMemoryAccess {
  readonly pieces = [];
  readonly bytes = new Uint8Array(PAGES.length * PAGE);
  readonly view = new DataView(this.bytes.buffer);
  readonly #views = new MemoryViews(this.bytes.buffer, 0x7000_0000_0000);

  /** Where each of the pages is in `bytes`. */
  readonly #places = PAGES.map((_, page) => page);

  /** Where an address is in `bytes`, or -1. */
  at(address: number): number {
    const page = PAGES.findIndex((first) => address >= first && address < first + PAGE);
    return page < 0 ? -1 : this.#places[page] * PAGE + address - PAGES[page];
  }

  /** Has two pages change their places, and what is in them with them. */
  exchange(one: number, other: number): void {
    const places = this.#places,
      [at, to] = [places[one] * PAGE, places[other] * PAGE],
      old = this.bytes.slice(at, at + PAGE);
    this.bytes.copyWithin(at, to, to + PAGE);
    this.bytes.set(old, to);
    [places[one], places[other]] = [places[other], places[one]];
  }

  read(address: number, target: Uint8Array): void {
    target.forEach((_, index) => target[index] = this.bytes[this.at(address + index)]);
  }

  write(address: number, source: Uint8Array): void {
    source.forEach((byte, index) => this.bytes[this.at(address + index)] = byte);
  }

  contains(address: number, sizeBytes: number): boolean {
    for (let at = address; at < address + sizeBytes; at = Math.floor(at / PAGE) * PAGE + PAGE) {
      if (this.at(at) < 0) return false;
    }
    return this.at(address + Math.max(0, sizeBytes - 1)) >= 0;
  }

  locate(address: number, sizeBytes: number, _write: boolean, found: LocatedMemory): number {
    const at = this.at(address);
    if (at < 0) return 0;
    found.memory = this.#views;
    found.offset = at;
    return Math.min(sizeBytes, PAGE - at % PAGE);
  }
}

/** Descriptors and rings of so many entries in the first page, or elsewhere. */
export function layoutOf(size: number, descriptors: number = PAGES[0]): QueueLayout {
  const available = descriptors + size * DESCRIPTOR.bytes,
    used = available + AVAILABLE.ring + size * AVAILABLE.entry + 2;
  return { size, descriptors, available, used: Math.ceil(used / 4) * 4 };
}

export interface TestDescriptor {
  readonly addr: number;
  readonly len: number;
  readonly flags?: number;
  readonly next?: number;
}

/** A driver that puts what it likes into memory. */
export class TestDriver {
  readonly layout: QueueLayout;
  #available = 0;

  /** @param at where descriptors and rings are */
  constructor(size: number, readonly memory: TestMemory = new TestMemory(), at: number = PAGES[0]) {
    this.layout = layoutOf(size, at);
  }

  descriptor(table: number, index: number, { addr, len, flags = 0, next = 0 }: TestDescriptor): void {
    const { view } = this.memory, at = this.memory.at(table + index * DESCRIPTOR.bytes);
    view.setBigUint64(at + DESCRIPTOR.addr, BigInt(addr), true);
    view.setUint32(at + DESCRIPTOR.len, len, true);
    view.setUint16(at + DESCRIPTOR.flags, flags, true);
    view.setUint16(at + DESCRIPTOR.next, next, true);
  }

  /** Puts a head into the ring. @param jump by how much the index goes on */
  offer(head: number, jump = 1): void {
    const { size, available } = this.layout, { view } = this.memory;
    view.setUint16(this.memory.at(available + AVAILABLE.ring + this.#available % size * AVAILABLE.entry), head, true);
    this.#available = (this.#available + jump) & 0xffff;
    view.setUint16(this.memory.at(available + AVAILABLE.idx), this.#available, true);
  }

  /** What the device has given back: head and bytes written. */
  get used(): [head: number, written: number][] {
    const { size, used } = this.layout,
      { view } = this.memory,
      count = view.getUint16(this.memory.at(used + USED.idx), true);
    return Array.from({ length: Math.min(count, size) }, (_, index) => {
      const at = this.memory.at(used + USED.ring + index * USED.entry);
      return [view.getUint32(at, true), view.getUint32(at + 4, true)];
    });
  }

  set availableFlags(flags: number) {
    this.memory.view.setUint16(this.memory.at(this.layout.available + AVAILABLE.flags), flags, true);
  }

  set usedEvent(index: number) {
    const { available, size } = this.layout;
    this.memory.view.setUint16(this.memory.at(available + AVAILABLE.ring + size * AVAILABLE.entry), index, true);
  }

  get availableEvent(): number {
    const { used, size } = this.layout;
    return this.memory.view.getUint16(this.memory.at(used + USED.ring + size * USED.entry), true);
  }

  get usedFlags(): number {
    return this.memory.view.getUint16(this.memory.at(this.layout.used + USED.flags), true);
  }
}
