import { assertEquals, assertThrows } from "@std/assert";
import { MappedGrants } from "../../src/dm/granted_memory.ts";
import { Descriptor } from "../../src/linux/descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";

const PAGE = 4096;

/** Two pages at 0x1000 in reverse order, so that they touch in the guest only, and one at 1 TiB. */
function grants(stack: DisposableStack) {
  const file = stack.use(MemoryFile.create("guest memory", 4 * PAGE));
  const bytes = new Uint8Array(stack.use(Mapping.file(file, 4 * PAGE)).buffer);
  for (let page = 0; page < 4; page++) bytes.fill(page + 1, page * PAGE, (page + 1) * PAGE);
  const outside: number[] = [];
  const pieces = [
    { address: 0x2000, sizeBytes: PAGE, offset: 0, file },
    { address: 0x1000, sizeBytes: PAGE, offset: PAGE, file },
    { address: 2 ** 40, sizeBytes: PAGE, offset: 3 * PAGE, file },
  ];
  const memory = stack.use(new MappedGrants(pieces, (address) => outside.push(address)));
  return { bytes, memory, outside };
}

Deno.test("reads and writes go over from one piece to the next", () => {
  using stack = new DisposableStack();
  const { bytes, memory } = grants(stack);
  const target = new Uint8Array(4);
  memory.read(0x1ffe, target);
  assertEquals(target, new Uint8Array([2, 2, 1, 1]));
  memory.write(0x1fff, new Uint8Array([8, 9]));
  assertEquals([bytes[2 * PAGE - 1], bytes[0]], [8, 9]);
  memory.read(2 ** 40 + PAGE - 4, target);
  assertEquals(target, new Uint8Array([4, 4, 4, 4]));
});

Deno.test("what is not granted, be it one byte of it, is a RangeError, and nothing was copied", () => {
  using stack = new DisposableStack();
  const { bytes, memory, outside } = grants(stack);
  const before = bytes.slice();
  const table: [address: number, sizeBytes: number][] = [
    [0, 1],
    [0xfff, 2],
    [0x2fff, 2],
    [0x3000, 1],
    [0x1000, 2 * PAGE + 1],
    [2 ** 40 - 1, 2],
    [2 ** 40, PAGE + 1],
    [-1, 1],
    [-1, 0],
    [4096.5, 1],
    [NaN, 1],
    [Infinity, 1],
    [2 ** 53, 1],
  ];
  for (const [address, sizeBytes] of table) {
    const bytes = new Uint8Array(sizeBytes).fill(0x55);
    assertEquals(memory.contains(address, sizeBytes), false, `${address} + ${sizeBytes}`);
    assertThrows(() => memory.read(address, bytes), RangeError, "was not granted to this device model");
    assertThrows(() => memory.write(address, bytes), RangeError, "was not granted");
    assertEquals(bytes.every((byte) => byte === 0x55), true);
    assertEquals(outside.splice(0), [address, address, address], "it is told of each");
  }
  assertEquals(bytes, before);
  assertEquals([memory.contains(0x1000, 2 * PAGE), memory.contains(0x1234, 0)], [true, true]);
});

Deno.test("what is granted can be handed on after the descriptors it came by are closed", () => {
  using stack = new DisposableStack();
  const file = MemoryFile.create("guest memory", 2 * PAGE);
  const memory = stack.use(new MappedGrants([{ address: 0x5000, sizeBytes: PAGE, offset: PAGE, file }], () => {}));
  file[Symbol.dispose]();
  const [{ descriptor, ...piece }] = memory.pieces;
  assertEquals([piece, memory.pieces.length], [{ address: 0x5000, sizeBytes: PAGE, offset: PAGE }, 1]);
  memory.write(0x5000, Uint8Array.of(7));
  using other = Mapping.file(new Descriptor(descriptor, "piece"), 2 * PAGE);
  assertEquals(new Uint8Array(other.buffer)[PAGE], 7);
});
