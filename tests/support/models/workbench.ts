/**
 * A device model for tests that offers the whole host at ports from `configuration.port` on: 0-3 take an address, and 4
 * reads or writes the byte of guest memory there (0xee: not granted); 8 sets GSI 5, 9 sets INTB of device 3, 10 sends an
 * MSI, 11 resets the domain, 12 throws; writes to 16-23 are buffered, and 24 reads how many there were, 25 the last one.
 */

import type { DeviceModelHost } from "xenolith/dm";

export default function workbench(host: DeviceModelHost, { port }: { port: number }): void {
  const byte = new Uint8Array(1), written: number[] = [];
  let address = 0;
  host.mapPorts(port, 4, { read: () => address, write: (_offset, _size, value) => address = value });
  host.mapPorts(port + 4, 1, {
    read() {
      try {
        host.memory.read(address, byte);
        return byte[0];
      } catch (error) {
        if (error instanceof RangeError) return 0xee;
        throw error;
      }
    },
    write(_offset, _size, value) {
      byte[0] = value;
      host.memory.write(address, byte);
    },
  });
  const actions: ((value: number) => void)[] = [
    (value) => host.setIrqLevel(5, value !== 0),
    (value) => host.setPciIntxLevel(3, 1, value !== 0),
    (value) => host.injectMsi(0xfee0_0000, value),
    () => host.shutdown("reset"),
    () => {
      throw new RangeError("nothing works any more");
    },
  ];
  host.mapPorts(port + 8, actions.length, {
    read: () => host.vcpus,
    write: (offset, _size, value) => actions[offset](value),
  });
  host.mapPorts(port + 16, 8, { read: () => 0, write: (_offset, _size, value) => void written.push(value) }, {
    buffered: true,
  });
  host.mapPorts(port + 24, 2, { read: (offset) => offset === 0 ? written.length : written.at(-1) ?? 0, write() {} });
}
