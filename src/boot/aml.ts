/** ACPI machine language by small builders, one a term (ACPI 6.5, chapter 20) or a resource descriptor (6.4). */

import { ImageError } from "./plan.ts";

/** Bytes of AML that stand for one term. */
export type Aml = Uint8Array;

const OPCODE = { zero: 0x00, one: 0x01, name: 0x08, byte: 0x0a, word: 0x0b, dword: 0x0c, string: 0x0d } as const;
const SCOPE = [0x10];
const BUFFER = [0x11];
const PACKAGE = [0x12];
const DEVICE = [0x5b, 0x82];

/** An unsigned integer of at most 32 bits in its shortest form. */
export function integer(value: number): Aml {
  if (value === 0) return Uint8Array.of(OPCODE.zero);
  if (value === 1) return Uint8Array.of(OPCODE.one);
  if (value < 2 ** 8) return Uint8Array.of(OPCODE.byte, value);
  if (value < 2 ** 16) return Uint8Array.of(OPCODE.word, ...littleEndian(value, 2));
  return Uint8Array.of(OPCODE.dword, ...littleEndian(value, 4));
}

/** A string of ASCII characters. */
export function text(value: string): Aml {
  return Uint8Array.of(OPCODE.string, ...ascii(value), 0);
}

/** `PNP0501` and its like as the integer that _HID wants (ACPI 6.5, 19.3.4: EISAID). */
export function eisaId(id: string): Aml {
  const letters = [...id.slice(0, 3)].reduce((bits, letter) => bits << 5 | (letter.charCodeAt(0) - 0x40), 0);
  const digits = parseInt(id.slice(3), 16);
  const bytes = [letters >> 8, letters & 0xff, digits >> 8, digits & 0xff];
  return Uint8Array.of(OPCODE.dword, ...bytes);
}

export function packageOf(...elements: Aml[]): Aml {
  return sized(PACKAGE, Uint8Array.of(elements.length), ...elements);
}

export function buffer(bytes: Uint8Array): Aml {
  return sized(BUFFER, integer(bytes.length), bytes);
}

/** Name(path, value). */
export function name(path: string, value: Aml): Aml {
  return concat([Uint8Array.of(OPCODE.name), nameString(path), value]);
}

/** Scope(path) { terms }. */
export function scope(path: string, ...terms: Aml[]): Aml {
  return sized(SCOPE, nameString(path), ...terms);
}

/** Device(path) { terms }. */
export function device(path: string, ...terms: Aml[]): Aml {
  return sized(DEVICE, nameString(path), ...terms);
}

/** ResourceTemplate() { descriptors }: the value of _CRS. The end tag's checksum of 0 counts as right (6.4.2.9). */
export function resourceTemplate(...descriptors: Uint8Array[]): Aml {
  return buffer(concat([...descriptors, Uint8Array.of(0x79, 0)]));
}

/** IO(Decode16, port, port, 1, ports) (6.4.2.5). */
export function ioPorts(port: number, ports: number): Uint8Array {
  return Uint8Array.of(0x47, 1, ...littleEndian(port, 2), ...littleEndian(port, 2), 1, ports);
}

/** IRQNoFlags() {irq}: an ISA interrupt, active high, by edge, not shared (6.4.2.1). */
export function isaInterrupt(irq: number): Uint8Array {
  return Uint8Array.of(0x22, ...littleEndian(1 << irq, 2));
}

/** Memory32Fixed(ReadWrite, address, sizeBytes) (6.4.3.4). */
export function fixedMemory(address: number, sizeBytes: number): Uint8Array {
  return Uint8Array.of(0x86, 9, 0, 1, ...littleEndian(address, 4), ...littleEndian(sizeBytes, 4));
}

/** Interrupt(ResourceConsumer, Edge or Level, ActiveHigh, Exclusive) {gsi} (6.4.3.6). */
export function interrupt(gsi: number, trigger: "edge" | "level"): Uint8Array {
  return Uint8Array.of(0x89, 6, 0, trigger === "edge" ? 0b0011 : 0b0001, 1, ...littleEndian(gsi, 4));
}

/** The bytes one after another. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** A path in its encoded form (20.2.2): each segment filled up to four characters with `_`. */
function nameString(path: string): Uint8Array {
  const root = path.startsWith("\\");
  const segments = path.slice(root ? 1 : 0).split(".");
  if (!segments.every((segment) => /^[A-Z_][A-Z0-9_]{0,3}$/.test(segment))) {
    throw new RangeError(`${path} is not an ACPI name`);
  }
  const prefix = segments.length === 1 ? [] : segments.length === 2 ? [0x2e] : [0x2f, segments.length];
  const characters = segments.map((segment) => segment.padEnd(4, "_")).join("");
  return Uint8Array.of(...(root ? [0x5c] : []), ...prefix, ...ascii(characters));
}

/** An opcode, the length of what follows it, and that. */
function sized(opcode: readonly number[], ...parts: Uint8Array[]): Aml {
  const body = concat(parts);
  return concat([Uint8Array.from(opcode), packageLength(body.length), body]);
}

/** PkgLength (20.2.4): its own bytes count too; six bits in one byte, or four and eight for each byte more. */
function packageLength(bodyBytes: number): Uint8Array {
  if (bodyBytes + 1 < 2 ** 6) return Uint8Array.of(bodyBytes + 1);
  const more = bodyBytes + 2 < 2 ** 12 ? 1 : bodyBytes + 3 < 2 ** 20 ? 2 : 3;
  const length = bodyBytes + 1 + more;
  if (length >= 2 ** 28) throw new ImageError(`ACPI: a term of ${bodyBytes} bytes is too long for AML`);
  return Uint8Array.of(more << 6 | length & 15, ...littleEndian(Math.floor(length / 16), more));
}

function littleEndian(value: number, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, index) => Math.floor(value / 2 ** (8 * index)) & 0xff);
}

function ascii(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}
