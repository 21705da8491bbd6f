/** The guest's devices that vhost-user backends serve, as the user asks for them. */

import { LinuxError } from "../linux/linux_error.ts";
import { SocketPathError } from "../linux/socket_path.ts";
import { requireStream } from "../linux/stream_message.ts";
import { parseGrant, UsageError } from "./options.ts";
import type { VirtioDeviceOptions } from "./virtio.ts";

/** A device that somebody else's process serves. */
export interface VhostUserOptions extends Pick<VirtioDeviceOptions, "trigger" | "memory"> {
  /** The path of the Unix socket where its backend listens. */
  readonly socket: string;
}

/** "SOCKET[,irq=edge|level][,memory=WHAT]". @throws {UsageError} */
export function parseVhostUser(text: string): VhostUserOptions {
  const [socket, ...words] = text.split(","), memory = words.findLast((word) => word.startsWith("memory="));
  const unknown = words.find((word) => !/^(irq=(edge|level)|memory=.*)$/.test(word));
  if (unknown !== undefined) {
    throw new UsageError(`vhost-user-blk ${socket}: ${unknown} is not irq=edge, irq=level or memory=`);
  }
  const trigger = words.includes("irq=level") ? "level" : "edge";
  return { socket, trigger, ...memory !== undefined && { memory: parseGrant(memory.slice("memory=".length)) } };
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
