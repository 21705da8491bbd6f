/** A guest with a grant table, over RAM and frames as they are, and a VM that only remembers its slots. */

import { assertEquals } from "@std/assert";
import { type Gfn, PAGE_SIZE } from "../../src/memory/address.ts";
import { GrantTable, grantTableMemory } from "../../src/memory/grant_table.ts";
import {
  GNTCOPY,
  GNTTAB_COPY,
  GNTTAB_MAP_GRANT_REF,
  GNTTAB_UNMAP_GRANT_REF,
  GNTTABOP,
  GTF,
} from "../../src/hypercall/abi/grant_table.ts";
import { DOMID_SELF } from "../../src/hypercall/abi/xen.ts";
import { grantTableOp } from "../../src/hypercall/grant_table_op.ts";
import { type GrantDomain, Grants } from "../../src/hypercall/grants.ts";
import { RAM, TestPlaced } from "../memory/test_placed.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { TestCaller, type Width, WIDTHS } from "./calls.ts";

/** The guest, and a domain that there is not. */
export const DOMID = 5, OTHER = 9;

/** Pages of the guest's RAM. */
export const PAGE = RAM + 8, TARGET = RAM + 20;

/** Where a copy is from or to. */
export interface CopyEnd {
  readonly ref?: number;
  readonly gfn?: number;
  readonly domid?: number;
  readonly offset?: number;
}

/** Lists begin here, in a second page if they are long. */
export const LIST = 0x100;

/** A test of grant_table_op, as 64-bit and as 32-bit code calls it. */
export function testOp(name: string, body: (guest: TestGrants) => void): void {
  for (const bits of WIDTHS) {
    testWith([USERFAULT], `grant_table_op ${name} (${bits} bits)`, () => {
      using guest = new TestGrants(bits);
      body(guest);
    });
  }
}

/** The same for both versions of the table. */
export function testBoth(name: string, body: (guest: TestGrants) => void): void {
  for (const version of [1, 2]) {
    testOp(`${name}, version ${version}`, (guest) => {
      assertEquals(guest.setVersion(version), [0, version]);
      body(guest);
      assertEquals(guest.references, 0);
    });
  }
}

export class TestGrants implements GrantDomain, Disposable {
  readonly #stack = new DisposableStack();
  readonly test = this.#stack.use(new TestPlaced(false));
  readonly domid = DOMID;
  readonly isEnding = false;
  readonly grantTable = new GrantTable(
    this.#stack.use(grantTableMemory()).address,
    this.test.table,
    this.test.banks,
  );
  readonly grantFrames = this.test.placed;
  readonly grants = new Grants(this.grantTable, this.grantFrames);
  readonly caller: TestCaller;

  constructor(readonly bits: Width) {
    this.caller = new TestCaller(bits);
  }

  get data(): DataView {
    return this.caller.data;
  }

  do(subop: number, count = 1, pointer = this.caller.pointer()): number {
    return grantTableOp(this, this.caller.with(subop, pointer, count));
  }

  setVersion(version: number): [result: number, version: number] {
    this.data.setUint32(0, version, true);
    const result = this.do(GNTTABOP.set_version);
    return [result, this.data.getUint32(0, true)];
  }

  /** The guest writes an entry of its table. @param length of a part of the page from `start` on */
  grant(ref: number, gfn: number, flags: number = GTF.permit_access, domid = DOMID, start = 0, length = 0): void {
    const { grantTable } = this, at = grantTable.headerAt(ref), words = grantTable.shared;
    words[at] = flags | domid << 16;
    if (grantTable.version === 1) {
      words[at + 1] = gfn;
    } else {
      words[at + 1] = start | length << 16;
      words[at + 2] = gfn;
      words[at + 3] = Math.floor(gfn / 2 ** 32);
    }
  }

  /** What an entry says of its use. */
  status(ref: number): number {
    return this.grantTable.statusBits(ref) & (GTF.reading | GTF.writing);
  }

