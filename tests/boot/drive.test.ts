import { assertEquals } from "@std/assert";
import { driveOf } from "../../src/boot/drive.ts";

/** A FAT boot sector's parameter block, followed by as many bytes as wanted. */
function fatImage(sizeBytes: number, sectors: number, sectorsPerTrack: number, heads: number): Uint8Array {
  const image = new Uint8Array(sizeBytes);
  const view = new DataView(image.buffer);
  [[0x0b, 512], [0x13, sectors], [0x18, sectorsPerTrack], [0x1a, heads]].forEach(([offset, value]) =>
    view.setUint16(offset!, value!, true)
  );
  return image;
}

Deno.test("driveOf() takes images of a diskette's size for that diskette", () => {
  const sizes = [160, 180, 320, 360, 720, 1200, 1440, 2880];
  const drives = sizes.map((kib) => driveOf(new Uint8Array(kib * 1024)));
  assertEquals(drives.map((drive) => [drive.number, drive.sectors / 2]), sizes.map((kib) => [0, kib]));
  assertEquals(drives.map((drive) => drive.cylinders * drive.heads * drive.sectorsPerTrack / 2), sizes);
  assertEquals(drives.map((drive) => drive.disketteType), [1, 1, 1, 1, 3, 2, 4, 5]);
});

Deno.test("driveOf() believes the parameter block of a diskette image that was cut off", () => {
  assertEquals(driveOf(fatImage(5000, 2880, 18, 2)).sectors, 2880);
  assertEquals(driveOf(fatImage(5000, 2880, 18, 2)).number, 0x00);
  assertEquals(driveOf(fatImage(5000, 2880, 63, 16)).number, 0x80);
  assertEquals(driveOf(fatImage(3000 * 512, 2880, 18, 2)).number, 0x80);
});

Deno.test("driveOf() takes everything else for a hard disk whose cylinders hold all of it", () => {
  const geometries = [512, 513, 63 * 16 * 512 + 1, 600 << 20].map((sizeBytes) => {
    const { number, sectors, cylinders, heads, sectorsPerTrack } = driveOf(new Uint8Array(sizeBytes));
    return [number, sectors, cylinders, heads, sectorsPerTrack];
  });
  assertEquals(geometries, [
    [0x80, 1, 1, 16, 63],
    [0x80, 2, 1, 16, 63],
    [0x80, 1009, 2, 16, 63],
    [0x80, 1228800, 610, 32, 63],
  ]);
});
