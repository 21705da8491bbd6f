/** Files that cannot be booted: one line with the facts, status 64, and nothing on stdout. */

import { assertEquals } from "@std/assert";
import { bzImageFile, concatenate, elfImage, pvhImage, TEXT, xenNote } from "../boot/images.ts";
import { littleEndian, multibootFlat } from "../boot/images.ts";
import { program, testWith } from "../support/capabilities.ts";
import { assertOneLine, finish } from "../support/command.ts";
import { asNobody, SETPRIV } from "../support/host.ts";

/** A PVH kernel whose load segments are these. */
function kernel(...segments: { address: number; sizeBytes?: number; fileBytes?: number; offset?: number }[]) {
  return elfImage({
    bits: 64,
    parts: [
      { type: 4, bytes: xenNote(littleEndian(0x10_0010, 8)) },
      ...segments.map(({ address, sizeBytes, fileBytes, offset }) => ({
        type: 1,
        bytes: TEXT,
        physicalAddress: address,
        ...(sizeBytes !== undefined && { memoryBytes: sizeBytes }),
        ...(fileBytes !== undefined && { fileBytes }),
        ...(offset !== undefined && { offset }),
      })),
    ],
  });
}

/** The file with some of its bytes changed. */
function patched(image: Uint8Array, at: number, bytes: Uint8Array): Uint8Array {
  const copy = image.slice();
  copy.set(bytes, at);
  return copy;
}

const MIB = 0x10_0000, ANY = 2 ** 52;
const PHNUM = 56, PHOFF = 32, PHENTSIZE = 54;

const IMAGES: Record<string, readonly [bytes: Uint8Array, line: RegExp]> = {
  "an empty file": [new Uint8Array(), /^xenolith: image .*: empty$/],
  "an ELF file cut in its header": [pvhImage().subarray(0, 40), /lies outside the file of 0x28 bytes$/],
  "an ELF file cut in its program headers": [pvhImage().subarray(0, 100), /program header.* lies outside the file/],
  "an ELF file cut in a segment": [pvhImage().subarray(0, -1), /segment 1 at .* lies outside the file/],
  "an ELF file with 65535 program headers": [
    patched(pvhImage(), PHNUM, Uint8Array.of(0xff, 0xff)),
    /program header table at .* lies outside the file/,
  ],
  "program headers at the end of the address space": [
    patched(pvhImage(), PHOFF, new Uint8Array(8).fill(0xff)),
    /e_phoff 0xffffffffffffffff is beyond any file or memory$/,
  ],
  "program headers of no size": [patched(pvhImage(), PHENTSIZE, new Uint8Array(2)), /e_phentsize is 0, not 56$/],
  "a segment outside RAM": [kernel({ address: 0x1000_0000 }), /segment 1 at 0x10000000.* lies outside RAM 0x0\.\./],
  "a segment that begins in RAM and ends outside": [
    kernel({ address: 0x3ff_ffc0, sizeBytes: 0x1000 }),
    /segment 1 at 0x3ffffc0\.\.0x4000fc0 lies outside RAM/,
  ],
  "a segment over the video window": [kernel({ address: 0x9_fbf0, sizeBytes: 0x1_0000 }), /lies outside RAM/],
  "a segment over the firmware's tables": [
    concatenate(kernel({ address: 0xe_0000, sizeBytes: 0x2_0000 })),
    /overlaps /,
  ],
  "segments that overlap": [
    kernel({ address: MIB, sizeBytes: 0x1000 }, { address: MIB + 0xfff }),
    /segment 2 at 0x100fff\.\.0x10103f overlaps kernel segment 1 at 0x100000\.\.0x101000$/,
  ],
  "two segments at one place": [kernel({ address: MIB }, { address: MIB }), / overlaps /],
  "a segment larger in the file than in memory": [
    kernel({ address: MIB, sizeBytes: 0x10, fileBytes: 0x40 }),
    /segment 1: 0x40 bytes in the file, 0x10 in memory$/,
  ],
  "a segment whose end wraps around": [kernel({ address: ANY, sizeBytes: ANY }), /outside RAM|is no range/],
  "a segment whose place in the file overflows": [
    kernel({ address: MIB, sizeBytes: ANY, fileBytes: ANY, offset: ANY }),
    /segment 1 at 0x10000000000000, 0x10000000000000 bytes, lies outside the file/,
  ],
  "a segment at address 0": [
    kernel({ address: 0 }, { address: MIB }),
    /kernel segment 1 at address 0, where nothing may be$/,
  ],
  "a flat Multiboot kernel that loads after its end": [multibootFlat({ load: MIB, loadEnd: MIB - 4096 }), /Multiboot/],
  "an ELF file without a note": [
    elfImage({ bits: 64, parts: [{ type: 1, bytes: TEXT, physicalAddress: MIB }] }),
    /neither a Xen PVH note \(type 18\) nor a Multiboot header$/,
  ],
  "an ELF file for another machine": [pvhImage(64, { machine: 183 }), /machine 183; 62 \(x86-64\) is needed$/],
  "an entry outside all segments": [pvhImage(64, {}, 0x20_0000n), /entry 0x200000 lies in no segment$/],
  "a bzImage of protocol 2.05": [bzImageFile({ version: 0x205 }), /0x205 is older than 0x206$/],
  "a bzImage of protocol 2.00": [bzImageFile({ version: 0x200 }), /0x200 is older than 0x206$/],
  "a zImage": [bzImageFile({ loadFlags: 0 }), /a zImage \(LOADED_HIGH is clear\)/],
  "a bzImage cut in its kernel": [bzImageFile().subarray(0, -600), /protected-mode kernel at .* lies outside the file/],
  "a bzImage that wants more memory than there is": [
    bzImageFile({ initBytes: 0xffff_f000 }),
    /kernel at 0x1000000\.\..* lies outside RAM/,
  ],
  "a script": [new TextEncoder().encode("#!/bin/sh\n"), /a script/],
  "a gzip file": [Uint8Array.of(0x1f, 0x8b, 8, 0), /gzip-compressed/],
};

