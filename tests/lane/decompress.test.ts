import { assertEquals, assertThrows } from "@std/assert";
import { zstdCompressSync } from "node:zlib";
import { kernelElf, unpackLz4 } from "../../src/lane/decompress.ts";
import { program, testWith } from "../support/capabilities.ts";
import { printedSeed, randomBytes } from "../support/random.ts";

const ELF = [0x7f, 0x45, 0x4c, 0x46];

/** Bytes that compress: runs, repetitions and noise. */
function content(sizeBytes: number): Uint8Array<ArrayBuffer> {
  const noise = randomBytes(997, printedSeed());
  const bytes = Uint8Array.from({ length: sizeBytes }, (_, at) => at % 5000 < 3000 ? noise[at % 997] : at >> 13);
  bytes.set(ELF);
  return bytes;
}

/** As much of a bzImage as matters: the header's fields, and the payload with its uncompressed size. */
function bzImage(payload: Uint8Array, sizeBytes: number): Uint8Array<ArrayBuffer> {
  const image = new Uint8Array(512 * 5 + 100 + payload.length + 4), view = new DataView(image.buffer);
  image[0x1f1] = 4;
  view.setUint32(0x202, 0x5372_6448, true);
  view.setUint32(0x248, 100, true);
  view.setUint32(0x24c, payload.length + 4, true);
  image.set(payload, 512 * 5 + 100);
  view.setUint32(image.length - 4, sizeBytes, true);
  return image;
}

async function compressed(command: string, args: string[], bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const child = new Deno.Command(command, { args, stdin: "piped", stdout: "piped" }).spawn();
  const writer = child.stdin.getWriter();
  writer.write(bytes).then(() => writer.close());
  return (await child.output()).stdout;
}

Deno.test("kernelElf() unpacks gzip and Zstandard", async () => {
  const elf = content(100_000);
  const gzip = new Response(new Blob([elf]).stream().pipeThrough(new CompressionStream("gzip")));
  assertEquals(await kernelElf(bzImage(await gzip.bytes(), elf.length)), elf);
  assertEquals(await kernelElf(bzImage(zstdCompressSync(elf), elf.length)), elf);
});

for (
  const [name, args, debianPackage] of [["lz4", ["-l", "-9"], "lz4"], ["xz", ["--check=crc32"], "xz-utils"]] as const
) {
  testWith(
    [program(name, debianPackage), program("busybox", "busybox-static")],
    `kernelElf() unpacks ${name}`,
    async () => {
      const elf = content(9 << 20); // more than one block of LZ4's
      assertEquals(await kernelElf(bzImage(await compressed(name, [...args], elf), elf.length)), elf);
    },
  );
}

Deno.test("kernelElf() leaves alone what is no bzImage, or holds no ELF file", async () => {
  assertEquals(await kernelElf(new Uint8Array(1000)), undefined);
  assertEquals(await kernelElf(new Uint8Array(10)), undefined);
  assertEquals(await kernelElf(bzImage(Uint8Array.of(1, 2, 3, 4, 5), 5)), undefined);
  assertEquals(await kernelElf(bzImage(zstdCompressSync(new Uint8Array(64)), 64)), undefined);
});

Deno.test("unpackLz4() refuses what is shorter than it says", () => {
  const block = Uint8Array.of(3, 0, 0, 0, 0x20, 0x61, 0x62); // two literals
  assertEquals(unpackLz4(block, 2), Uint8Array.of(0x61, 0x62));
  assertThrows(() => unpackLz4(block, 3), RangeError);
});
