/** The least that a device model with a window can be: each page that is asked for is mapped, all are taken back at once. */

import type { DeviceModelHost } from "xenolith/dm";

export interface ViolationConfiguration {
  readonly address: number;
  readonly sizeBytes: number;
  /** A write to it takes all pages back. */
  readonly port: number;
  readonly transport: "fault" | "exit";
  /** Each time a page shows the frame that it had before, or another one. */
  readonly frames: "same" | "other";
}

export default function violations(host: DeviceModelHost, configuration: ViolationConfiguration): void {
  const { address, sizeBytes, port, transport, frames } = configuration;
  const memory = host.createMemory(2 * sizeBytes), pages = memory.pages / 2;
  memory.bytes.fill(1);
  let first = 0;
  const violation = (page: number) => [{ page, memory, frame: first + page }];
  const window = host.mapWindow(address, sizeBytes, { violation }, { transport });
  const all = [{ page: 0, count: pages }];
  host.mapPorts(port, 4, {
    read: () => 0,
    write() {
      window.revoke(all);
      if (frames === "other") first = pages - first;
    },
  });
}
