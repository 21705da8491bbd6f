/** Where the pages of a framebuffer window's surfaces are, in VRAM or in system memory, and how they change places. */

import type { DeviceMemory } from "../dm/host.ts";
import { PAGE_BYTES, PAGE_PIXELS } from "./framebuffer_registers.ts";

const NOWHERE = -1;

/** A page's place: a frame of one of the two. */
export interface Place {
  readonly memory: DeviceMemory;
  readonly frame: number;
}

/**
 * Pages are numbered through all surfaces. Each has a home, the frame of its number in system memory; as many as fit are
 * in VRAM instead, where those that came first leave first. A page that nobody has written there needs no way back:
 * what it holds is still at home.
 */
export class FramebufferPlaces {
  /** By page: its frame of VRAM. */
  readonly #frames: Int32Array;
  /** By frame of VRAM: its page. */
  readonly #pages: Int32Array;
  /** By page: VRAM holds something else than home. */
  readonly #written: Uint8Array;
  /** The frame that is next to be used, or used again. */
  #next = 0;
  /** Pages that have changed places. */
  moves = 0;

  /**
   * @param system holds all pages
   * @param withdraw called before a page is copied: when it returns, nobody can write to it
   */
  constructor(
    private readonly vram: DeviceMemory,
    private readonly system: DeviceMemory,
    private readonly withdraw: (page: number) => void,
  ) {
    this.#frames = new Int32Array(system.pages).fill(NOWHERE);
    this.#pages = new Int32Array(vram.pages).fill(NOWHERE);
    this.#written = new Uint8Array(system.pages);
  }

  isInVram(page: number): boolean {
    return this.#frames[page] !== NOWHERE;
  }

  /** Where a page is now. */
  place(page: number): Place {
    return this.isInVram(page)
      ? { memory: this.vram, frame: this.#frames[page] }
      : { memory: this.system, frame: page };
  }

  /** What a page holds. */
  pixels(page: number): Uint32Array {
    const { memory: { bytes }, frame } = this.place(page);
    return new Uint32Array(bytes.buffer, bytes.byteOffset + frame * PAGE_BYTES, PAGE_PIXELS);
  }

  /** From now on a page may be written, where it is. */
  open(page: number): void {
    this.#written[page] = this.isInVram(page) ? 1 : 0;
  }

  /** Moves a page to VRAM, and the page that has been there longest to its home, if it is in the way. */
  bringIn(page: number): void {
    if (this.isInVram(page)) return;
    const frame = this.#next;
    this.#next = (frame + 1) % this.vram.pages;
    if (this.#pages[frame] !== NOWHERE) this.sendHome(this.#pages[frame]);
    this.withdraw(page);
    copy(this.system, page, this.vram, frame);
    this.#frames[page] = frame;
    this.#pages[frame] = page;
    this.#written[page] = 0;
    this.moves++;
  }

  /** Moves a page out of VRAM. */
  sendHome(page: number): void {
    const frame = this.#frames[page];
    if (frame === NOWHERE) return;
    this.withdraw(page);
    if (this.#written[page] !== 0) copy(this.vram, frame, this.system, page);
    this.#frames[page] = NOWHERE;
    this.#pages[frame] = NOWHERE;
    this.#written[page] = 0;
    this.moves++;
  }
}

function copy(from: DeviceMemory, frame: number, to: DeviceMemory, toFrame: number): void {
  to.bytes.set(from.bytes.subarray(frame * PAGE_BYTES, (frame + 1) * PAGE_BYTES), toFrame * PAGE_BYTES);
}
