/**
 * A framebuffer with more pictures than its window shows, and less VRAM than they need: a device model that maps pages of
 * its memory into the guest, and takes them back to move them while the guest draws. guests/window draws on it.
 */

import { type DeviceModelHost, DmOpError, type GuestWindow, type PageMapping, type RangeHandler } from "../dm/mod.ts";
import {
  type FramebufferConfiguration,
  type FramebufferSettings,
  framebufferSettings,
} from "./framebuffer_configuration.ts";
import { FramebufferPlaces } from "./framebuffer_places.ts";
import {
  digestOf,
  FRAMEBUFFER_ID,
  FRAMEBUFFER_PORTS,
  PAGE_BYTES,
  PAGE_PIXELS,
  REGISTER,
} from "./framebuffer_registers.ts";

export type { FramebufferConfiguration };

/** How a page of the window is mapped: each allows what the one before does. */
const NONE = 0, READ = 1, WRITE = 2;
type Access = typeof NONE | typeof READ | typeof WRITE;

/** A prime: steps of it come by all pages, and not in the order in which they are drawn. */
const STRIDE = 7919;

const UNKNOWN = -1;

/** Claims window and registers. @param configuration a {@linkcode FramebufferConfiguration} */
export default function framebufferWindow(host: DeviceModelHost, configuration: unknown): void {
  new FramebufferWindow(host, framebufferSettings(configuration));
}

/**
 * Each surface is as large as the window, in which one of them is at a time. A page of it is mapped when the guest comes
 * to it; to be moved it is revoked, copied, and mapped at its new place, at once or when the guest comes to it again.
 * Where the host can, pages are mapped read-only until they are written: what is read-only has not changed.
 *
 * All state is in fields: another generation of the model could not go on without the pictures, which go with this one.
 */
class FramebufferWindow implements RangeHandler {
  readonly #window: GuestWindow;
  readonly #places: FramebufferPlaces;
  readonly #protects: boolean;
  /** By page of the window. */
  readonly #access: Uint8Array;
  /** By page of all surfaces: its part of the digest, or UNKNOWN. */
  readonly #digests: Float64Array;
  #selected = 0;
  #displayed = 0;
  #digest = 0;
  /** The page that changed places last. */
  #moved = 0;

  constructor(host: DeviceModelHost, private readonly settings: FramebufferSettings) {
    const { address, sizeBytes, surfaces, port, vramPages, transport } = settings;
    const vram = host.createMemory(vramPages * PAGE_BYTES), system = host.createMemory(surfaces * sizeBytes);
    this.#places = new FramebufferPlaces(vram, system, (page) => this.#withdraw(page));
    this.#digests = new Float64Array(system.pages).fill(UNKNOWN);
    const violation = (page: number, write: boolean) => this.#violation(page, write);
    this.#window = host.mapWindow(address, sizeBytes, { violation }, transport === undefined ? {} : { transport });
    this.#access = new Uint8Array(this.#window.pages);
    this.#protects = this.#canProtect();
    host.mapPorts(port, FRAMEBUFFER_PORTS, this);
  }

  read(offset: number, size: number): number {
    if (size !== 4) return -1;
    switch (offset) {
      case REGISTER.ID:
        return FRAMEBUFFER_ID;
      case REGISTER.WINDOW:
        return this.settings.address / PAGE_BYTES;
      case REGISTER.PAGES:
        return this.#window.pages;
      case REGISTER.SURFACES:
        return this.settings.surfaces;
      case REGISTER.SELECT:
        return this.#selected;
      case REGISTER.FLIP:
        return this.#displayed;
      case REGISTER.DIGEST:
        return this.#digest;
      case REGISTER.MIGRATE:
        return this.#places.moves;
      default:
        return -1;
    }
  }

  write(offset: number, size: number, value: number): void {
    if (size !== 4) return;
    if (offset === REGISTER.MIGRATE) return this.#migrate();
    if (value >= this.settings.surfaces) return;
    if (offset === REGISTER.SELECT) this.#select(value);
    else if (offset === REGISTER.FLIP) this.#flip(value);
  }

