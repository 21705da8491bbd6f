/** The POST code port, which kernels also write to pass a microsecond. */

import type { DeviceModelHost } from "../dm/host.ts";
import { POST } from "./platform_map.ts";

/** Keeps the last code written. */
export function post(host: DeviceModelHost): void {
  const state = host.state(1);
  host.mapPorts(POST.port, 1, {
    read: () => state.getUint8(0),
    write: (_offset, _size, value) => state.setUint8(0, value),
  });
}
