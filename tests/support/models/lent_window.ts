/**
 * A device for guests/unpopulated, which shows its pages where the guest asks it to. Ports: +0 a gfn, +4 how many pages,
 * +8 what to do: 1 a window, whose pages are mapped when they are asked for; 2 its end; 3 a register as memory; 4 its
 * end. Reading +8 gives 0, or -errno.
 */

import { type DeviceModelHost, DmOpError } from "xenolith/dm";

/** Where it is asked, what its pages begin and end with, and what its register reads. */
export const PORT = 0x530, WORD = 0xdec0de00, REGISTER = 0x1234;

const PAGE_BYTES = 4096, MOST_PAGES = 64;

export interface LentWindowConfiguration {
  readonly transport?: "fault" | "exit";
}

export default function lentWindow(host: DeviceModelHost, configuration: unknown): void {
  const { transport } = (configuration ?? {}) as LentWindowConfiguration;
  const memory = host.createMemory(MOST_PAGES * PAGE_BYTES);
  const words = new DataView(memory.bytes.buffer, memory.bytes.byteOffset, memory.bytes.byteLength);
  for (let page = 0; page < MOST_PAGES; page++) {
    for (const at of [0, PAGE_BYTES - 8]) words.setBigUint64(page * PAGE_BYTES + at, BigInt(WORD + page), true);
  }
  let gfn = 0, pages = 0, result = 0;
  const operations: Record<number, () => void> = {
    1: () => {
      // The first answer maps nothing: the guest tries again, and asks again.
      const asked = new Set<number>();
      host.mapWindow(gfn * PAGE_BYTES, pages * PAGE_BYTES, {
        violation(page) {
          if (asked.has(page)) return [{ page, memory, frame: page }];
          asked.add(page);
          return [];
        },
      }, transport === undefined ? {} : { transport });
    },
    2: () => host.unmapWindow(gfn * PAGE_BYTES),
    3: () => host.mapMemory(gfn * PAGE_BYTES, PAGE_BYTES, { read: () => REGISTER, write: () => {} }),
    4: () => host.unmapMemory(gfn * PAGE_BYTES),
  };
  host.mapPorts(PORT, 12, {
    read: () => result,
    write(offset, _size, value) {
      if (offset === 0) gfn = value;
      else if (offset === 4) pages = value;
      else result = resultOf(operations[value]);
    },
  });
}

function resultOf(operation: () => void): number {
  try {
    operation();
    return 0;
  } catch (error) {
    if (error instanceof DmOpError) return -error.errno;
    throw error;
  }
}
