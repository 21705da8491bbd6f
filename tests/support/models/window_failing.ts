/** A window whose violations fail. */

import type { DeviceModelHost } from "xenolith/dm";

export default function failing(host: DeviceModelHost, configuration: unknown): void {
  const { address, transport } = configuration as { address: number; transport: "fault" | "exit" };
  host.mapWindow(address, 0x1000, {
    violation() {
      throw new Error("no page today");
    },
  }, { transport });
}
