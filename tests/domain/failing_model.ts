/** A device model at port 0x600 that fails, hangs or keeps silent when it is told so; else it answers 7 from its state. */

import type { DeviceModelHost } from "xenolith/dm";

/** What it is told: to fail at its next start, once; not to answer while it is so; not to come to the end of its next start. */
const FAILS = 1, HOLDS = 2, HANGS = 3;

export default function failing(host: DeviceModelHost, configuration: unknown): void {
  const told = configuration as Int32Array<SharedArrayBuffer>;
  if (Atomics.compareExchange(told, 0, FAILS, 0) === FAILS) throw new RangeError("as it was told");
  if (Atomics.compareExchange(told, 0, HANGS, 0) === HANGS) { for (;;); }
  const state = host.state(1);
  if (Atomics.exchange(told, 1, 1) === 0) state.setUint8(0, 7); // it is the first one
  host.mapPorts(0x600, 4, {
    read() {
      while (Atomics.load(told, 0) === HOLDS) Atomics.wait(told, 0, HOLDS);
      return state.getUint8(0);
    },
    write() {},
  });
}
