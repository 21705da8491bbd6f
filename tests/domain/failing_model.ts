/** A device model at port 0x600 that fails or keeps silent when it is told so. */

import type { DeviceModelHost } from "xenolith/dm";

/** What it is told: to fail at its next start, once; not to answer while it is so. */
const FAILS = 1, HOLDS = 2;

export default function failing(host: DeviceModelHost, configuration: unknown): void {
  const told = configuration as Int32Array<SharedArrayBuffer>;
  if (Atomics.compareExchange(told, 0, FAILS, 0) === FAILS) throw new RangeError("as it was told");
  host.mapPorts(0x600, 4, {
    read() {
      while (Atomics.load(told, 0) === HOLDS) Atomics.wait(told, 0, HOLDS);
      return 7;
    },
    write() {},
  });
}
