/** A virtio console with its ports: the program's own descriptors, and Unix sockets. */

import type { DeviceModelHost } from "../dm/host.ts";
import { Console, type ConsoleOptions } from "./console.ts";
import { DESCRIPTOR_CALLS } from "./descriptor_calls.ts";
import { PortConsole, terminalSize } from "./port_console.ts";
import { PortSocket } from "./port_socket.ts";
import { type PortOptions, VirtioConsole } from "./virtio_console_device.ts";
import { virtioOverMmio, type VirtioPlace } from "./virtio_place.ts";

/** A port: the guest's console, or a named one at a socket. */
export type VirtioConsolePort = { readonly console: ConsoleOptions } | {
  readonly name: string;
  readonly socket: string;
};

/** What ports there are, and where the guest finds the device. */
export interface VirtioConsoleConfiguration extends VirtioPlace {
  /** One of them at most is the console, whose descriptors have to be this process's. */
  readonly ports: readonly VirtioConsolePort[];
}

/** @throws {PortError} a socket cannot be made */
export default function virtioConsole(host: DeviceModelHost, configuration: unknown): void {
  const { ports, ...place } = configuration as VirtioConsoleConfiguration;
  const output = ports.flatMap((port) => "console" in port ? [port.console.output] : []).at(0) ?? -1;
  const options = ports.map((port): PortOptions => {
    if (!("console" in port)) return { name: port.name, peer: (end) => new PortSocket(host, port.socket, end) };
    const console = new Console(host, DESCRIPTOR_CALLS, port.console);
    return { name: undefined, peer: (end) => new PortConsole(console, end) };
  });
  const device = new VirtioConsole(host, options, () => terminalSize(output));
  virtioOverMmio(host, device, place);
}
