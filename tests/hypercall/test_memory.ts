/** A domain that writes down what its guest's memory_op asks of it, and the guest. */

import { MEMORY_RESERVATION } from "../../src/hypercall/abi/memory.ts";
import { DOMID_SELF } from "../../src/hypercall/abi/xen.ts";
import { type MemoryDomain, memoryOp } from "../../src/hypercall/memory_op.ts";
import { TestCaller, WIDTHS } from "./calls.ts";
import type { RegionReport } from "../../src/hypercall/extended_regions_op.ts";

export const DOMID = 5, OTHER = 9, LIST = 512, ERRORS = 1024, GFNS = 1536;
export const MAP = [
  { address: 0, sizeBytes: 0x9fc00, type: 1 },
  { address: 0x9fc00, sizeBytes: 0x400, type: 2 },
  { address: 2 ** 32, sizeBytes: 2 ** 33, type: 1 },
];

/** Has gfns 0 to 99, of which those from 50 on are out. */
export class TestMemoryDomain implements MemoryDomain {
  readonly domid = DOMID;
  readonly currentReservation = 50;
  readonly maximumReservation = 100;
  readonly maximumGfn = 99;
  readonly maximumRamPage = 4096;
  readonly memoryMap = MAP;
  readonly isEnding = false;
  gaveBack = false;
  result = 0;
  readonly log: string[] = [];

  decrease(gfn: number, count: number): number {
    return Math.max(0, Math.min(count, 50 - gfn));
  }

  populate(gfn: number, count: number): number {
    return gfn < 50 ? 0 : Math.max(0, Math.min(count, 100 - gfn));
  }

  placeSharedInfo(gfn: number): number {
    return this.#note(`shared info at ${gfn}`);
  }

  placeGrantFrame(index: number, isStatus: boolean, gfn: number): number {
    return this.#note(`${isStatus ? "status" : "grants"} ${index} at ${gfn}`);
  }

  move(from: number, to: number): number {
    return this.#note(`${from} to ${to}`);
  }

  remove(gfn: number): number {
    return this.#note(`remove ${gfn}`);
  }

  readonly regions = 2;
  readonly regionGranularity = 512;

  region(index: number): RegionReport {
    const first = 2 ** 20 * (index + 1);
    return { first, count: 2 ** 14, grants: 10 + index, special: 20 + index, device: 30 + index, lent: 512 * index };
  }

  lend(first: number, count: number): number {
    return this.#note(`lend ${first} + ${count}`);
  }

  reclaim(first: number, count: number): number {
    return this.#note(`reclaim ${first} + ${count}`);
  }

  #note(what: string): number {
    this.log.push(what);
    return this.result;
  }
}

/** xen_memory_reservation; by default of the caller itself, and of what its list has. */
export interface GivenReservation {
  readonly at?: number;
  readonly gfns?: readonly number[];
  readonly extents?: number;
  readonly order?: number;
  readonly flags?: number;
  readonly domid?: number;
}

/** A caller with structures in its data, and its calls. */
export class TestGuest extends TestCaller {
  readonly domain = new TestMemoryDomain();

  /** @param start from where on a list is done */
  do(subop: number, pointer: bigint, start = 0): number {
    return memoryOp(this.domain, this.with(BigInt(start) << 6n | BigInt(subop), pointer));
  }

  long(at: number, value: number | bigint): void {
    if (this.bits === 64) this.data.setBigUint64(at, BigInt(value), true);
    else this.data.setUint32(at, Number(value), true);
  }

  longs(at: number, values: readonly (number | bigint)[]): void {
    values.forEach((value, index) => this.long(at + index * (this.bits / 8), value));
  }

  reservation(given: GivenReservation): void {
    const { at = 0, gfns = [], order = 0, flags = 0, domid = DOMID_SELF } = given, { extents = gfns.length } = given;
    const layout = MEMORY_RESERVATION[this.bits];
    this.long(at + layout.extent_start, this.pointer(LIST));
    this.long(at + layout.nr_extents, extents);
    this.data.setUint32(at + layout.extent_order, order, true);
    this.data.setUint32(at + layout.mem_flags, flags, true);
    this.data.setUint16(at + layout.domid, domid, true);
    this.longs(LIST, gfns);
  }
}

/** Defines a test for both widths. */
export function testOp(name: string, body: (guest: TestGuest) => void): void {
  for (const bits of WIDTHS) Deno.test(`memory_op ${name} (${bits} bits)`, () => body(new TestGuest(bits)));
}
