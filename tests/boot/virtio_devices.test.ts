/** How guests are told of virtio devices: which way is whose, and what it says. */

import { assert, assertEquals } from "@std/assert";
import { planBoot } from "../../src/boot/loaders.ts";
import type { BootRequest } from "../../src/boot/plan.ts";
import { acpiDevice, announcementFor } from "../../src/boot/virtio_devices.ts";
import {
  bzImageFile,
  concatenate,
  elfImage,
  GuestMemory,
  littleEndian,
  note,
  pvhImage,
  requestFor,
  TEXT,
  xenNote,
} from "./images.ts";

const VIRTIO = [{ address: 0xd000_0000, sizeBytes: 512, gsi: 5, trigger: "edge" }, {
  address: 0xd000_1000,
  sizeBytes: 512,
  gsi: 11,
  trigger: "level",
}] as const;
const WORDS = "virtio_mmio.device=512@0xd0000000:5 virtio_mmio.device=512@0xd0001000:11";

/** vmlinux: PVH's note, and one by which Linux names what it was built from. */
function vmlinux(): Uint8Array {
  const notes = concatenate(note("Linux", 0x100, new Uint8Array(4)), xenNote(littleEndian(0x10_0010, 8)));
  const parts = [{ type: 4, bytes: notes }, { type: 1, bytes: TEXT, physicalAddress: 0x10_0000, memoryBytes: 0x1000 }];
  return elfImage({ bits: 64, parts });
}

Deno.test("Linux is told by ACPI alone, unless it does not read it; others by device tree, or else by command line", () => {
  const linux = requestFor(bzImageFile()), elf = requestFor(vmlinux()), other = requestFor(pvhImage());
  const tree = { deviceTree: true }, off = { commandLine: "quiet acpi=off" };
  const table: [BootRequest, boolean, string][] = [
    [linux, true, "ACPI"],
    [{ ...linux, ...tree }, true, "ACPI"],
    [{ ...linux, ...off }, true, "command line"],
    [{ ...linux, ...off, ...tree }, true, "device tree"],
    [{ ...linux, commandLine: "xacpi=off acpi=offx" }, true, "ACPI"],
    [elf, false, "ACPI"],
    [{ ...elf, ...off }, false, "command line"],
    [other, false, "command line"],
    [{ ...other, ...tree }, false, "device tree"],
    [requestFor(vmlinux().subarray(0, 100)), false, "command line"],
    [requestFor(TEXT), true, "ACPI"],
  ];
  for (const [request, readsAcpi, told] of table) assertEquals(announcementFor(readsAcpi, request), told);
});

Deno.test("the command line that is handed over ends with the devices, if it tells of them", () => {
  const told = (image: Uint8Array, changes: Partial<BootRequest>) => {
    const plan = planBoot(requestFor(image, { virtio: VIRTIO, ...changes })), memory = new GuestMemory(plan.segments);
    const { rbx, rsi } = plan.entry.registers;
    return memory.string(rsi === undefined ? memory.u64(rbx! + 24) : memory.u32(rsi + 0x228));
  };
  assertEquals(told(pvhImage(), {}), WORDS);
  assertEquals(told(pvhImage(), { commandLine: "a b" }), `a b ${WORDS}`);
  assertEquals(told(pvhImage(), { commandLine: "a b", deviceTree: true }), "a b");
  assertEquals(told(vmlinux(), { commandLine: "quiet" }), "quiet");
  assertEquals(told(bzImageFile(), { commandLine: "quiet" }), "quiet");
  assertEquals(told(bzImageFile(), { commandLine: "acpi=off" }), `acpi=off ${WORDS}`);
  assertEquals(told(pvhImage(), { commandLine: "a", virtio: [] }), "a");
});

Deno.test("a device's AML: id, number, coherence, registers, and an interrupt by edge or level that nobody shares", () => {
  const hid = "085f484944" + "0d4c4e524f3030303500", uid = "085f554944" + "0a0a", cca = "085f434341" + "01";
  const registers = "86090001" + "00a000d0" + "00020000";
  for (const [trigger, flags] of [["edge", "03"], ["level", "01"]] as const) {
    const crs = "085f435253" + "111a0a17" + registers + "890600" + flags + "01" + "0b000000" + "7900";
    const body = "56494f41" + hid + uid + cca + crs;
    const aml = acpiDevice({ address: 0xd000_a000, sizeBytes: 512, gsi: 11, trigger }, 10).toHex();
    assertEquals(body.length / 2 + 2, 0x42);
    assertEquals(aml, "5b82" + "4204" + body);
  }
});

Deno.test("every machine's DSDT names its devices, whatever else tells of them", () => {
  for (const image of [pvhImage(), bzImageFile(), TEXT]) {
    const dsdt = (virtio: BootRequest["virtio"]) =>
      planBoot(requestFor(image, { virtio })).segments.find(({ what }) => what === "DSDT")!.bytes.toHex();
    assert(dsdt(VIRTIO).endsWith(VIRTIO.map((registers, n) => acpiDevice(registers, n).toHex()).join("")));
    assert(!dsdt([]).includes(new TextEncoder().encode("LNRO0005").toHex()));
  }
});
