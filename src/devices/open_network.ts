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

/** Whether there can be such a network; somebody at a socket's other end does not notice. Throws what opening it does. */
export function checkNetwork(options: NetworkOptions): void {
  if (options.kind === "socket") checkSocketPath(options.path);
  else openNetwork(options)[Symbol.dispose]();
}
