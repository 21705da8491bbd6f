/**
 * A device model for tests: binds the event channel whose number is written to its 32-bit register, and answers each event
 * with one. The register reads as the last binding's error number, 0 if there was none.
 */

import { type DeviceModelHost, DmOpError, type EventChannel } from "xenolith/dm";

export default function eventEcho(host: DeviceModelHost, configuration: { port: number }): void {
  let errno = 0;
  host.mapPorts(configuration.port, 4, {
    read: () => errno,
    write(_offset, _size, port) {
      errno = 0;
      try {
        const channel: EventChannel = host.bindEventChannel(port, () => channel.notify());
      } catch (error) {
        if (!(error instanceof DmOpError)) throw error;
        errno = error.errno;
      }
    },
  });
}
