/** A Unix socket of the kind that nobody here wants. */

import * as calls from "../../src/linux/calls.ts";
import { Descriptor } from "../../src/linux/descriptor.ts";
import { check } from "../../src/linux/linux_error.ts";
import { addressOf, openSocket } from "../../src/linux/socket_path.ts";

const SOCK_DGRAM = 2;

/** Makes a socket for datagrams at `path`. */
export function datagramsAt(path: string): Descriptor {
  using stack = new DisposableStack();
  const socket = stack.use(new Descriptor(openSocket(path, SOCK_DGRAM), path)), address = addressOf(path);
  check(calls.bind(socket.number, address, address.length), "bind", path);
  stack.move();
  return socket;
}
