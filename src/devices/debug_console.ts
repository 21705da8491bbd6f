/** Bochs' debug console: the simplest way for a guest to print. */

import type { DeviceModelHost } from "../dm/host.ts";
import type { Console } from "./console.ts";
import { DEBUG_CONSOLE } from "./platform_map.ts";

/** A byte written is printed; a read answers the port's own number, by which a guest knows that it is there. */
export function debugConsole(host: DeviceModelHost, console: Console): void {
  for (const port of [DEBUG_CONSOLE.port, DEBUG_CONSOLE.other]) {
    host.mapPorts(port, 1, { read: () => port, write: (_offset, _size, value) => console.put(value) });
  }
}
