import { assertEquals, assertThrows } from "@std/assert";
import { planBoot } from "../../src/boot/loaders.ts";
import { type BootPlan, ImageError } from "../../src/boot/plan.ts";
import { type BzImageFields, bzImageFile, GuestMemory, requestFor } from "./images.ts";

const MODULE_BYTES = new Uint8Array(64);

function segmentOf(plan: BootPlan, what: string) {
  return plan.segments.find((segment) => segment.what === what)!;
}

Deno.test("bzImage enters a 64-bit kernel at 0x200 with identity page tables and Linux's segments", () => {
  const plan = planBoot(requestFor(bzImageFile()));
  assertEquals(plan.format, "Linux bzImage, protocol 2.15, 64-bit entry");
  const { mode, rip, registers, code, data, gdt, cr3 } = plan.entry;
  const parameters = segmentOf(plan, "boot_params").address;
  assertEquals([mode, rip, registers], ["long", 0x100_0200, { rsi: parameters }]);
  assertEquals([code.selector, code.long, code.db, data.selector], [0x10, true, false, 0x18]);

  const memory = new GuestMemory(plan.segments);
  const descriptors = [0x10, 0x18].map((
    selector,
  ) => [memory.u32(gdt!.base + selector), memory.u32(gdt!.base + selector + 4)]);
  assertEquals([gdt!.limit, descriptors], [31, [[0xffff, 0xaf9b00], [0xffff, 0xcf9300]]]);

  const root = cr3!;
  for (const address of [0, parameters, rip, 0xc000_0000, 0xffff_ffff]) {
    const table = (entry: number) => entry - entry % 4096;
    const directories = table(memory.u64(root));
    const directory = table(memory.u64(directories + Math.floor(address / 2 ** 30) * 8));
    const page = memory.u64(directory + Math.floor(address % 2 ** 30 / 2 ** 21) * 8);
    assertEquals([page - page % 2 ** 21, page % 2 ** 21], [address - address % 2 ** 21, 0x83]);
  }
});

Deno.test("bzImage enters a kernel without the 64-bit entry at its start in protected mode", () => {
  for (const changes of [{ xloadFlags: 0 }, { version: 0x20b }]) {
    const plan = planBoot(requestFor(bzImageFile(changes)));
    const { mode, rip, registers, code, gdt } = plan.entry;
    assertEquals([mode, rip, registers], ["protected", 0x100_0000, { rsi: segmentOf(plan, "boot_params").address }]);
    assertEquals([code.selector, code.long, code.db], [0x10, false, true]);
    const memory = new GuestMemory(plan.segments);
    assertEquals(memory.u32(gdt!.base + 0x14), 0xcf9b00);
  }
});

Deno.test("bzImage fills boot_params: loader, flags, command line, initrd, RSDP, memory map", () => {
  const plan = planBoot(requestFor(bzImageFile(), { commandLine: "root=x", initrd: new Uint8Array(5000) }));
  const memory = new GuestMemory(plan.segments);
  const parameters = segmentOf(plan, "boot_params").address;
  assertEquals(memory.u32(parameters + 0x202), 0x5372_6448);
  assertEquals([...memory.bytes(parameters + 0x210, 2)], [0xff, 0x01]);
  assertEquals(memory.u32(parameters + 0x214), 0x100_0000);
  assertEquals(memory.string(memory.u32(parameters + 0x228)), "root=x");
  assertEquals([memory.u32(parameters + 0x218), memory.u32(parameters + 0x21c)], [(64 << 20) - 0x2000, 5000]);
  assertEquals(memory.string(memory.u64(parameters + 0x70)).slice(0, 8), "RSD PTR ");
  assertEquals(memory.bytes(parameters + 0x1e8, 1)[0], plan.memoryMap.length);
  plan.memoryMap.forEach((range, index) => {
    const at = parameters + 0x2d0 + index * 20;
    assertEquals([memory.u64(at), memory.u64(at + 8), memory.u32(at + 16)], [
      range.address,
      range.sizeBytes,
      range.type,
    ]);
  });
});

Deno.test("bzImage gives no RSDP to a kernel that has no field for it", () => {
  const plan = planBoot(requestFor(bzImageFile({ version: 0x20d })));
  assertEquals(new GuestMemory(plan.segments).u64(segmentOf(plan, "boot_params").address + 0x70), 0);
});

