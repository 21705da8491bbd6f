/** The registers that end a guest's run: ACPI's sleep control and status, and the reset control register. */

import type { DeviceModelHost } from "../dm/host.ts";
import { BytePorts } from "./byte_ports.ts";
import { RESET, SLEEP } from "./platform_map.ts";

/** ACPI 6.5, tables 4.18 and 4.19. */
const SLEEP_CONTROL = { TYPE_SHIFT: 2, TYPE: 0x1c, ENABLE: 0x20 } as const;

/** Bits of 0xcf9: the kind of reset is free to choose, the third starts it. */
const RESET_CONTROL = { START: 0x04, KEPT: 0x0e } as const;

/** Powers the machine off on S5. Other sleep types are not announced and put nothing to sleep. */
export function sleepRegisters(host: DeviceModelHost): void {
  const state = host.state(1); // the sleep type last written
  const control = SLEEP.control - SLEEP.port;
  const registers = {
    // SLP_EN is write-only. The status register's one bit, WAK_STS, is never set and so never to be cleared.
    readByte: (offset: number) => offset === control ? state.getUint8(0) : 0,
    writeByte: (offset: number, value: number) => {
      if (offset !== control) return;
      state.setUint8(0, value & SLEEP_CONTROL.TYPE);
      const type = (value & SLEEP_CONTROL.TYPE) >> SLEEP_CONTROL.TYPE_SHIFT;
      if (value & SLEEP_CONTROL.ENABLE && type === SLEEP.s5Type) host.shutdown("poweroff");
    },
  };
  host.mapPorts(SLEEP.port, SLEEP.ports, new BytePorts(registers));
}

/** Resets the machine when the start bit is written. */
export function resetRegister(host: DeviceModelHost): void {
  const state = host.state(1);
  host.mapPorts(RESET.port, 1, {
    read: () => state.getUint8(0),
    write: (_offset, _size, value) => {
      state.setUint8(0, value & RESET_CONTROL.KEPT & ~RESET_CONTROL.START);
      if (value & RESET_CONTROL.START) host.shutdown("reset");
    },
  });
}
