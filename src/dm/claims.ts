/** What a device model has claimed, and who answers an access to it. */

import { RANGE, type RangeType, TYPE } from "../ioreq/abi.ts";
import type { RangeHandler } from "./host.ts";

/** One range with its handler. */
export interface Claim {
  readonly first: number;
  readonly last: number;
  readonly handler: RangeHandler;
}

/** Registers of a PCI function that mechanism #1 reaches. */
const PCI_REGISTERS = 0x100;

/** The claims of one model. Nothing is allocated by an access. */
export class Claims {
  readonly #ranges: Record<RangeType, Claim[]> = { [RANGE.PORT]: [], [RANGE.MEMORY]: [], [RANGE.PCI]: [] };
  readonly #ports = new Map<number, Claim>();
  readonly #functions = new Map<number, Claim>();

  add(type: RangeType, first: number, last: number, handler: RangeHandler): void {
    const claim = { first, last, handler };
    this.#ranges[type].push(claim);
    if (type === RANGE.PORT) { for (let port = first; port <= last; port++) this.#ports.set(port, claim); }
  }

  /** @throws {RangeError} none begins there */
  remove(type: RangeType, first: number): Claim {
    const index = this.#ranges[type].findIndex((claim) => claim.first === first);
    if (index < 0) throw new RangeError(`nothing was claimed from 0x${first.toString(16)} on`);
    const [claim] = this.#ranges[type].splice(index, 1);
    if (type === RANGE.PORT) { for (let port = claim.first; port <= claim.last; port++) this.#ports.delete(port); }
    return claim;
  }

  /** A PCI function by its segment, bus, device and function. */
  addFunction(sbdf: number, handler: RangeHandler): void {
    this.#functions.set(sbdf, { first: 0, last: PCI_REGISTERS - 1, handler });
  }

  /** The handler of a PCI function, if anybody has it. */
  functionOf(sbdf: number): RangeHandler | undefined {
    return this.#functions.get(sbdf)?.handler;
  }

  /**
   * Up to 4 bytes, unsigned; of what nobody has, ones. Ranges of one server that touch are one range to selection: an
   * access may go over from one handler to the next.
   */
  read(type: number, address: number, size: number): number {
    const claim = this.#find(type, address);
    if (claim === undefined) return mask(-1, size);
    if (address + size - 1 <= claim.last) return mask(claim.handler.read(address - claim.first, size), size);
    const half = size / 2;
    return this.read(type, address, half) + this.read(type, address + half, half) * 2 ** (half * 8);
  }

  /** Up to 8 bytes. */
  writeAll(type: number, address: number, size: number, low: number, high: number): void {
    this.#write(type, address, Math.min(size, 4), low);
    if (size === 8) this.#write(type, address + 4, 4, high);
  }

  #write(type: number, address: number, size: number, value: number): void {
    const claim = this.#find(type, address);
    if (claim === undefined) return;
    if (address + size - 1 <= claim.last) return claim.handler.write(address - claim.first, size, mask(value, size));
    const half = size / 2;
    this.#write(type, address, half, mask(value, half));
    this.#write(type, address + half, half, Math.floor(value / 2 ** (half * 8)));
  }

  #find(type: number, address: number): Claim | undefined {
    if (type === TYPE.PIO) return this.#ports.get(address);
    return this.#ranges[RANGE.MEMORY].find((claim) => address >= claim.first && address <= claim.last);
  }
}

/** The low `size` bytes (1, 2 or 4) of `value`, unsigned. */
export function mask(value: number, size: number): number {
  return size === 4 ? value >>> 0 : value & ((1 << (size * 8)) - 1);
}
