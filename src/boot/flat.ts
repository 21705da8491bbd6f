/** The loader of last resort: real-mode code as it is, in a segment of its own, with the BIOS's services. */

import { biosEntry, biosSegments } from "./bios_segments.ts";
import { refuseExtras } from "./boot_sector.ts";
import { hex } from "./bytes.ts";
import { Layout } from "./layout.ts";
import { type BootPlan, type BootRequest, ImageError, type Loader } from "./plan.ts";

const FORMAT = "flat real-mode image";

/** Where the image begins: CS, DS, ES and SS point here, and IP is 0. */
const SEGMENT = 0x1000;

/** SP begins at 0, that is at the segment's end: its last 4 KiB stay free for the stack. */
const MAXIMUM_BYTES = 0xf000;

/** Files of other kinds, by how they begin: as code they would run, and nobody would see why it goes wrong. */
const FOREIGN: readonly (readonly [what: string, start: readonly number[]])[] = [
  ["a script", bytesOf("#!")],
  ["gzip-compressed", [0x1f, 0x8b, 0x08]],
  ["xz-compressed", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ["Zstandard-compressed", [0x28, 0xb5, 0x2f, 0xfd]],
  ["bzip2-compressed", bytesOf("BZh")],
  ["LZ4-compressed", [0x04, 0x22, 0x4d, 0x18]],
  ["a zip archive", bytesOf("PK\x03\x04")],
  ["a qcow2 disk image, which has to be converted to a raw one", bytesOf("QFI\xfb")],
  ["a DOS or Windows program", bytesOf("MZ")],
  ["a Mach-O file", [0xcf, 0xfa, 0xed, 0xfe]],
  ["a WebAssembly module", bytesOf("\0asm")],
  ["a static library", bytesOf("!<arch>\n")],
  ["a PNG picture", bytesOf("\x89PNG")],
  ["a PDF document", bytesOf("%PDF")],
];

export const flat: Loader = {
  format: FORMAT,
  readsAcpi: true,

  /** Any bytes that no format before it claimed; what is evidently something else is refused by `plan`. */
  recognises(image: Uint8Array): boolean {
    return image.length > 0;
  },

  plan(request: BootRequest): BootPlan {
    const { image } = request;
    const kind = foreignKind(image);
    if (kind) throw new ImageError(`unknown image format: the file is ${kind}`);
    if (image.length > MAXIMUM_BYTES) {
      throw new ImageError(
        `unknown image format: ${hex(image.length)} bytes, and a ${FORMAT} has at most ${hex(MAXIMUM_BYTES)}`,
      );
    }
    refuseExtras(FORMAT, request);
    const layout = new Layout(request);
    layout.add([
      ...biosSegments({ offset: 0, segment: SEGMENT }, layout.memoryMap),
      { what: "image", address: SEGMENT << 4, sizeBytes: image.length, bytes: image },
    ]);
    return { format: FORMAT, entry: biosEntry(), segments: layout.segments, memoryMap: layout.memoryMap };
  },
};

/** What the bytes are, if they are evidently no code. */
function foreignKind(image: Uint8Array): string | undefined {
  const found = FOREIGN.find(([, start]) => start.every((byte, index) => image[index] === byte));
  if (found) return found[0];
  if (image.every((byte) => byte === 0)) return "nothing but zeros";
  return image.every(isText) ? "text" : undefined;
}

/** Printable ASCII and white space. Code that prints text, ends in a loop or sets a register has other bytes too. */
function isText(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f || byte >= 0x09 && byte <= 0x0d;
}

function bytesOf(characters: string): number[] {
  return Array.from(characters, (character) => character.charCodeAt(0));
}
