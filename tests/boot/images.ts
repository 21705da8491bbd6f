/** Small images of every format, built from the fields that a test wants to vary. */

import type { BootRequest } from "../../src/boot/plan.ts";

const NOTHING_MORE = { xen: "auto", regions: [], deviceTree: false, virtio: [] } as const;

/** A request for 64 MiB and one vCPU, unless `changes` says otherwise. */
export function requestFor(image: Uint8Array, changes: Partial<BootRequest> = {}): BootRequest {
  return { image, memoryBytes: 64 << 20, vcpus: 1, commandLine: "", modules: [], ...NOTHING_MORE, ...changes };
}

/** A program header with its bytes. */
export interface ElfPart {
  /** PT_LOAD is 1, PT_NOTE 4. */
  readonly type: number;
  readonly bytes: Uint8Array;
  readonly physicalAddress?: number;
  readonly virtualAddress?: bigint;
  readonly memoryBytes?: number;
  readonly fileBytes?: number;
  readonly offset?: number;
  readonly align?: number;
}

/** The header fields of an ELF file; those of a good one of its class where left out. */
export interface ElfFields {
  readonly bits: 32 | 64;
  readonly parts: readonly ElfPart[];
  readonly entry?: bigint;
  readonly fileType?: number;
  readonly machine?: number;
  readonly dataEncoding?: number;
  readonly programHeaderBytes?: number;
}

/** An ELF file: header, program headers, then the parts' bytes, each on a multiple of 16. */
export function elfImage(fields: ElfFields): Uint8Array {
  const wide = fields.bits === 64;
  const headerBytes = wide ? 64 : 52;
  const programHeaderBytes = wide ? 56 : 32;
  const offsets: number[] = [];
  let end = headerBytes + fields.parts.length * programHeaderBytes;
  for (const part of fields.parts) {
    offsets.push(end = Math.ceil(end / 16) * 16);
    end += part.bytes.length;
  }

  const image = new Uint8Array(end);
  const view = new DataView(image.buffer);
  const word = (at: number, value: number | bigint) =>
    wide ? view.setBigUint64(at, BigInt(value), true) : view.setUint32(at, Number(value), true);
  image.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, fields.dataEncoding ?? 1, 1]);
  view.setUint16(16, fields.fileType ?? 2, true);
  view.setUint16(18, fields.machine ?? (wide ? 62 : 3), true);
  view.setUint32(20, 1, true);
  word(24, fields.entry ?? 0x10_0000n);
  word(wide ? 32 : 28, headerBytes);
  view.setUint16(wide ? 52 : 40, headerBytes, true);
  view.setUint16(wide ? 54 : 42, fields.programHeaderBytes ?? programHeaderBytes, true);
  view.setUint16(wide ? 56 : 44, fields.parts.length, true);

  fields.parts.forEach((part, index) => {
    const at = headerBytes + index * programHeaderBytes;
    const physical = part.physicalAddress ?? 0;
    const fileBytes = part.fileBytes ?? part.bytes.length;
    const words = [
      part.offset ?? offsets[index],
      part.virtualAddress ?? physical,
      physical,
      fileBytes,
      part.memoryBytes ?? fileBytes,
    ];
    view.setUint32(at, part.type, true);
    words.forEach((value, i) => word(at + (wide ? 8 + i * 8 : 4 + i * 4), value));
    word(at + (wide ? 48 : 28), part.align ?? 4);
    image.set(part.bytes, offsets[index]);
  });
  return image;
}

/** A note with its name and descriptor padded to four bytes. */
export function note(name: string, type: number, descriptor: Uint8Array): Uint8Array {
  const nameBytes = new TextEncoder().encode(name + "\0");
  const descriptorAt = 12 + Math.ceil(nameBytes.length / 4) * 4;
  const bytes = new Uint8Array(descriptorAt + Math.ceil(descriptor.length / 4) * 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, nameBytes.length, true);
  view.setUint32(4, descriptor.length, true);
  view.setUint32(8, type, true);
  bytes.set(nameBytes, 12);
  bytes.set(descriptor, descriptorAt);
  return bytes;
}

/** `value` in little-endian bytes. */
export function littleEndian(value: number | bigint, sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: sizeBytes }, (_, index) => Number((BigInt(value) >> BigInt(8 * index)) & 0xffn));
}

/** A kernel's text: `hlt` for ever, as far as anybody looks. */
export const TEXT = new Uint8Array(64).fill(0xf4);

/** A kernel at 1 MiB with 4 KiB of bss and a PVH note of the class's width. */
export function pvhImage(bits: 32 | 64 = 64, changes: Partial<ElfFields> = {}, entry = 0x10_0010n): Uint8Array {
  return elfImage({
    bits,
    parts: [
      { type: 4, bytes: concatenate(note("GNU", 1, new Uint8Array(16)), xenNote(littleEndian(entry, bits / 8))) },
      { type: 1, bytes: TEXT, physicalAddress: 0x10_0000, memoryBytes: 0x1000 },
    ],
    ...changes,
  });
}

/** The PHYS32_ENTRY note. */
export function xenNote(descriptor: Uint8Array): Uint8Array {
  return note("Xen", 18, descriptor);
}

