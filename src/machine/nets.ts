/** The guest's networks as the user asks for them. */

import { parseMac } from "../devices/mac_address.ts";
import { type HostForward, NetworkError, type NetworkOptions } from "../devices/network.ts";
import { probeNetwork } from "../devices/open_network.ts";
import { DeviceWords } from "./device_words.ts";
import { UsageError } from "./options.ts";
import type { VirtioDeviceOptions } from "./virtio.ts";

/** A network device of the guest's, and what is behind it. */
export type NetOptions = NetworkOptions & VirtioDeviceOptions & {
  /** The device's address, such as "52:54:00:12:34:56"; default: one that no other device of the host has. */
  readonly mac?: string;
};

/** What each kind has. */
const KEYS = { socket: ["path="], tap: ["ifname="], user: ["hostfwd=...", "restrict=on|off"] } as const;

const MOST_PORT = 65535;

/**
 * "socket,path=PATH", "tap,ifname=NAME" or "user[,hostfwd=tcp:1:2...][,restrict=on|off]", each with "mac=" and what all
 * devices take.
 * @throws {UsageError}
 */
export function parseNet(text: string): NetOptions {
  const [kind, ...rest] = text.split(",");
  if (!Object.hasOwn(KEYS, kind)) throw new UsageError(`net ${kind}: not socket, tap or user`);
  const words = new DeviceWords(`net ${kind}`, rest, [...KEYS[kind as keyof typeof KEYS], "mac="]);
  const common = { ...words.has("mac") && { mac: words.one("mac") }, ...words.common };
  if (kind === "socket") return { kind, path: words.one("path"), ...common };
  if (kind === "tap") return { kind, ifname: words.one("ifname"), ...common };
  const hostForwards = words.all("hostfwd").map(parseForward);
  return { kind: "user", hostForwards, restrict: words.all("restrict").includes("on"), ...common };
}

/**
 * Their device models will open them again: what cannot be, or not together, is found before.
 * @throws {UsageError} @throws {NetworkUnavailable}
 */
export function checkNets(nets: readonly NetOptions[]): void {
  using held = new DisposableStack();
  for (const net of nets) {
    if (net.mac !== undefined && parseMac(net.mac) === undefined) {
      throw new UsageError(`net ${net.kind}: mac ${net.mac} is no address of one device, such as 52:54:00:12:34:56`);
    }
    if (net.kind === "user") net.hostForwards?.forEach(checkForward);
    try {
      held.use(probeNetwork(net));
    } catch (error) {
      throw error instanceof NetworkError ? new UsageError(error.message) : error;
    }
  }
}

function parseForward(text: string): HostForward {
  const [, protocol, ...ports] = /^(tcp|udp):(\d+):(\d+)$/.exec(text) ?? [];
  if (protocol === undefined) {
    throw new UsageError(`net user: hostfwd ${text}: not tcp:PORT:GUESTPORT or udp:PORT:GUESTPORT`);
  }
  const [hostPort, guestPort] = ports.map(Number);
  return { protocol: protocol as HostForward["protocol"], hostPort, guestPort };
}

function checkForward({ protocol, hostPort, guestPort }: HostForward): void {
  for (const port of [hostPort, guestPort]) {
    if (Number.isInteger(port) && port >= 1 && port <= MOST_PORT) continue;
    throw new UsageError(`net user: hostfwd ${protocol}:${hostPort}:${guestPort}: ports are 1 to ${MOST_PORT}`);
  }
}
