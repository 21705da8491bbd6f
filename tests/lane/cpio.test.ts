import { assert, assertEquals, assertThrows } from "@std/assert";
import { type CpioEntry, CpioWriter, isFile, readCpio } from "../../src/lane/cpio.ts";
import { program, testWith } from "../support/capabilities.ts";

function archiveOf(fill: (archive: CpioWriter) => void): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  const archive = new CpioWriter((chunk) => bytes.push(...chunk));
  fill(archive);
  archive.end();
  return Uint8Array.from(bytes);
}

function named(entries: CpioEntry[], path: string): CpioEntry {
  return entries.find((entry) => entry.path === path)!;
}

Deno.test("readCpio() gives what CpioWriter was given: bytes, permissions, links", () => {
  const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const entries = readCpio(archiveOf((archive) => {
    archive.file("/bin/tool", every, 0o755);
    archive.file("/empty", "");
    archive.link("/bin/other", "tool");
  }));
  assertEquals(named(entries, "bin/tool").bytes, every);
  assertEquals(named(entries, "bin/tool").mode, 0o100755);
  assertEquals(named(entries, "empty").bytes.length, 0);
  assertEquals(new TextDecoder().decode(named(entries, "bin/other").bytes), "tool");
  assertEquals(entries.filter(isFile).map(({ path }) => path), ["bin/tool", "empty"]);
});

Deno.test("a file's directories come before it, each once", () => {
  const entries = readCpio(archiveOf((archive) => {
    archive.file("/a/b/c", "1");
    archive.file("/a/b/d", "2");
    archive.directory("/a/e/");
  }));
  assertEquals(entries.map(({ path }) => path), ["a", "a/b", "a/b/c", "a/b/d", "a/e"]);
});

Deno.test("names and contents of any length leave the next entry where it belongs", () => {
  const contents = Array.from({ length: 9 }, (_, length) => "x".repeat(length));
  const entries = readCpio(archiveOf((archive) => {
    for (const text of contents) archive.file(`/${"n".repeat(text.length + 1)}`, text);
  }));
  assertEquals(entries.map(({ bytes }) => bytes.length), contents.map(({ length }) => length));
});

Deno.test("an archive that is cut off anywhere is refused", () => {
  const archive = archiveOf((writer) => writer.file("/file", "content"));
  const trailer = archive.length - 1;
  for (let length = 0; length < trailer - 16; length++) {
    assertThrows(() => readCpio(archive.subarray(0, length)), RangeError);
  }
});

testWith([program("cpio", "cpio")], "cpio(1) unpacks it", async () => {
  const directory = Deno.makeTempDirSync();
  try {
    const child = new Deno.Command("cpio", { args: ["-idm", "--quiet"], cwd: directory, stdin: "piped" }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(archiveOf((archive) => {
      archive.file("/deep/file", "content\n", 0o640);
      archive.link("/link", "deep/file");
    }));
    await writer.close();
    assert((await child.status).success);
    assertEquals(Deno.readTextFileSync(`${directory}/link`), "content\n");
    assertEquals(Deno.statSync(`${directory}/deep/file`).mode! & 0o777, 0o640);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
