import { assertEquals } from "@std/assert";
import { Mapping } from "../../src/linux/mapping.ts";
import { MemoryViews } from "../../src/memory/memory_views.ts";

Deno.test("memory of more than 4 GiB is seen to its end, in every way", () => {
  using mapping = Mapping.anonymous(2 ** 32 + 8192, "test"); // untouched pages cost nothing
  const { bytes, halves, view } = new MemoryViews(mapping.buffer, Number(mapping.address)), last = 2 ** 32 + 8190;
  Atomics.store(halves, last / 2, 0x1234);
  assertEquals([bytes[last], view.getUint16(last, true), halves.length], [0x34, 0x1234, (last + 2) / 2]);
});
