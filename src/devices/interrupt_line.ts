/** An interrupt line that is driven only when its level changes. */

import type { DeviceModelHost } from "../dm/host.ts";

/** Its level is a byte of the device's state, so that another generation of the model knows it. */
export class InterruptLine {
  constructor(
    private readonly host: DeviceModelHost,
    private readonly gsi: number,
    private readonly state: DataView<ArrayBuffer>,
    private readonly levelOffset: number,
  ) {}

  set(level: boolean): void {
    if ((this.state.getUint8(this.levelOffset) !== 0) === level) return;
    this.state.setUint8(this.levelOffset, level ? 1 : 0);
    this.host.setIrqLevel(this.gsi, level);
  }
}
