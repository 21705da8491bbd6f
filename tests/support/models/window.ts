/**
 * A window and the memory behind it, for guests/retry and guests/revoke: pages are mapped when they are asked for. Ports:
 * +0 revokes all pages and restores the pattern, +4 only revokes; +8 revokes as many pages as are written.
 */

import type { DeviceModelHost, PageMapping } from "xenolith/dm";

export interface WindowConfiguration {
  readonly address?: number;
  readonly sizeBytes?: number;
  readonly port?: number;
  readonly transport?: "fault" | "exit";
  /** Pages mapped on one violation. */
  readonly ahead?: number;
  /** Pages revoked on each violation, others than the one asked for. */
  readonly revokes?: number;
}

/** The byte at an offset of the window, as guests/retry expects it. */
export function pattern(offset: number): number {
  return (offset * 167 + (offset >> 8) * 13 + 5) & 0xff;
}

export default function window(host: DeviceModelHost, configuration: unknown): void {
  const given = configuration as WindowConfiguration;
  const { address = 0xfd00_0000, sizeBytes = 0x1_0000, port = 0x510, ahead = 1, revokes = 0 } = given ?? {};
  const memory = host.createMemory(sizeBytes), pages = memory.pages;
  const restore = () => memory.bytes.forEach((_, offset) => memory.bytes[offset] = pattern(offset));
  restore();
  let next = 0;
  const revokeNext = (count: number) => {
    const runs = Array.from({ length: Math.min(count, pages) }, () => next = (next + 7919) % pages);
    shown.revoke(runs);
  };
  const shown = host.mapWindow(address, sizeBytes, {
    violation(page) {
      if (revokes > 0) revokeNext(revokes);
      const count = Math.min(ahead, pages - page);
      return [{ page, memory, frame: page, count }] satisfies PageMapping[];
    },
  }, given?.transport === undefined ? {} : { transport: given.transport });
  const revokeAll = () => shown.revoke([{ page: 0, count: pages }]);
  host.mapPorts(port, 12, {
    read: () => 0,
    write(offset, _size, value) {
      if (offset === 8) return revokeNext(value);
      revokeAll();
      if (offset === 0) restore();
    },
  });
}