/** A Multiboot header; `addresses` are header, load, load end, bss end and entry. */
export function multibootHeader(flags: number, addresses: readonly number[] = [], checksum?: number): Uint8Array {
  const words = [0x1bad_b002, flags, checksum ?? -(0x1bad_b002 + flags), ...addresses];
  return concatenate(...words.map((word) => littleEndian(word >>> 0, 4)));
}

/** An ELF kernel at 1 MiB with a Multiboot header. */
export function multibootElf(bits: 32 | 64 = 32, flags = 3, changes: Partial<ElfFields> = {}): Uint8Array {
  const bytes = concatenate(multibootHeader(flags), TEXT);
  const parts = [{ type: 1, bytes, physicalAddress: 0x10_0000, memoryBytes: 0x1000 }];
  return elfImage({ bits, parts, entry: 0x10_000cn, ...changes });
}

/** A flat kernel whose Multiboot header, 16 bytes into the file, carries the addresses. */
export function multibootFlat(
  changes: Partial<Record<"load" | "loadEnd" | "bssEnd" | "entry", number>> = {},
): Uint8Array {
  const { load = 0x10_0000, loadEnd = 0, bssEnd = 0x10_2000, entry = 0x10_0030 } = changes;
  return concatenate(new Uint8Array(16), multibootHeader(0x1_0003, [0x10_0010, load, loadEnd, bssEnd, entry]), TEXT);
}

/** The setup header's fields that tests vary. */
export interface BzImageFields {
  readonly version: number;
  readonly bootFlag: number;
  readonly headerEnd: number;
  readonly loadFlags: number;
  readonly relocatable: number;
  readonly alignment: number;
  readonly xloadFlags: number;
  readonly commandLineBytes: number;
  readonly preferred: number;
  readonly initBytes: number;
  readonly initrdMaximum: number;
  readonly announcedBytes: number;
}

/** A bzImage of two setup sectors and 1 KiB of kernel. */
export function bzImageFile(changes: Partial<BzImageFields> = {}): Uint8Array {
  const kernelBytes = 1024;
  const fields: BzImageFields = {
    version: 0x20f,
    bootFlag: 0xaa55,
    headerEnd: 0x26c,
    loadFlags: 0xc1,
    relocatable: 1,
    alignment: 0x20_0000,
    xloadFlags: 1,
    commandLineBytes: 2047,
    preferred: 0x100_0000,
    initBytes: 0x10_0000,
    initrdMaximum: 0x7fff_ffff,
    announcedBytes: kernelBytes,
    ...changes,
  };
  const image = new Uint8Array(3 * 512 + kernelBytes).fill(0xf4, 3 * 512);
  const view = new DataView(image.buffer);
  image.set([2], 0x1f1);
  view.setUint32(0x1f4, fields.announcedBytes / 16, true);
  view.setUint16(0x1fe, fields.bootFlag, true);
  image.set([0xeb, fields.headerEnd - 0x202, 0x48, 0x64, 0x72, 0x53], 0x200);
  view.setUint16(0x206, fields.version, true);
  image.set([fields.loadFlags], 0x211);
  view.setUint32(0x214, 0x10_0000, true);
  view.setUint32(0x22c, fields.initrdMaximum, true);
  view.setUint32(0x230, fields.alignment, true);
  image.set([fields.relocatable], 0x234);
  view.setUint16(0x236, fields.xloadFlags, true);
  view.setUint32(0x238, fields.commandLineBytes, true);
  view.setBigUint64(0x258, BigInt(fields.preferred), true);
  view.setUint32(0x260, fields.initBytes, true);
  return image;
}

/** A sector of code with the boot signature. */
export function bootSectorImage(): Uint8Array {
  return concatenate(new Uint8Array(510).fill(0xf4), Uint8Array.of(0x55, 0xaa));
}

/** The arrays one after the other. */
export function concatenate(...arrays: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(arrays.reduce((sum, array) => sum + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    bytes.set(array, at);
    at += array.length;
  }
  return bytes;
}

/** Guest memory as a plan's segments make it, for reading structures back. */
export class GuestMemory {
  constructor(readonly segments: readonly { address: number; sizeBytes: number; bytes: Uint8Array }[]) {}

  bytes(address: number, sizeBytes: number): Uint8Array {
    const segment = this.segments.find((s) => address >= s.address && address + sizeBytes <= s.address + s.sizeBytes);
    if (!segment) throw new Error(`no segment holds 0x${address.toString(16)}`);
    const bytes = new Uint8Array(sizeBytes);
    bytes.set(segment.bytes.subarray(address - segment.address, address - segment.address + sizeBytes));
    return bytes;
  }

  u32(address: number): number {
    return new DataView(this.bytes(address, 4).buffer).getUint32(0, true);
  }

  u64(address: number): number {
    return Number(new DataView(this.bytes(address, 8).buffer).getBigUint64(0, true));
  }

  string(address: number): string {
    let end = address;
    while (this.bytes(end, 1)[0] !== 0) end++;
    return new TextDecoder().decode(this.bytes(address, end - address));
  }
}
