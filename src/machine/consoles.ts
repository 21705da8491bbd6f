/** Virtio consoles as somebody asks for them: their ports, and the checks of those. */

import { listenAsPort, PortError } from "../devices/port_socket.ts";
import { DeviceWords } from "./device_words.ts";
import { UsageError } from "./options.ts";
import type { VirtioDeviceOptions } from "./virtio.ts";

/** A port of a virtio console at a Unix socket. */
export interface SocketPortOptions {
  /** By which the guest finds it. */
  readonly name: string;
  /** Where the socket is to be, at which one peer at a time connects. */
  readonly socket: string;
}

/** A port of a virtio console: "stdio" is the guest's console, in place of the UART. */
export type PortOptions = "stdio" | SocketPortOptions;

/** A virtio console. */
export interface VirtioConsoleOptions extends VirtioDeviceOptions {
  /** The first is the one that drivers know which know but one. */
  readonly ports: readonly PortOptions[];
}

/** Each has two queues, which a device model has to wait for. */
const MOST_PORTS = 8;

/** Linux has room for a page of it; people have less patience. */
const MOST_NAME_BYTES = 64;

/** Their device models will make the sockets again: what cannot be, or not twice, is found before. @throws {UsageError} */
export function checkConsoles(consoles: readonly VirtioConsoleOptions[]): void {
  for (const { ports } of consoles) checkPorts(ports);
  const ports = consoles.flatMap(({ ports }) => ports);
  if (ports.filter((port) => port === "stdio").length > 1) {
    throw new UsageError("virtio-console: stdio is but one port");
  }
  using held = new DisposableStack();
  for (const port of ports) if (port !== "stdio") held.use(listen(port));
}

/** @throws {UsageError} */
function checkPorts(ports: readonly PortOptions[]): void {
  if (ports.length < 1 || ports.length > MOST_PORTS) {
    throw new UsageError(`virtio-console: ${ports.length} ports; it has 1 to ${MOST_PORTS}`);
  }
  const names = ports.flatMap((port) => port === "stdio" ? [] : [port.name]);
  for (const [index, name] of names.entries()) {
    const bytes = new TextEncoder().encode(name).length;
    if (bytes < 1 || bytes > MOST_NAME_BYTES || name.includes("\0")) {
      throw new UsageError(`virtio-console: a port's name has 1 to ${MOST_NAME_BYTES} bytes, not ${bytes}`);
    }
    if (names.indexOf(name) !== index) throw new UsageError(`virtio-console: two ports are named ${name}`);
  }
}

function listen({ socket }: SocketPortOptions): Disposable {
  try {
    return listenAsPort(socket);
  } catch (error) {
    throw error instanceof PortError ? new UsageError(error.message) : error;
  }
}

/** "PORT[,PORT...]", each "stdio" or "NAME=SOCKETPATH", and what all devices take. @throws {UsageError} */
export function parseConsole(text: string): VirtioConsoleOptions {
  const all = text.split(","), isOption = (word: string) => DeviceWords.isCommon(word);
  const words = new DeviceWords("virtio-console", all.filter(isOption), []);
  const ports = all.filter((word) => !isOption(word)).map((port): PortOptions => {
    const [name, ...path] = port.split("=");
    if (port === "stdio") return port;
    if (path.length === 0) throw words.refusal(port, "stdio or NAME=SOCKETPATH");
    if (path.join("=") === "") throw words.empty(name);
    return { name, socket: path.join("=") };
  });
  return { ports, ...words.common };
}
