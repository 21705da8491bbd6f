/** The other end of a console's port at the program's own descriptors: what the UART has otherwise. */

import { ioctl } from "../linux/calls.ts";
import type { Console, InputConsumer } from "./console.ts";
import type { PortEnd, PortPeer, TransferBuffer } from "./console_port.ts";

/** Asks for struct winsize: rows, columns, and what nobody uses (asm-generic/ioctls.h). */
const TIOCGWINSZ = 0x5413;
const winsize = new Uint16Array(4), winsizeBytes = new Uint8Array(winsize.buffer);

/** A terminal's size in characters. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** Somebody is always there. */
export class PortConsole implements PortPeer, InputConsumer {
  readonly isThere = true;

  constructor(private readonly console: Console, private readonly port: PortEnd) {
    console.attach(this);
  }

  put({ bytes }: TransferBuffer, sizeBytes: number): number {
    const size = Math.min(sizeBytes, this.console.room);
    for (let at = 0; at < size; at++) this.console.put(bytes[at]);
    return size;
  }

  take({ bytes }: TransferBuffer, sizeBytes: number): number {
    for (let at = 0; at < sizeBytes; at++) {
      const byte = this.console.take();
      if (byte < 0) return at;
      bytes[at] = byte;
    }
    return sizeBytes;
  }

  wants(): boolean {
    return this.port.hasRoom;
  }

  arrived(): void {
    this.port.arrived();
  }

  drained(): void {
    if (this.port.isStalled) this.port.drained();
  }
}

/** The size of the terminal that a descriptor is; undefined: it is none, or has no size. */
export function terminalSize(descriptor: number): TerminalSize | undefined {
  if (descriptor < 0 || ioctl(descriptor, TIOCGWINSZ, winsizeBytes) < 0) return undefined;
  const [rows, columns] = winsize;
  return rows > 0 && columns > 0 ? { columns, rows } : undefined;
}
