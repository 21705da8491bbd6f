/** Guest RAM: all of it is there, on both sides of the hole below 4 GiB, and what is not touched costs nothing. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { boot } from "xenolith/testing";
import { KVM, memory as free, testWith } from "../support/capabilities.ts";

const GIB = 2 ** 30;

testWith([KVM, free(4)], "memory: RAM above the hole is all there, and none of it is RAM below", async () => {
  await using vm = await boot("guests/memory.img", { memory: "3200M", timeoutMs: 60_000 });
  assertEquals((await vm.exited).status, 0, vm.console.text);
  assertStringIncludes(vm.console.text, "memory map: 0x0000000000100000, 0x00000000bff00000 bytes, RAM\n");
  assertStringIncludes(vm.console.text, "memory map: 0x0000000100000000, 0x0000000008000000 bytes, RAM\n");
  const tested = Number(/\nmemory: (\d+) KiB tested\n$/.exec(vm.console.text)?.[1]);
  assert(tested > 3199 * 1024 && tested < 3200 * 1024, vm.console.text);
});

for (const memory of ["64M", "3G", "5G", "64G"]) {
  testWith([KVM], `memory that is not touched costs nothing: ${memory}`, async () => {
    const before = ramFiles();
    await using vm = await boot("guests/hang.img", { memory });
    await vm.console.expect("halted");
    const files = ramFiles().filter(({ inode }) => !before.some((other) => other.inode === inode));
    assertEquals(files.map(({ sizeBytes }) => sizeBytes), [parseInt(memory) * (memory.endsWith("G") ? GIB : 2 ** 20)]);
    assert(files[0].allocatedBytes < 8 << 20, `${files[0].allocatedBytes} bytes are allocated`);
  });
}

testWith([KVM], "an image that needs more than the least memory is refused with the segment and the RAM", async () => {
  await assertRejects(
    () => boot("guests/hello.img", { memory: "1M" }),
    Error,
    "lies outside RAM 0x0..0x9fc00",
  );
});

/** The memory files of guest RAM that this process has open. */
function ramFiles(): { inode: number; sizeBytes: number; allocatedBytes: number }[] {
  return Array.from(Deno.readDirSync("/proc/self/fd")).flatMap(({ name }) => {
    try {
      if (!Deno.readLinkSync(`/proc/self/fd/${name}`).startsWith("/memfd:xenolith-ram")) return [];
      const { ino, size, blocks } = Deno.statSync(`/proc/self/fd/${name}`);
      return [{ inode: ino!, sizeBytes: size, allocatedBytes: blocks! * 512 }];
    } catch {
      return []; // the descriptor of the listing itself
    }
  });
}
