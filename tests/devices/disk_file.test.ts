/** What can be a disk, and who may have one at the same time. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DiskError, openDisk } from "../../src/devices/disk_file.ts";
import * as calls from "../../src/linux/calls.ts";
import { testWith } from "../support/capabilities.ts";
import { QEMU_IMG, STORAGE_DAEMON, StorageDaemon } from "../support/storage_daemon.ts";
import { openDescriptors } from "../support/holdings.ts";

const IN_USE = "somebody else has it";

/** A directory with a file that could be a disk. */
class Place implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "xenolith-test-" });
  readonly disk = `${this.directory}/disk`;

  constructor() {
    Deno.writeFileSync(this.disk, new Uint8Array(1 << 20));
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}

Deno.test("openDisk() refuses what has no bytes at offsets, and waits for nobody", () => {
  using place = new Place();
  const pipe = `${place.directory}/pipe`;
  new Deno.Command("mkfifo", { args: [pipe] }).outputSync();
  const table: [path: string, readOnly: boolean, why: string][] = [
    [pipe, true, "no file or block device"],
    [pipe, false, "no file or block device"],
    [place.directory, true, "no file or block device"],
    [place.directory, false, "EISDIR"],
    ["/dev/null", true, "no file or block device"],
    ["/dev/zero", false, "no file or block device"],
    [`${place.directory}/missing`, true, "ENOENT"],
  ];
  const before = openDescriptors();
  for (const [path, readOnly, why] of table) {
    assertEquals(assertThrows(() => openDisk(path, readOnly), DiskError).message, `disk ${path}: ${why}`);
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("a disk that is open waits for its bytes: io_uring gives up where one does not", () => {
  const F_GETFL = 3, O_NONBLOCK = 0x800;
  using place = new Place(), file = openDisk(place.disk, true).file;
  assertEquals(calls.fcntl(file.number, F_GETFL, 0) & O_NONBLOCK, 0);
});

Deno.test("a disk has one who writes, or any number who read, until the last descriptor is closed", () => {
  using place = new Place();
  const table: [first: boolean, second: boolean, goTogether: boolean][] = [
    [false, false, false],
    [false, true, false],
    [true, false, false],
    [true, true, true],
  ];
  for (const [first, second, goTogether] of table) {
    const said = `readOnly ${first}, then ${second}`;
    const { file } = openDisk(place.disk, first), handedOver = file.duplicate();
    file[Symbol.dispose]();
    if (goTogether) openDisk(place.disk, second).file[Symbol.dispose]();
    else assertThrows(() => openDisk(place.disk, second), DiskError, IN_USE, said);
    handedOver[Symbol.dispose]();
    openDisk(place.disk, second).file[Symbol.dispose]();
  }
});

testWith([STORAGE_DAEMON], "who writes to a disk has it without qemu-storage-daemon, whoever comes first", async () => {
  using place = new Place();
  const socket = `${place.directory}/socket`;
  {
    await using _daemon = await StorageDaemon.start(place.disk, socket);
    for (const readOnly of [false, true]) assertThrows(() => openDisk(place.disk, readOnly), DiskError, IN_USE);
  }
  for (const readOnly of [false, true]) {
    using _file = openDisk(place.disk, readOnly).file;
    await assertRejects(() => StorageDaemon.start(place.disk, socket), Error, "ended with status 1");
  }
  await using _daemon = await StorageDaemon.start(place.disk, socket);
});

testWith([QEMU_IMG], "who reads a disk has it together with QEMU's programs that read", async () => {
  using place = new Place();
  const read = async () => {
    const args = ["convert", "-O", "raw", place.disk, `${place.directory}/copy`];
    return (await new Deno.Command("qemu-img", { args, stderr: "null" }).output()).code;
  };
  for (const [readOnly, code] of [[true, 0], [false, 1]] as const) {
    using _file = openDisk(place.disk, readOnly).file;
    assertEquals(await read(), code, `readOnly ${readOnly}`);
  }
});
