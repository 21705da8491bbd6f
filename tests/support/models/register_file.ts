/** A device model for tests: 16 registers of 4 bytes in memory at `configuration.address`. */

import type { DeviceModelHost } from "xenolith/dm";

export default function registerFile(host: DeviceModelHost, configuration: { address: number }): void {
  const state = host.state(64);
  const registers = new Uint8Array(state.buffer, state.byteOffset, 64);
  host.mapMemory(configuration.address, registers.length, {
    read(offset, size) {
      let value = 0;
      for (let index = size - 1; index >= 0; index--) value = value * 256 + registers[offset + index];
      return value;
    },
    write(offset, size, value) {
      for (let index = 0; index < size; index++) registers[offset + index] = value / 2 ** (8 * index);
    },
  });
}
