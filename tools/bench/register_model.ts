/** The least that a user's device model can be: one register at a port. */

import type { DeviceModelHost } from "xenolith/dm";

/** Where it is: nobody else claims this port. */
export const REGISTER_PORT = 0x510;

export default function register(host: DeviceModelHost): void {
  let value = 0;
  host.mapPorts(REGISTER_PORT, 1, {
    read: () => value,
    write(_offset, _size, written) {
      value = written;
    },
  });
}