  flags(ref: number): number {
    return this.grantTable.shared[this.grantTable.headerAt(ref)] & 0xffff;
  }

  map(ref: number, gfn: number, flags: number, dom = DOMID): { status: number; handle: number; bus: number } {
    const layout = GNTTAB_MAP_GRANT_REF, { data } = this;
    data.setBigUint64(layout.host_addr, BigInt(gfn) * BigInt(PAGE_SIZE), true);
    data.setUint32(layout.flags, flags, true);
    data.setUint32(layout.ref, ref, true);
    data.setUint16(layout.dom, dom, true);
    const result = this.do(GNTTABOP.map_grant_ref);
    if (result !== 0) throw new Error(`map_grant_ref gives ${result}`);
    return {
      status: data.getInt16(layout.status, true),
      handle: data.getUint32(layout.handle, true),
      bus: Number(data.getBigUint64(layout.dev_bus_addr, true)),
    };
  }

  /** @returns the status */
  unmap(handle: number, gfn: number, bus = 0): number {
    const layout = GNTTAB_UNMAP_GRANT_REF, { data } = this;
    data.setBigUint64(layout.host_addr, BigInt(gfn) * BigInt(PAGE_SIZE), true);
    data.setBigUint64(layout.dev_bus_addr, BigInt(bus), true);
    data.setUint32(layout.handle, handle, true);
    const result = this.do(GNTTABOP.unmap_grant_ref);
    if (result !== 0) throw new Error(`unmap_grant_ref gives ${result}`);
    return data.getInt16(layout.status, true);
  }

  /** Writes one request of a list. */
  putCopy(source: CopyEnd, dest: CopyEnd, length: number, index = 0): void {
    const layout = GNTTAB_COPY[this.bits], { data } = this, at = index * layout.bytes;
    const end = (name: "source" | "dest", { ref, gfn = 0, domid = DOMID_SELF, offset = 0 }: CopyEnd) => {
      if (this.bits === 64) data.setBigUint64(at + layout[`${name}.u.gmfn`], BigInt(ref ?? gfn), true);
      else data.setUint32(at + layout[`${name}.u.gmfn`], ref ?? gfn, true);
      data.setUint16(at + layout[`${name}.domid`], domid, true);
      data.setUint16(at + layout[`${name}.offset`], offset, true);
    };
    end("source", source);
    end("dest", dest);
    data.setUint16(at + layout.len, length, true);
    const flags = (source.ref === undefined ? 0 : GNTCOPY.source_gref) |
      (dest.ref === undefined ? 0 : GNTCOPY.dest_gref);
    data.setUint16(at + layout.flags, flags, true);
    data.setInt16(at + layout.status, 77, true);
  }

  copyStatus(index = 0): number {
    const layout = GNTTAB_COPY[this.bits];
    return this.data.getInt16(index * layout.bytes + layout.status, true);
  }

  /** @returns the status */
  copy(source: CopyEnd, dest: CopyEnd, length: number): number {
    this.putCopy(source, dest, length);
    const result = this.do(GNTTABOP.copy);
    if (result !== 0) throw new Error(`copy gives ${result}`);
    return this.copyStatus();
  }

  bytes(gfn: number, offset: number, count: number): number[] {
    const bytes = new Uint8Array(count);
    this.test.memory.read(gfn * PAGE_SIZE + offset, bytes);
    return [...bytes];
  }

  fill(gfn: number, offset: number, bytes: readonly number[]): void {
    this.test.memory.write(gfn * PAGE_SIZE + offset, Uint8Array.from(bytes));
  }

  /** A frame of the table stands at a gfn. */
  place(index: number, isStatus: boolean, gfn: Gfn): number {
    return this.grantTable.place(this.test.placed, index, isStatus, gfn);
  }

  get references(): number {
    return this.test.machine.references;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
