/** A window of the exit transport in which nothing is ever mapped: every violation is emulated. */

import type { DeviceModelHost } from "xenolith/dm";
import { pattern } from "./window.ts";

export default function emulated(host: DeviceModelHost, configuration: unknown): void {
  const { address, sizeBytes, port = 0x510 } = configuration as { address: number; sizeBytes: number; port?: number };
  const bytes = new Uint8Array(sizeBytes), view = new DataView(bytes.buffer);
  const restore = () => bytes.forEach((_, offset) => bytes[offset] = pattern(offset));
  restore();
  host.mapWindow(address, sizeBytes, {
    violation: () => "emulate",
    read: (offset, size) =>
      size === 4 ? view.getUint32(offset, true) : size === 2 ? view.getUint16(offset, true) : bytes[offset],
    write(offset, size, value) {
      for (let byte = 0; byte < size; byte++) bytes[offset + byte] = Math.floor(value / 256 ** byte);
    },
  }, { transport: "exit" });
  host.mapPorts(port, 12, { read: () => 0, write: (offset) => offset === 0 ? restore() : undefined });
}