async function withFile(bytes: Uint8Array, body: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile({ prefix: "xenolith-test-" });
  await Deno.writeFile(path, bytes);
  try {
    await body(path);
  } finally {
    await Deno.remove(path);
  }
}

for (const [what, [bytes, line]] of Object.entries(IMAGES)) {
  testWith([], `${what} is refused, by run and by doctor`, () =>
    withFile(bytes, async (path) => {
      for (const command of ["run", "doctor"] as const) {
        const finished = await finish(command, [path]);
        assertOneLine(finished, 64, line);
        assertEquals(finished.stdout, "");
      }
    }));
}

for (
  const [path, line] of [
    ["missing.img", /^xenolith: image missing\.img: no such file$/],
    ["guests", /^xenolith: image guests: not a regular file$/],
    ["/dev/null", /^xenolith: image \/dev\/null: not a regular file$/],
    ["/dev/zero", /^xenolith: image \/dev\/zero: not a regular file$/],
    ["guests/hello.img/x", /^xenolith: image guests\/hello\.img\/x: /],
    ["/proc/self/mem", /^xenolith: image \/proc\/self\/mem: (empty|not readable)$/],
    ["", /^xenolith: image : /],
    ["x".repeat(5000), /^xenolith: image x+: /],
  ] as const
) {
  testWith([], `the image ${JSON.stringify(path.slice(0, 20))} is refused`, async () => {
    assertOneLine(await finish("run", [path]), 64, line);
  });
}

testWith([], "a dangling link is refused, as image, initrd and module", async () => {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  const link = `${directory}/link`;
  await Deno.symlink(`${directory}/nothing`, link);
  assertOneLine(await finish("run", [link]), 64, /^xenolith: image .*\/link: no such file$/);
  for (const option of ["initrd", "module"]) {
    const finished = await finish("run", [`--${option}`, link, "guests/modules.img"]);
    assertOneLine(finished, 64, new RegExp(`^xenolith: ${option} .*/link: no such file$`));
  }
  await Deno.remove(directory, { recursive: true });
});

testWith([program("mkfifo", "coreutils")], "a FIFO that nobody writes to is refused at once", async () => {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  await new Deno.Command("mkfifo", { args: [`${directory}/fifo`] }).output();
  assertOneLine(await finish("run", [`${directory}/fifo`]), 64, /^xenolith: image .*\/fifo: not a regular file$/);
  await Deno.remove(directory, { recursive: true });
});

testWith(
  [SETPRIV],
  "an image without read permission is refused",
  () =>
    withFile(Deno.readFileSync("guests/hello.img"), async (path) => {
      await Deno.chmod(path, 0o000);
      await using nobody = await asNobody();
      assertOneLine(await finish("run", [path], nobody.options), 64, /^xenolith: image .*: not readable$/);
    }),
);

testWith([], "an image, initrd or module that is larger than memory is refused before it is read", async () => {
  const path = await Deno.makeTempFile({ prefix: "xenolith-test-" });
  await Deno.truncate(path, 2 ** 40);
  const larger = /: 1099511627776 bytes do not fit into 67108864 bytes of memory$/;
  assertOneLine(await finish("run", [path]), 64, larger);
  assertOneLine(await finish("run", ["--initrd", path, "guests/modules.img"]), 64, larger);
  assertOneLine(await finish("run", ["--module", path, "guests/modules.img"]), 64, larger);
  await Deno.remove(path);
});

testWith([], "files that fit each, but not together, are refused", async () => {
  const path = await Deno.makeTempFile({ prefix: "xenolith-test-" });
  await Deno.truncate(path, 40 << 20);
  const args = ["--initrd", path, "--module", path, "guests/modules.img"];
  assertOneLine(await finish("run", args), 64, /^xenolith: .*: no room for 0x2800000 bytes in RAM 0x0\.\./);
  await Deno.remove(path);
});

testWith([], "modules for an image whose format has none are refused", async () => {
  assertOneLine(await finish("run", ["--module", "deno.json", "guests/hello16.img"]), 64, /^xenolith: /);
  assertOneLine(await finish("run", ["--initrd", "deno.json", "guests/bootsector.img"]), 64, /^xenolith: /);
});
