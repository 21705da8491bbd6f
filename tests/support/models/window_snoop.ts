/** Looks at its own window by the guest's memory, mapped and not, and fails where it is not refused. */

import type { DeviceModelHost } from "xenolith/dm";

export default function snoop(host: DeviceModelHost, configuration: unknown): void {
  const { address, transport } = configuration as { address: number; transport: "fault" | "exit" };
  const memory = host.createMemory(0x1000);
  const refused = (what: string, access: () => void) => {
    try {
      access();
    } catch (error) {
      if (error instanceof RangeError && error.message.includes(what)) return;
      throw error;
    }
    throw new Error(`a window was looked at by the guest's memory`);
  };
  const look = (what: string) => {
    refused(what, () => host.memory.read(address, new Uint8Array(4)));
    refused("memory", () => host.memory.write(address, new Uint8Array(4)));
    refused("", () => host.memory.read(address - 8, new Uint8Array(16)));
    if (host.memory.contains(address, 1)) throw new Error("contains() says yes");
  };
  let left = 4;
  const window = host.mapWindow(address, 0x1000, {
    violation() {
      look("no memory");
      window.map([{ page: 0, memory, frame: 0 }]);
      look("device model's memory");
      if (left-- > 0) window.revoke([0]);
      return left < 0 ? [] : [{ page: 0, memory, frame: 0 }];
    },
  }, { transport });
  look("no memory");
}
