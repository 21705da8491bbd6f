/** The guest's devices that vhost-user backends serve, as the user asks for them. */

import { LinuxError } from "../linux/linux_error.ts";
import { SocketPathError } from "../linux/socket_path.ts";
import { requireStream } from "../linux/stream_message.ts";
import { parseGrant, UsageError } from "./options.ts";
import type { VirtioDeviceOptions } from "./virtio.ts";

/** A device that somebody else's process serves. */
export interface VhostUserOptions extends Pick<VirtioDeviceOptions, "memory"> {
  /** The path of the Unix socket where its backend listens. */
  readonly socket: string;
}

/** "SOCKET[,memory=WHAT]". @throws {UsageError} */
export function parseVhostUser(text: string): VhostUserOptions {
  const [, socket, memory] = /^(.*?)(?:,memory=(.*))?$/s.exec(text)!;
  return { socket, ...memory !== undefined && { memory: parseGrant(memory) } };
}

/** Its device model will connect; until then the backend notices nothing. @throws {UsageError} nobody listens there */
export function checkBackend(device: string | VhostUserOptions): void {
  const { socket } = typeof device === "string" ? { socket: device } : device;
  try {
    requireStream(socket);
  } catch (error) {
    if (error instanceof SocketPathError) throw new UsageError(`vhost-user-blk ${error.message}`);
    if (!(error instanceof LinuxError)) throw error;
    throw new UsageError(`vhost-user-blk ${socket}: no backend listens there (${error.errnoName})`);
  }
}
