/** A window whose pages are taken back all the time: at each violation, at each report of the guest, and in between. */

import type { DeviceModelHost } from "xenolith/dm";

export interface RevokerConfiguration {
  readonly address: number;
  readonly sizeBytes: number;
  readonly port: number;
  readonly transport: "fault" | "exit";
  /** Pages mapped on one violation. */
  readonly ahead: number;
}

/** Pages that are taken back at a time. */
const AT_VIOLATION = 1, AT_REPORT = 5, IN_BETWEEN = 2;

export default function revoker(host: DeviceModelHost, configuration: unknown): void {
  const { address, sizeBytes, port, transport, ahead } = configuration as RevokerConfiguration;
  const memories = [host.createMemory(sizeBytes), host.createMemory(sizeBytes)], pages = sizeBytes / 4096;
  /** Which memory holds a page now, and whether it is mapped. */
  const home = new Uint8Array(pages), mapped = new Uint8Array(pages);
  let next = 0;
  const take = (count: number) => {
    const taken = new Set<number>();
    for (; taken.size < Math.min(count, pages); next = (next + 7919) % pages) taken.add(next);
    window.revoke([...taken]);
    // While nobody sees it a page moves to the other memory.
    for (const page of taken) {
      mapped[page] = 0;
      const [from, to] = [home[page], 1 - home[page]].map((one) => memories[one].bytes);
      to.set(from.subarray(page * 4096, (page + 1) * 4096), page * 4096);
      home[page] = 1 - home[page];
    }
  };
  const window = host.mapWindow(address, sizeBytes, {
    violation(page) {
      take(AT_VIOLATION);
      const wanted = Array.from({ length: Math.min(ahead, pages - page) }, (_, index) => page + index);
      return wanted.map((page) => {
        mapped[page] = 1;
        return { page, memory: memories[home[page]], frame: page };
      });
    },
  }, { transport });
  host.mapPorts(port, 4, { read: () => 0, write: () => take(AT_REPORT) });
  host.beforeSleep(() => {
    if (mapped.some((is) => is === 1)) take(IN_BETWEEN);
  });
}
