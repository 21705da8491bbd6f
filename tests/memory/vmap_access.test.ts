/** Vmap: what may be done with an area, whose it is, and where the payload arena lies. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import * as calls from "../../src/linux/calls.ts";
import { EFAULT } from "../../src/linux/errno.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { ACCESS, Mapping, viewAt } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import { nativeCode } from "../../src/linux/native_symbols.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { MachineMemory } from "../../src/memory/bank.ts";
import { Vmap, VMAP_ARENA_BYTES } from "../../src/memory/vmap.ts";
import { mappingsIn } from "../linux/process.ts";
import { firstWords, VmapMachine, ZEROES } from "./vmap_machine.ts";

/** As /proc/PID/maps shows them. */
const SHOWN = [[ACCESS.R, "r--s"], [ACCESS.RW, "rw-s"], [ACCESS.RX, "r-xs"]] as const;

/** What comes of a write of the kernel's to `address` on the process's behalf. */
function writeTo(address: bigint): number {
  using file = MemoryFile.create("vmap-test", PAGE_SIZE);
  return calls.read(file.number, new Uint8Array(viewAt(address, 1)), 1n);
}

function permissions(address: bigint): string {
  return mappingsIn(address, 1)[0].line.split(" ")[1];
}

Deno.test("an area has the access that was asked for, whatever it shows, and never may be written and executed", () => {
  using test = new VmapMachine();
  const mfns = [test.mfn(0, 0), test.mfn(2, 1)], others = [test.mfn(0, 3), test.mfn(2, 5)];
  for (const [access, shown] of SHOWN) {
    for (const kind of ["default", "payload"] as const) {
      const area = test.vmap.vmap(mfns, kind, access, 7);
      const expect = (words: readonly number[], private_ = false) => {
        assertEquals(firstWords(area), words);
        assertEquals(permissions(area.address), private_ ? shown.replace("s", "p") : shown);
        assertEquals(writeTo(area.address), access === ACCESS.RW ? 1 : -EFAULT);
      };
      test.setFrame(mfns[0], mfns[0]);
      assertEquals([area.access, area.owner], [access, 7]);
      assertEquals(permissions(area.address), shown);
      test.vmap.replace(area.address, others);
      assertEquals(firstWords(area), others as number[]);
      test.vmap.retire(area.address);
      expect([ZEROES, ZEROES], true);
      test.vmap.vunmap(area.address);
    }
  }
});

Deno.test("what is written to a frame through the directmap is read, and run, where it cannot be written", () => {
  using test = new VmapMachine();
  const mfn = test.mfn(2, 0), area = test.vmap.vmap([mfn], "payload", ACCESS.RX);
  const [MOV_EAX_IMM32, RET] = [0xb8, 0xc3];
  test.setFrame(mfn, 0x1234_00 | MOV_EAX_IMM32);
  new Uint8Array(test.banks[2].directmap.buffer).set([0, RET], 4);
  const call = new Deno.UnsafeFnPointer(Deno.UnsafePointer.create(area.address)!, { parameters: [], result: "i32" });
  assertEquals(call.call(), 0x1234);
});

Deno.test("areaOf() knows the owner of every address of an area, and forgets it with the area", () => {
  using test = new VmapMachine();
  const areas = [1, -1, 2 ** 31 - 1, -(2 ** 31)].map((owner) =>
    test.vmap.vmapContiguous(test.mfn(0, 0), 2, "payload", ACCESS.R, owner)
  );
  for (const area of areas) {
    for (const offset of [0, PAGE_SIZE, 2 * PAGE_SIZE - 1]) {
      assertEquals(test.vmap.areaOf(area.address + BigInt(offset)), area);
    }
  }
  for (const { address } of areas) test.vmap.vunmap(address);
  const { owner, access } = test.vmap.vmapContiguous(test.mfn(0, 0), 2, "payload");
  assertEquals([owner, access], [0, ACCESS.RW]);
});

Deno.test("the payload arena is reserved at its first use, all of it within 2 GiB of all of our machine code", () => {
  using machine = new MachineMemory();
  const bank = machine.allocate("vmap-test", 4, 1), { first, end } = nativeCode();
  const vmaps = [0, 1, 2].map(() => new Vmap(machine));
  for (const vmap of vmaps) {
    const lines = Deno.readTextFileSync("/proc/self/maps").split("\n").length;
    assertEquals([vmap.areas, vmap.areaOf(first)], [0, undefined]);
    assertEquals(Deno.readTextFileSync("/proc/self/maps").split("\n").length, lines);
    const area = vmap.vmap([bank.firstMfn], "payload");
    const arena = area.address + BigInt(PAGE_SIZE - VMAP_ARENA_BYTES.payload),
      behind = area.address + BigInt(PAGE_SIZE);
    assert(behind - first < 2n ** 31n && end - arena < 2n ** 31n, `${first.toString(16)} ${arena.toString(16)}`);
    assertMatch(mappingsIn(arena, 1)[0].line, / ---p /);
  }
  for (const vmap of vmaps) vmap[Symbol.dispose]();
});

Deno.test("Mapping.reserveNear() takes nobody's addresses, and says so if there are none", () => {
  using taken = Mapping.anonymous(64 * PAGE_SIZE, "what it is near to");
  const near = { first: taken.address, end: taken.address + BigInt(taken.sizeBytes) };
  using one = Mapping.reserveNear(PAGE_SIZE, near, 2 ** 31, "one"),
    other = Mapping.reserveNear(PAGE_SIZE, near, 2 ** 31, "two");
  assert(one.address !== other.address);
  for (const { address } of [one, other]) assertMatch(mappingsIn(address, 1)[0].line, / ---p /);
  const words = new Uint32Array(taken.buffer);
  assertEquals(words[0], 0, "still there");
  assertThrows(
    () => Mapping.reserveNear(2 ** 31, near, 2 ** 31, "too large"),
    LinuxError,
    `too large: no 2147483648 free bytes near 0x${taken.address.toString(16)}: ENOMEM`,
  );
});
