/** A framebuffer window without a hypervisor: its host's memory, window and ports, and a guest that gets in between. */

import { assert, assertEquals } from "@std/assert";
import framebufferWindow, { type FramebufferConfiguration } from "../../src/devices/framebuffer_window.ts";
import { PAGE_BYTES, PAGE_PIXELS, REGISTER } from "../../src/devices/framebuffer_registers.ts";
import type { DeviceMemory, DeviceModelHost, GuestWindow, PageMapping, RangeHandler } from "../../src/dm/host.ts";
import type { PageRun, WindowHandler } from "../../src/dm/host.ts";
import { DmOpError } from "../../src/ioreq/dm_op_error.ts";
import { EOPNOTSUPP } from "../../src/linux/errno.ts";

interface Shown {
  readonly memory: FakeMemory;
  readonly frame: number;
  readonly readOnly: boolean;
}

/** Memory whose copying is watched: `set` is how the model copies. */
class FakeMemory implements DeviceMemory {
  readonly bytes: Uint8Array<ArrayBuffer>;

  constructor(readonly pages: number, copied: (from: ArrayBuffer, frame: number, to: FakeMemory, at: number) => void) {
    this.bytes = new Uint8Array(pages * PAGE_BYTES);
    const set = this.bytes.set.bind(this.bytes);
    this.bytes.set = (source: ArrayLike<number>, offset = 0) => {
      const { buffer, byteOffset, length } = source as Uint8Array<ArrayBuffer>;
      assertEquals(length, PAGE_BYTES);
      copied(buffer, byteOffset / PAGE_BYTES, this, offset / PAGE_BYTES);
      set(source, offset);
    };
  }
}

/** The machine around the model. The guest's accesses have violations as on the transport that was asked for. */
export class FakeFramebuffer implements GuestWindow {
  pages = 0;
  transport: "fault" | "exit" = "fault";
  /** By page of the window. */
  shown: (Shown | undefined)[] = [];
  /** Called while the model is at work: what other vCPUs do then. */
  meanwhile: () => void = () => {};
  violations = 0;
  copies = 0;
  #window!: WindowHandler;
  #registers!: RangeHandler;
  readonly #memories: FakeMemory[] = [];

  /** @param protects whether the host has read-only mappings */
  constructor(configuration: FramebufferConfiguration, private readonly protects = true) {
    const host = {
      createMemory: (sizeBytes: number) => this.#createMemory(sizeBytes),
      mapWindow: (_address: number, sizeBytes: number, handler: WindowHandler, options: Partial<FakeFramebuffer>) => {
        this.pages = sizeBytes / PAGE_BYTES;
        this.transport = options.transport ?? "fault";
        this.shown = new Array(this.pages).fill(undefined);
        this.#window = handler;
        return this;
      },
      mapPorts: (_first: number, _count: number, handler: RangeHandler) => void (this.#registers = handler),
    };
    framebufferWindow(host as unknown as DeviceModelHost, configuration);
  }

  get(register: keyof typeof REGISTER): number {
    return this.#registers.read(REGISTER[register], 4);
  }

  set(register: keyof typeof REGISTER, value = 0): void {
    this.#registers.write(REGISTER[register], 4, value);
  }

  /** The guest reads a pixel; or writes it. */
  access(page: number, pixel: number, value?: number): number {
    const write = value !== undefined;
    for (let tries = 0; tries < 16; tries++) {
      const shown = this.shown[page];
      if (shown !== undefined && !(write && shown.readOnly)) {
        const pixels = pixelsOf(shown);
        return write ? pixels[pixel] = value : pixels[pixel];
      }
      this.violations++;
      const answer = this.#window.violation(page, this.transport === "exit" ? write : shown !== undefined);
      assert(Array.isArray(answer));
      this.map(answer);
    }
    throw new Error(`page ${page} is not there after 16 violations`);
  }

  /** All of a page that is in the window, as the guest reads it. */
  read(page: number): Uint32Array {
    this.access(page, 0);
    return pixelsOf(this.shown[page]!).slice();
  }

  isWritable(page: number): boolean {
    return this.shown[page]?.readOnly === false;
  }

  map(mappings: readonly PageMapping[]): void {
    for (const { page, memory, frame, count = 1, readOnly = false } of mappings) {
      this.meanwhile();
      assert(page >= 0 && page + count <= this.pages && frame >= 0 && frame + count <= memory.pages, "EINVAL");
      if (readOnly && !this.protects) throw new DmOpError("map", EOPNOTSUPP, "read-only");
      for (let done = 0; done < count; done++) {
        this.shown[page + done] = { memory: memory as FakeMemory, frame: frame + done, readOnly };
      }
    }
    const frames = this.shown.filter((shown) => shown !== undefined);
    const names = frames.map(({ memory, frame }) => `${this.#memories.indexOf(memory)}:${frame}`);
    assertEquals(new Set(names).size, names.length, "two pages of the window show the same frame");
    this.meanwhile();
  }

  revoke(runs: readonly PageRun[]): void {
    this.meanwhile();
    for (const run of runs) {
      const { page, count } = typeof run === "number" ? { page: run, count: 1 } : run;
      assert(page >= 0 && page + count <= this.pages, "EINVAL");
      this.shown.fill(undefined, page, page + count);
    }
    this.meanwhile();
  }

  retry(): void {
    throw new Error("the model puts nothing off");
  }

  #createMemory(sizeBytes: number): FakeMemory {
    const memory = new FakeMemory(sizeBytes / PAGE_BYTES, (from, frame, to, at) => {
      const source = this.#memories.find(({ bytes }) => bytes.buffer === from)!;
      this.copies++;
      assert(!this.#shows(source, frame, true), "a page is copied that the guest can write");
      assert(!this.#shows(to, at, false), "a frame is overwritten that the guest sees");
    });
    this.#memories.push(memory);
    return memory;
  }

  #shows(memory: FakeMemory, frame: number, writable: boolean): boolean {
    return this.shown.some((shown) =>
      shown?.memory === memory && shown.frame === frame && !(writable && shown.readOnly)
    );
  }
}

function pixelsOf({ memory, frame }: Shown): Uint32Array {
  return new Uint32Array(memory.bytes.buffer, frame * PAGE_BYTES, PAGE_PIXELS);
}
