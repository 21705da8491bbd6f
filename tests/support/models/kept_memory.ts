/**
 * A device model for tests: memory that is device state, so that a successor has what was written before. It dies in the
 * middle of the accesses whose numbers are in `configuration.deaths`.
 */

import type { DeviceModelHost } from "xenolith/dm";

export interface KeptMemoryConfiguration {
  readonly address: number;
  readonly size: number;
  readonly deaths?: readonly number[];
}

/** The exit status of one that has died. */
export const DEAD = 99;

export default function keptMemory(host: DeviceModelHost, { address, size, deaths }: KeptMemoryConfiguration): void {
  const state = host.state(size), bytes = new Uint8Array(state.buffer, state.byteOffset, size);
  const accesses = host.state(4);
  function count(): void {
    accesses.setUint32(0, accesses.getUint32(0) + 1);
    if (deaths?.includes(accesses.getUint32(0))) Deno.exit(DEAD);
  }
  host.mapMemory(address, size, {
    read(offset, width) {
      count();
      let value = 0;
      for (let index = width - 1; index >= 0; index--) value = value * 256 + bytes[offset + index];
      return value;
    },
    write(offset, width, value) {
      count();
      for (let index = 0; index < width; index++) bytes[offset + index] = value / 256 ** index;
    },
  });
}
