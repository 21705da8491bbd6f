/** What a guest prints by hypercall (CONSOLEIO_write): it comes by a pipe. */

import type { DeviceModelHost } from "../dm/host.ts";
import type { Console, DescriptorCalls } from "./console.ts";

const POLLIN = 1;
/** As much as one write puts into a pipe in one piece (pipe(7): PIPE_BUF). */
const PIECE_BYTES = 4096;

/** Prints what comes by a pipe. @param descriptor its reading end; never blocks */
export function xenConsole(host: DeviceModelHost, console: Console, calls: DescriptorCalls, descriptor: number): void {
  const piece = new Uint8Array(PIECE_BYTES);
  const print = () => {
    for (let count = calls.read(descriptor, piece); count > 0; count = calls.read(descriptor, piece)) {
      for (let index = 0; index < count; index++) console.put(piece[index]);
    }
  };
  host.watch({ descriptor, interest: () => POLLIN, ready: print });
  host.beforeStop(print);
}
