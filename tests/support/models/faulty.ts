/** A device model for tests: does what `configuration.fault` says, in the manner of somebody's first attempt. */

import type { DeviceModelHost } from "xenolith/dm";

export default async function faulty(host: DeviceModelHost, configuration: { fault: string }): Promise<void> {
  switch (configuration.fault) {
    case "throws when it is written to":
      return host.mapPorts(0x500, 1, {
        read: () => 0,
        write() {
          throw new RangeError("no such register:\n  0x500");
        },
      });
    case "throws at once":
      throw new Error("nothing works");
    case "rejects":
      return await Promise.reject(new Error("nothing will work"));
    case "claims a range twice":
      host.mapPorts(0x500, 8, { read: () => 0, write() {} });
      return host.mapPorts(0x504, 8, { read: () => 0, write() {} });
    case "claims no range":
      return host.mapPorts(0x500, 0, { read: () => 0, write() {} });
    case "wants too much state":
      host.state(1 << 30);
  }
}
