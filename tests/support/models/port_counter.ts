/** A device model for tests: a byte port that counts its reads from `configuration.first` on. */

import type { DeviceModelHost } from "xenolith/dm";

export default function portCounter(host: DeviceModelHost, configuration: { port: number; first: number }): void {
  let count = configuration.first;
  host.mapPorts(configuration.port, 1, { read: () => count++, write() {} });
}
