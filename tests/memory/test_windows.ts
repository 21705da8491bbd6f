/** Windows of a second stage over a VM that only remembers its slots; what the guest would see, page by page. */

import { assertEquals } from "@std/assert";
import type { Vm } from "../../src/kvm/vm.ts";
import type { Descriptor } from "../../src/linux/descriptor.ts";
import { errnoName } from "../../src/linux/errno.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { type Gfn, PAGE_SIZE } from "../../src/memory/address.ts";
import type { Bank } from "../../src/memory/bank.ts";
import { SecondStage } from "../../src/memory/second_stage.ts";
import { AREA, type Area, TRANSPORT, type Transport } from "../../src/memory/stage_area.ts";
import { testWith, USERFAULT } from "../support/capabilities.ts";
import { TestStage } from "./test_stage.ts";

/** The window of {@linkcode TestWindows.add}. */
export const FIRST = 0xd_0000 as Gfn, SERVER = 3;

export const PAGES = 8, FRAMES = 16, OTHER_SERVER = 4;

/** A slot that KVM has. */
export interface Slot {
  readonly address: number;
  readonly sizeBytes: number;
  readonly host: bigint;
  readonly readOnly: boolean;
}

/** A VM without KVM. */
export class SlotRecorder {
  readonly slots = new Map<number, Slot>();
  /** Thrown by the next change. */
  refusal: Error | undefined;
  /** What changes on a thread of their own wait for, before they are made. */
  gate: Promise<void> = Promise.resolve();

  setMemoryRegion(slot: number, address: number, sizeBytes: number, host: bigint, readOnly = false): void {
    const { refusal } = this;
    this.refusal = undefined;
    if (refusal !== undefined) throw refusal;
    if (sizeBytes === 0) this.slots.delete(slot);
    else this.slots.set(slot, { address, sizeBytes, host, readOnly });
  }

  async changeMemoryRegion(slot: number, address: number, sizeBytes: number, host: bigint): Promise<void> {
    await this.gate;
    this.setMemoryRegion(slot, address, sizeBytes, host);
  }

  get vm(): Vm {
    return this as unknown as Vm;
  }
}

/** What stands behind a page: "missing", or its first byte, and whether writing is prevented. */
export type Seen = "missing" | number | `${number} read-only`;

/** Bits of an entry of /proc/self/pagemap. */
const PRESENT = 1n << 63n, WRITE_PROTECTED = 1n << 57n;

export class TestWindows extends TestStage {
  readonly kvm = new SlotRecorder();
  readonly stage = new SecondStage(this.kvm.vm, this.map);
  readonly #pagemap = Deno.openSync("/proc/self/pagemap");

  /** A window of `pages` pages of {@linkcode SERVER} from {@linkcode FIRST} on. */
  add(pages: number, transport: Transport = TRANSPORT.FAULT, first: Gfn = FIRST, server = SERVER): Promise<Area> {
    return this.stage.addWindow(first, pages, server, transport);
  }

  /** A foreign bank; frame n is full of `base + n`. It is the server's memory `id`. */
  bring(frames: number, base: number, id = 0, server = SERVER): Bank {
    const file = MemoryFile.create("window-test", frames * PAGE_SIZE);
    for (let frame = 0; frame < frames; frame++) fill(file, frame, base + frame);
    return this.adopt(file, frames, id, server);
  }

  adopt(file: Descriptor, frames: number, id = 0, server = SERVER): Bank {
    const bank = this.machine.adopt(file, frames, 0);
    this.table.setMemory(server, id, this.banks.find(bank.firstMfn));
    return bank;
  }

  /** What the guest would see of a page of a window of the fault transport, as the page tables have it. */
  seen(gfn: number): Seen {
    const area = this.table.areaOf(gfn)!, address = area.hostOf(gfn), entry = new BigUint64Array(1);
    this.#pagemap.seekSync(address / PAGE_SIZE * 8, Deno.SeekMode.Start);
    this.#pagemap.readSync(new Uint8Array(entry.buffer));
    if ((entry[0] & PRESENT) === 0n) return "missing";
    const [byte] = new Uint8Array(viewAt(BigInt(address), 1));
    return (entry[0] & WRITE_PROTECTED) === 0n ? byte : `${byte} read-only`;
  }

  /** Of several pages from `gfn` on. */
  show(gfn: number, count: number): Seen[] {
    return Array.from({ length: count }, (_, page) => this.seen(gfn + page));
  }

  override [Symbol.dispose](): void {
    this.#pagemap.close();
    this.stage[Symbol.dispose]();
    super[Symbol.dispose]();
  }
}

/** Fills a page of a file. */
export function fill(file: Descriptor, frame: number, byte: number): void {
  const path = `/proc/self/fd/${file.number}`;
  using open = Deno.openSync(path, { write: true });
  open.seekSync(frame * PAGE_SIZE, Deno.SeekMode.Start);
  open.writeSync(new Uint8Array(PAGE_SIZE).fill(byte));
}

/** The first byte of a frame of a file. */
export function firstByte(file: Descriptor, frame: number): number {
  using open = Deno.openSync(`/proc/self/fd/${file.number}`);
  open.seekSync(frame * PAGE_SIZE, Deno.SeekMode.Start);
  const byte = new Uint8Array(1);
  open.readSync(byte);
  return byte[0];
}

/** Runs `body` with a window of 8 pages, and memory 0 whose frame n is full of 0x10 + n; nothing is held afterwards. */
export function testWindow(name: string, body: (test: TestWindows) => void | Promise<void>): void {
  testWith([USERFAULT], name, async () => {
    using test = new TestWindows();
    const area = await test.add(PAGES);
    test.bring(FRAMES, 0x10);
    await body(test);
    if (area.state === AREA.WINDOW) test.map.close(area);
    assertEquals(test.machine.references, 0, "references");
    assertEquals(test.table.openFaults, 0, "open faults");
    await test.stage.removeWindow(area);
    assertEquals([test.table.windows, test.kvm.slots.size], [0, 0]);
  });
}

/** 0 is "". */
export const name = (errno: number) => errno === 0 ? "" : errnoName(errno);

export function map(test: TestWindows, page: number, frame: number, count = 1, readOnly = false): string {
  return name(test.map.map(SERVER, FIRST + page, count, 0, frame, readOnly));
}

export function revoke(test: TestWindows, page: number, count = 1): string {
  const result = test.map.revoke(SERVER, FIRST + page, count);
  test.map.flush();
  return name(result);
}
