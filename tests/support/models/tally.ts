/**
 * A device model for tests: counts the writes to a byte port and fails at one that is not `configuration.value`; a read
 * gives the count's low byte. It powers the machine off at write number `configuration.count`, if there is one.
 */

import type { DeviceModelHost } from "xenolith/dm";

export default function tally(
  host: DeviceModelHost,
  configuration: { port: number; value: number; count?: number },
): void {
  let count = 0;
  host.mapPorts(configuration.port, 1, {
    read: () => count & 0xff,
    write(_offset, size, value) {
      if (size !== 1 || value !== configuration.value) throw new Error(`write ${count}: ${size} bytes, ${value}`);
      count++;
      if (count === configuration.count) host.shutdown("poweroff");
    },
  });
}
