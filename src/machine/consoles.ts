/** Virtio consoles as somebody asks for them: their ports, and the checks of those. */

import { LinuxError } from "../linux/linux_error.ts";
import { SocketPathError } from "../linux/socket_path.ts";
import { StreamListener } from "../linux/stream_socket.ts";
import { UsageError } from "./options.ts";

/** A port of a virtio console at a Unix socket. */
export interface SocketPortOptions {
  /** By which the guest finds it. */
  readonly name: string;
  /** Where the socket is to be, at which one peer at a time connects. */
  readonly socket: string;
}

/** A port of a virtio console: "stdio" is the guest's console, in place of the UART. */
export type PortOptions = "stdio" | SocketPortOptions;

/** Each has two queues, which a device model has to wait for. */
const MOST_PORTS = 8;

/** Linux has room for a page of it; people have less patience. */
const MOST_NAME_BYTES = 64;

/** Its device model will make the sockets again. @throws {UsageError} ports that cannot be */
export function checkConsoles(consoles: readonly (readonly PortOptions[])[]): void {
  for (const ports of consoles) checkPorts(ports);
  const ports = consoles.flat();
  if (ports.filter((port) => port === "stdio").length > 1) {
    throw new UsageError("virtio-console: stdio is but one port");
  }
  const sockets = ports.flatMap((port) => port === "stdio" ? [] : [port.socket]);
  const twice = sockets.find((socket, index) => sockets.indexOf(socket) !== index);
  if (twice !== undefined) throw new UsageError(`virtio-console ${twice}: two ports cannot have one socket`);
  for (const socket of sockets) checkSocket(socket);
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

function checkSocket(path: string): void {
  try {
    StreamListener.create(path)[Symbol.dispose]();
  } catch (error) {
    if (!(error instanceof SocketPathError) && !(error instanceof LinuxError)) throw error;
    throw new UsageError(`virtio-console ${error.message}`);
  }
}

/** "PORT[,PORT...]", each "stdio" or "NAME=SOCKETPATH". @throws {UsageError} */
export function parseConsole(text: string): PortOptions[] {
  return text.split(",").map((port) => {
    if (port === "stdio") return port;
    const [name, ...path] = port.split("=");
    if (path.length === 0) throw new UsageError(`virtio-console ${text}: ${port} is not stdio or NAME=SOCKETPATH`);
    return { name, socket: path.join("=") };
  });
}
