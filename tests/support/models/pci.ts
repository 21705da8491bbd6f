/** PCI functions for guests/pci-scan: configuration space, BARs that can be sized, an interrupt line. */

import type { DeviceModelHost } from "xenolith/dm";
import { bytesOf, number } from "./memory.ts";

export interface PciFunction {
  /** Device and function on bus 0. */
  readonly device: number;
  readonly fn: number;
  /** Vendor in the low half, device in the high. */
  readonly id: number;
  /** Class, subclass, interface. */
  readonly class: number;
  readonly bars?: readonly { readonly value: number; readonly writable: number }[];
  /** 1 is INTA: raised and lowered by the register that BAR 0 leads to. */
  readonly pin?: number;
}

const REGISTER = { id: 0x00, command: 0x04, class: 0x08, bars: 0x10, line: 0x3c, pin: 0x3d } as const;
const BAR_PORT = 1, BAR_ADDRESS = 0xffff_fff0;

export default function pci(host: DeviceModelHost, functions: readonly PciFunction[]): void {
  for (const each of functions) addFunction(host, each);
}

function addFunction(host: DeviceModelHost, { device, fn, id, class: code, bars = [], pin = 0 }: PciFunction): void {
  const registers = new Uint8Array(256), writable = new Uint8Array(256);
  registers.set(bytesOf(id, 4), REGISTER.id);
  registers.set(bytesOf(code * 256, 4), REGISTER.class);
  registers[REGISTER.pin] = pin;
  writable.set([7, 5], REGISTER.command);
  writable[REGISTER.line] = 0xff;
  bars.forEach((bar, index) => {
    registers.set(bytesOf(bar.value, 4), REGISTER.bars + 4 * index);
    writable.set(bytesOf(bar.writable, 4), REGISTER.bars + 4 * index);
  });
  host.mapPci(0, device, fn, {
    read: (register, width) => number(registers.subarray(register, register + width)),
    write: (register, width, value) =>
      bytesOf(value, width).forEach((byte, index) => {
        const at = register + index;
        registers[at] = (registers[at] & ~writable[at]) | (byte & writable[at]);
      }),
  });
  if (pin > 0) addInterrupt(host, device, pin - 1, bars[0].value);
}

/** A register: 1 raises the line, 0 lowers it, reading tells its level. */
function addInterrupt(host: DeviceModelHost, device: number, pin: number, bar: number): void {
  let level = 0;
  const handler = {
    read: (offset: number) => offset === 0 ? level : 0,
    write(offset: number, _size: number, value: number) {
      if (offset !== 0) return;
      level = value & 1;
      host.setPciIntxLevel(device, pin, level === 1);
    },
  };
  if (bar & BAR_PORT) host.mapPorts(bar & ~3, 32, handler);
  else host.mapMemory((bar & BAR_ADDRESS) >>> 0, 4096, handler);
}
