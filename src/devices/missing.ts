/** What a device model of ours throws for the lack of what it was told to use: nothing is wrong with it. */

import { LinuxError } from "../linux/linux_error.ts";
import { VhostUserError } from "../virtio/vhost_user_connection.ts";
import { DiskError } from "./disk_file.ts";
import { NetworkError, NetworkUnavailable } from "./network.ts";
import { PortError } from "./port_socket.ts";

const MISSING = [DiskError, VhostUserError, NetworkError, NetworkUnavailable, PortError, LinuxError];

/** Whether `error` says what the host lacks; its message is a line for the user. */
export function isMissing(error: unknown): error is Error {
  return MISSING.some((kind) => error instanceof kind);
}
