/** A device model at port 0x600 that always gives the same value. */

import type { DeviceModelHost } from "xenolith/dm";

export default function constant(host: DeviceModelHost, configuration: unknown): void {
  host.mapPorts(0x600, 4, { read: () => configuration as number, write() {} });
}
