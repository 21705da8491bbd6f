/** The guest's devices that vhost-user backends serve, as the user asks for them. */

import { LinuxError } from "../linux/linux_error.ts";
import { SocketPathError } from "../linux/socket_path.ts";
import { requireStream } from "../linux/stream_message.ts";
import { DeviceWords } from "./device_words.ts";
import { UsageError } from "./options.ts";
import type { VirtioDeviceOptions } from "./virtio.ts";

/** A device that somebody else's process serves. No backend knows of the interface before virtio 1.0. */
export interface VhostUserOptions extends Omit<VirtioDeviceOptions, "legacy"> {
  /** The path of the Unix socket where its backend listens. */
  readonly socket: string;
}

/** "SOCKET", and what all devices take but "legacy". @throws {UsageError} */
export function parseVhostUser(text: string): VhostUserOptions {
  const [socket, ...words] = text.split(",");
  return { socket, ...new DeviceWords(`vhost-user-blk ${socket}`, words, [], ["irq=edge|level", "memory="]).common };
}

/**
 * Their device models will connect; until then the backends notice nothing.
 * @throws {UsageError} nobody listens there, or one would have two devices
 */
export function checkBackends(devices: readonly (string | VhostUserOptions)[]): void {
  const found = new Set<string>();
  for (const device of devices) {
    const socket = typeof device === "string" ? device : device.socket;
    try {
      requireStream(socket);
    } catch (error) {
      if (error instanceof SocketPathError) throw new UsageError(`vhost-user-blk ${error.message}`);
      if (!(error instanceof LinuxError)) throw error;
      throw new UsageError(`vhost-user-blk ${socket}: no backend listens there (${error.errnoName})`);
    }
    const path = Deno.realPathSync(socket);
    if (found.has(path)) throw new UsageError(`vhost-user-blk ${socket}: a backend serves one device`);
    found.add(path);
  }
}
