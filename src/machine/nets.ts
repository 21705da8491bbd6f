/** The guest's networks as the user asks for them. */

import { parseMac } from "../devices/mac_address.ts";
import { type HostForward, NetworkError, type NetworkOptions } from "../devices/network.ts";
import { checkNetwork } from "../devices/open_network.ts";
import { parseGrant, UsageError } from "./options.ts";
import type { VirtioDeviceOptions } from "./virtio.ts";

/** A network device of the guest's, and what is behind it. */
export type NetOptions = NetworkOptions & VirtioDeviceOptions & {
  /** The device's address, such as "52:54:00:12:34:56"; default: one that no other device of the host has. */
  readonly mac?: string;
};

/** What each kind has, and what all have; the last is a word without a value. */
const KEYS = { socket: ["path"], tap: ["ifname"], user: ["hostfwd", "restrict"] } as const;
const COMMON_KEYS = ["mac", "memory"], LEGACY = "legacy";

/** Keys that may be given several times. */
const LISTS = ["hostfwd"];

const MOST_PORT = 65535;

/** "socket,path=PATH", "tap,ifname=NAME" or "user[,hostfwd=tcp:1:2...][,restrict=on]"; all with mac=, memory= or legacy. @throws {UsageError} */
export function parseNet(text: string): NetOptions {
  const [kind, ...words] = text.split(",");
  if (!Object.hasOwn(KEYS, kind)) throw new UsageError(`net ${kind}: not socket, tap or user`);
  const refuse = (why: string) => new UsageError(`net ${kind}: ${why}`);
  const given = parseWords(words, [...KEYS[kind as keyof typeof KEYS], ...COMMON_KEYS], refuse);
  const one = (key: string) => {
    const [value] = given.get(key) ?? [];
    if (value === undefined) throw refuse(`${key}= is missing`);
    return value;
  };
  const common = {
    ...(given.has("mac") && { mac: one("mac") }),
    ...(given.has("memory") && { memory: parseGrant(one("memory")) }),
    ...(given.has(LEGACY) && { legacy: true }),
  };
  if (kind === "socket") return { kind, path: one("path"), ...common };
  if (kind === "tap") return { kind, ifname: one("ifname"), ...common };
  const hostForwards = (given.get("hostfwd") ?? []).map((forward) => parseForward(forward, refuse));
  return {
    kind: "user",
    hostForwards,
    restrict: given.has("restrict") && parseSwitch(one("restrict"), refuse),
    ...common,
  };
}

/** The values of each key that is given. */
function parseWords(words: readonly string[], keys: readonly string[], refuse: (why: string) => UsageError) {
  const given = new Map<string, string[]>();
  for (const word of words) {
    const [, key = word, value] = /^(\w+)=(.+)$/.exec(word) ?? [];
    const isKnown = value === undefined ? key === LEGACY : keys.includes(key);
    if (!isKnown) throw refuse(`${word} is not ${[...keys.map((name) => `${name}=`), LEGACY].join(", ")}`);
    if (given.has(key) && !LISTS.includes(key)) throw refuse(`${key} given twice`);
    given.set(key, [...given.get(key) ?? [], ...value === undefined ? [] : [value]]);
  }
  return given;
}

/** Its device model will open the network again. @throws {UsageError} it cannot be @throws {NetworkUnavailable} */
export function checkNet(net: NetOptions): void {
  if (net.mac !== undefined && parseMac(net.mac) === undefined) {
    throw new UsageError(`net ${net.kind}: mac ${net.mac} is no address of one device, such as 52:54:00:12:34:56`);
  }
  if (net.kind === "user") net.hostForwards?.forEach(checkForward);
  try {
    checkNetwork(net);
  } catch (error) {
    throw error instanceof NetworkError ? new UsageError(error.message) : error;
  }
}

function parseForward(text: string, refuse: (why: string) => UsageError): HostForward {
  const [, protocol, ...ports] = /^(tcp|udp):(\d+):(\d+)$/.exec(text) ?? [];
  if (protocol === undefined) throw refuse(`hostfwd ${text}: not tcp:PORT:GUESTPORT or udp:PORT:GUESTPORT`);
  const [hostPort, guestPort] = ports.map(Number);
  return { protocol: protocol as HostForward["protocol"], hostPort, guestPort };
}

function checkForward({ protocol, hostPort, guestPort }: HostForward): void {
  for (const port of [hostPort, guestPort]) {
    if (Number.isInteger(port) && port >= 1 && port <= MOST_PORT) continue;
    throw new UsageError(`net user: hostfwd ${protocol}:${hostPort}:${guestPort}: ports are 1 to ${MOST_PORT}`);
  }
}

function parseSwitch(text: string, refuse: (why: string) => UsageError): boolean {
  if (text === "on" || text === "off") return text === "on";
  throw refuse(`restrict ${text}: not on or off`);
}
