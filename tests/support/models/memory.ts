/** A device that is memory: a window, some ports, or a queue of bytes at one port. */

import type { DeviceModelHost } from "xenolith/dm";

export interface MemoryConfiguration {
  /** Where the memory is: one of both. */
  readonly address?: number;
  readonly port?: number;
  readonly size: number;
  /** The port of a queue, for string instructions. */
  readonly queue?: number;
}

export default function memory(host: DeviceModelHost, { address, port, size, queue }: MemoryConfiguration): void {
  const bytes = new Uint8Array(size);
  const handler = {
    read: (offset: number, width: number) => number(bytes.subarray(offset, offset + width)),
    write: (offset: number, width: number, value: number) => bytes.set(bytesOf(value, width), offset),
  };
  if (address !== undefined) host.mapMemory(address, size, handler);
  if (port !== undefined) host.mapPorts(port, size, handler);
  if (queue === undefined) return;
  const waiting: number[] = [];
  host.mapPorts(queue, 4, {
    read: (_offset, width) => number(waiting.splice(0, width)),
    write: (_offset, width, value) => waiting.push(...bytesOf(value, width)),
  });
}

/** The number that bytes are, the lowest first. */
export function number(bytes: ArrayLike<number>): number {
  return Array.from(bytes).reduceRight((value, byte) => value * 256 + byte, 0);
}

/** The bytes of a number, the lowest first. */
export function bytesOf(value: number, width: number): number[] {
  return Array.from({ length: width }, (_, index) => Math.floor(value / 256 ** index) % 256);
}
