/** Networks by their options. */

import type { Network, NetworkOptions } from "./network.ts";
import { checkSocketPath, SocketNetwork } from "./socket_network.ts";
import { TapNetwork } from "./tap_network.ts";
import { UserNetwork } from "./user_network.ts";

/** @throws {NetworkError} what was asked for cannot be @throws {NetworkUnavailable} the host does not have it */
export function openNetwork(options: NetworkOptions): Network {
  switch (options.kind) {
    case "socket":
      return new SocketNetwork(options.path);
    case "tap":
      return new TapNetwork(options.ifname);
    case "user":
      return new UserNetwork(options);
  }
}

/**
 * Whether there can be such a network: throws what opening it does.
 * @returns what keeps others from having it, as far as anything does: who is at a socket's other end does not notice
 */
export function probeNetwork(options: NetworkOptions): Disposable | undefined {
  return options.kind === "socket" ? checkSocketPath(options.path) : openNetwork(options);
}
