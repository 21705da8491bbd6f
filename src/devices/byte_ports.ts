/** Byte-wide registers behind a bus that also makes wider accesses. */

import type { RangeHandler } from "../dm/host.ts";

/** Registers of one byte each. */
export interface ByteRegisters {
  readByte(offset: number): number;
  /** @param value 0-255 */
  writeByte(offset: number, value: number): void;
}

/**
 * Splits a wider access as the ISA bus does for an 8-bit card: one byte to each of the consecutive ports, the lowest
 * port and the lowest byte first.
 */
export class BytePorts implements RangeHandler {
  constructor(private readonly registers: ByteRegisters) {}

  read(offset: number, size: number): number {
    let value = this.registers.readByte(offset);
    for (let byte = 1; byte < size; byte++) value |= this.registers.readByte(offset + byte) << (8 * byte);
    return value >>> 0;
  }

  write(offset: number, size: number, value: number): void {
    for (let byte = 0; byte < size; byte++) this.registers.writeByte(offset + byte, (value >>> (8 * byte)) & 0xff);
  }
}
