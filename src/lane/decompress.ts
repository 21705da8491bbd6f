/** The kernel inside a bzImage, uncompressed: booted as an ELF file it need not unpack itself (a second, emulated). */

import { filter } from "./programs.ts";

// Documentation/arch/x86/boot.rst: the header fields that say where the payload is.
const SETUP_SECTORS = 0x1f1, HEADER_MAGIC = 0x202, PAYLOAD_OFFSET = 0x248, PAYLOAD_LENGTH = 0x24c, SECTOR_BYTES = 512;
const HDRS = 0x5372_6448, ELF = 0x464c_457f;

const LZ4_LEGACY = 0x184c_2102, ZSTD = 0xfd2f_b528, XZ = 0x587a_37fd, GZIP = 0x8b1f;

/** @returns the ELF file, or undefined when the image has none that we can unpack: it boots as it is, then, too */
export async function kernelElf(image: Uint8Array<ArrayBuffer>): Promise<Uint8Array | undefined> {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  if (image.length < 0x250 || view.getUint32(HEADER_MAGIC, true) !== HDRS) return undefined;
  const start = (view.getUint8(SETUP_SECTORS) + 1) * SECTOR_BYTES + view.getUint32(PAYLOAD_OFFSET, true);
  const payload = image.subarray(start, start + view.getUint32(PAYLOAD_LENGTH, true));
  // The uncompressed size follows the compressed bytes (arch/x86/boot/compressed/Makefile: size_append).
  const end = new DataView(payload.buffer, payload.byteOffset + payload.length - 4);
  const elf = await unpack(payload.subarray(0, -4), end.getUint32(0, true));
  if (elf === undefined || elf.length < 4) return undefined;
  return new DataView(elf.buffer, elf.byteOffset).getUint32(0, true) === ELF ? elf : undefined;
}

async function unpack(bytes: Uint8Array<ArrayBuffer>, sizeBytes: number): Promise<Uint8Array | undefined> {
  const magic = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (magic === LZ4_LEGACY) return unpackLz4(bytes.subarray(4), sizeBytes);
  // Imported here: in a bundle a static import of a node: module is loaded by every isolate as it starts.
  if (magic === ZSTD) return new Uint8Array((await import("node:zlib")).zstdDecompressSync(bytes));
  if (magic === XZ) return await filter("busybox", ["xzcat"], bytes);
  if ((magic & 0xffff) !== GZIP) return undefined;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The blocks of LZ4's legacy frame: each its length, then sequences of literals and a match (lz4_Block_format.md). */
export function unpackLz4(bytes: Uint8Array, sizeBytes: number): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const output = new Uint8Array(sizeBytes);
  let written = 0;
  for (let block = 0; block + 4 <= bytes.length && written < sizeBytes;) {
    let at = block + 4;
    const end = at + view.getUint32(block, true);
    block = end;
    const length = (nibble: number): number => {
      if (nibble < 15) return nibble;
      let total = nibble, byte: number;
      do total += byte = bytes[at++]; while (byte === 255);
      return total;
    };
    while (at < end) {
      const token = bytes[at++];
      const literals = length(token >> 4);
      output.set(bytes.subarray(at, at + literals), written);
      written += literals;
      at += literals;
      if (at >= end) break;
      const distance = bytes[at] | bytes[at + 1] << 8;
      at += 2;
      // A match may overlap what it produces: byte by byte, it repeats itself.
      for (let count = length(token & 15) + 4; count > 0; count--, written++) {
        output[written] = output[written - distance];
      }
    }
  }
  if (written !== sizeBytes) throw new RangeError(`LZ4: ${written} bytes, not ${sizeBytes}`);
  return output;
}
