import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as calls from "../../src/linux/calls.ts";
import { EPERM } from "../../src/linux/errno.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { openDescriptors } from "./process.ts";

const F_ADD_SEALS = 1033, F_GETFD = 1, FD_CLOEXEC = 1;

Deno.test("MemoryFile can be neither shrunk nor grown, and nobody can seal it further", () => {
  using file = MemoryFile.create("test", 8192);
  assertEquals(calls.ftruncate(file.number, 4096n), -EPERM);
  assertEquals(calls.ftruncate(file.number, 0n), -EPERM);
  assertEquals(calls.ftruncate(file.number, 12288n), -EPERM);
  assertEquals(calls.fcntl(file.number, F_ADD_SEALS, 8), -EPERM);
  assertEquals(file.sizeBytes, 8192);
});

Deno.test("MemoryFile shows the same bytes in every mapping, zero at first", () => {
  using file = MemoryFile.create("test", 8192);
  using one = Mapping.file(file, 8192);
  using second = Mapping.file(file, 4096, 4096);
  const bytes = new Uint8Array(one.buffer);
  assertEquals(bytes.every((byte) => byte === 0), true);
  new Uint8Array(second.buffer)[5] = 0x5a;
  assertEquals(bytes[4096 + 5], 0x5a);
});

Deno.test("MemoryFile carries its name, and no child inherits it", () => {
  using file = MemoryFile.create("xenolith-test", 4096);
  assertStringIncludes(Deno.readLinkSync(`/proc/self/fd/${file.number}`), "/memfd:xenolith-test");
  assertEquals(calls.fcntl(file.number, F_GETFD, 0), FD_CLOEXEC);
});

Deno.test("MemoryFile.create() says what it wanted when it fails, and leaves no descriptor behind", () => {
  const before = openDescriptors().sort();
  assertThrows(() => MemoryFile.create("x".repeat(300), 4096), LinuxError, "memfd_create: memory file xxx");
  assertThrows(() => MemoryFile.create("test", -1), LinuxError, "ftruncate: memory file test (-1 bytes): EINVAL");
  assertEquals(openDescriptors().sort(), before);
});
