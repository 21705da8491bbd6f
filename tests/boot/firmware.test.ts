import { assert, assertEquals } from "@std/assert";
import { checksum } from "../../src/boot/acpi.ts";
import { acpiSizeBytes, firmware } from "../../src/boot/firmware.ts";
import { checkSegments } from "../../src/boot/layout.ts";
import { acpiBase, EBDA, lowRamEnd, memoryMap } from "../../src/boot/memory_map.ts";
import { GuestMemory } from "./images.ts";

const MEMORY_BYTES = 256 << 20;

function firmwareOf(vcpus: number) {
  const base = acpiBase(MEMORY_BYTES, vcpus);
  const tables = firmware(vcpus, base);
  return { base, ...tables, memory: new GuestMemory(tables.segments) };
}

Deno.test("firmware() lies in the firmware area and the EBDA as long as it fits", () => {
  for (const vcpus of [1, 8, 255, 1024, 3500]) {
    const { segments } = firmwareOf(vcpus);
    checkSegments(segments, memoryMap(MEMORY_BYTES));
    assert(segments.every((segment) => segment.address + segment.sizeBytes <= 0xf_0000));
    assertEquals(acpiSizeBytes(vcpus), 0);
  }
});

Deno.test("firmware() puts what does not fit where memory_map.ts has room for it", () => {
  const vcpus = 4096;
  const { base, segments, rsdp } = firmwareOf(vcpus);
  checkSegments(segments, memoryMap(MEMORY_BYTES, base));
  const above = segments.filter((segment) => segment.address >= base);
  assertEquals(above.map((segment) => segment.what), ["MADT"]);
  assertEquals(above[0]!.sizeBytes, acpiSizeBytes(vcpus));
  assert(base + acpiSizeBytes(vcpus) <= lowRamEnd(MEMORY_BYTES));
  assert(rsdp < 0xf_0000);
});

Deno.test("firmware() has an RSDP that leads to every table", () => {
  for (const vcpus of [1, 4096]) {
    const { memory, rsdp } = firmwareOf(vcpus);
    assertEquals(rsdp % 16, 0);
    assertEquals(memory.string(rsdp).slice(0, 8), "RSD PTR ");
    const xsdt = memory.u64(rsdp + 24);
    const signatures = [0, 1].map((index) => memory.string(memory.u64(xsdt + 36 + 8 * index)).slice(0, 4));
    assertEquals(signatures, ["FACP", "APIC"]);
  }
});

Deno.test("firmware() has an MP pointer in the EBDA that leads to the table", () => {
  const { memory } = firmwareOf(4);
  assertEquals(memory.bytes(EBDA.address, 1)[0], 1);
  const pointer = EBDA.address + 16;
  assertEquals(memory.string(pointer).slice(0, 4), "_MP_");
  const table = memory.u32(pointer + 4);
  assertEquals(memory.string(table).slice(0, 4), "PCMP");
  const sizeBytes = memory.u32(table + 4) & 0xffff;
  assertEquals(checksum(memory.bytes(table, sizeBytes)), 0);
});