Deno.test("bzImage loads at the preferred address, aligned where the kernel is relocatable, with init_size of room", () => {
  const cases: [changes: Partial<BzImageFields>, address: number, sizeBytes: number][] = [
    [{}, 0x100_0000, 0x10_0000],
    [{ relocatable: 0 }, 0x100_0000, 0x10_0000],
    [{ preferred: 0 }, 0x20_0000, 0x10_0000],
    [{ preferred: 0, relocatable: 0 }, 0x10_0000, 0x10_0000],
    [{ preferred: 0x100_1000 }, 0x120_0000, 0x10_0000],
    [{ version: 0x206, headerEnd: 0x23c, relocatable: 0, xloadFlags: 0 }, 0x10_0000, 1024],
    [{ initBytes: 0 }, 0x100_0000, 1024],
  ];
  for (const [changes, address, sizeBytes] of cases) {
    const kernel = segmentOf(planBoot(requestFor(bzImageFile(changes))), "kernel");
    assertEquals([kernel.address, kernel.sizeBytes], [address, sizeBytes], JSON.stringify(changes));
  }
});

Deno.test("bzImage takes a kernel whose last paragraph is not full", () => {
  const plan = planBoot(requestFor(bzImageFile().slice(0, 3 * 512 + 1024 - 15)));
  assertEquals(segmentOf(plan, "kernel").bytes.length, 1024 - 15);
});

Deno.test("bzImage puts the initrd where the kernel can reach it", () => {
  const plan = planBoot(requestFor(bzImageFile({ initrdMaximum: 0x2ff_ffff }), { initrd: new Uint8Array(4096) }));
  assertEquals(segmentOf(plan, "initrd").address, 0x2ff_f000);
});

Deno.test("bzImage refuses damaged kernels and what they cannot carry, in one line", () => {
  const module = { name: "m", bytes: MODULE_BYTES, commandLine: "" };
  const cases: [request: ReturnType<typeof requestFor>, message: string][] = [
    [requestFor(bzImageFile({ bootFlag: 0 })), "boot_flag is not 0xaa55"],
    [requestFor(bzImageFile({ version: 0x205 })), "boot protocol 0x205 is older than 0x206"],
    [requestFor(bzImageFile({ headerEnd: 0x250 })), "setup header ends at 0x250, not within 0x264..0x290"],
    [requestFor(bzImageFile({ headerEnd: 0x291 })), "setup header ends at 0x291"],
    [requestFor(bzImageFile({ loadFlags: 0 })), "a zImage (LOADED_HIGH is clear)"],
    [requestFor(bzImageFile({ announcedBytes: 2048 })), "protected-mode kernel at 0x600, 0x7f1 bytes, lies outside"],
    [requestFor(bzImageFile().slice(0, 0x700)), "protected-mode kernel at 0x600, 0x3f1 bytes, lies outside"],
    [requestFor(bzImageFile().slice(0, 0x240)), "lies outside the file of 0x240 bytes"],
    [requestFor(bzImageFile({ alignment: 3 })), "kernel_alignment 0x3 is not a power of two"],
    [requestFor(bzImageFile({ preferred: 2 ** 60 })), "pref_address 0x1000000000000000 is beyond any file or memory"],
    [requestFor(bzImageFile({ preferred: 1, relocatable: 0 })), "kernel at 0x1..0x100001 lies outside RAM"],
    [requestFor(bzImageFile({ initBytes: 0x800_0000 })), "kernel at 0x1000000..0x9000000 lies outside RAM"],
    [
      requestFor(bzImageFile({ commandLineBytes: 2 }), { commandLine: "abc" }),
      "command line of 3 bytes; this kernel takes 2",
    ],
    [requestFor(bzImageFile(), { modules: [module] }), "carries an initrd, but no modules"],
    [
      requestFor(bzImageFile({ initrdMaximum: 0xf_ffff }), { initrd: MODULE_BYTES }),
      "initrd: no room for 0x40 bytes in RAM 0x0..0x9fc00, 0x100000..0x4000000 up to 0xfffff",
    ],
  ];
  for (const [request, message] of cases) assertThrows(() => planBoot(request), ImageError, message);
});