  /** The page that was asked for comes to VRAM; those that will be next are mapped where they are. */
  #violation(page: number, write: boolean): PageMapping[] {
    this.#places.bringIn(this.#pageOf(page));
    // A request may have been on its way while the page was mapped: it loses nothing.
    const access = write || !this.#protects || this.#access[page] === WRITE ? WRITE : READ, pages = [page];
    const end = Math.min(page + 1 + this.settings.ahead, this.#window.pages);
    for (let next = page + 1; next < end; next++) if (this.#access[next] < access) pages.push(next);
    return this.#mappings(pages, access);
  }

  /** Other pictures want the memory, too: some pages change places, and the guest may be drawing on them. */
  #migrate(): void {
    for (let count = 0; count < this.settings.migrations; count++) {
      const at = this.#moved = (this.#moved + STRIDE) % this.#window.pages, page = this.#pageOf(at);
      const access = this.#access[at] as Access;
      if (this.#places.isInVram(page)) {
        this.#places.sendHome(page);
      } else {
        this.#places.bringIn(page);
        if (access !== NONE) this.#window.map(this.#mappings([at], access));
      }
    }
  }

  /** Another surface: of its pages those in VRAM are there at once. */
  #select(surface: number): void {
    this.#revokeAll();
    this.#selected = surface;
    if (!this.#protects) return;
    const pages = Array.from(this.#access.keys()).filter((page) => this.#places.isInVram(this.#pageOf(page)));
    this.#window.map(this.#mappings(pages, READ));
  }

  /** Displays a surface: only what was written since the last time is read. */
  #flip(surface: number): void {
    this.#displayed = surface;
    if (surface === this.#selected) this.#freeze();
    const { pages } = this.#window, digests = this.#digests;
    let sum = 0;
    for (let page = surface * pages; page < (surface + 1) * pages; page++) {
      if (digests[page] === UNKNOWN) {
        digests[page] = digestOf(this.#places.pixels(page), (page - surface * pages) * PAGE_PIXELS);
      }
      sum = (sum + digests[page]) | 0;
    }
    this.#digest = sum;
  }

  /** From now on a write of the guest is a violation, wherever it writes. */
  #freeze(): void {
    const written = Array.from(this.#access.keys()).filter((page) => this.#access[page] === WRITE);
    if (!this.#protects) {
      this.#window.revoke(written);
      for (const page of written) this.#access[page] = NONE;
    } else {
      this.#window.map(this.#mappings(written, READ));
    }
  }

  /** What maps pages of the window, given in ascending order, and that they are mapped so. */
  #mappings(pages: readonly number[], access: Access): PageMapping[] {
    const mappings: PageMapping[] = [];
    for (const at of pages) {
      const page = this.#pageOf(at), place = this.#places.place(page), last = mappings.at(-1);
      this.#access[at] = access;
      if (access === WRITE) {
        this.#places.open(page);
        this.#digests[page] = UNKNOWN;
      }
      const count = last?.count ?? 1;
      if (last?.memory === place.memory && last.page + count === at && last.frame + count === place.frame) {
        mappings[mappings.length - 1] = { ...last, count: count + 1 };
      } else {
        mappings.push({ page: at, ...place, readOnly: access === READ });
      }
    }
    return mappings;
  }

  /** A page is about to be copied: if the guest sees it, no longer. */
  #withdraw(page: number): void {
    const at = page - this.#pageOf(0);
    if (at < 0 || at >= this.#window.pages || this.#access[at] === NONE) return;
    this.#window.revoke([at]);
    this.#access[at] = NONE;
  }

  #revokeAll(): void {
    this.#window.revoke([{ page: 0, count: this.#window.pages }]);
    this.#access.fill(NONE);
  }

  /** Whether this host has read-only mappings: that is found out with one. */
  #canProtect(): boolean {
    try {
      this.#window.map([{ page: 0, ...this.#places.place(0), readOnly: true }]);
    } catch (error) {
      if (error instanceof DmOpError && error.errnoName === "EOPNOTSUPP") return false;
      throw error;
    }
    this.#revokeAll();
    return true;
  }

  /** The page that is at a page of the window. */
  #pageOf(at: number): number {
    return this.#selected * this.#window.pages + at;
  }
}
