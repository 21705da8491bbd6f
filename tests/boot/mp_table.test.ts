import { assertEquals } from "@std/assert";
import { checksum } from "../../src/boot/acpi.ts";
import { mpConfigurationTable, mpFloatingPointer } from "../../src/boot/mp_table.ts";
import { IO_APIC, LOCAL_APIC } from "../../src/devices/platform_map.ts";

const ENTRY_BYTES = [20, 8, 8, 8, 8];

function characters(bytes: Uint8Array, offset: number, length: number): string {
  return new TextDecoder().decode(bytes.subarray(offset, offset + length));
}

/** The entries by type, after the header's own counts have been checked. */
function entriesOf(table: Uint8Array): Uint8Array[][] {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  assertEquals([characters(table, 0, 4), view.getUint16(4, true), table[6]], ["PCMP", table.length, 4]);
  assertEquals(checksum(table), 0);
  assertEquals(view.getUint32(36, true), LOCAL_APIC.address);
  const entries: Uint8Array[][] = [[], [], [], [], []];
  let offset = 44;
  let count = 0;
  for (; offset < table.length; count++) {
    const type = table[offset]!;
    entries[type]!.push(table.subarray(offset, offset + ENTRY_BYTES[type]!));
    offset += ENTRY_BYTES[type]!;
  }
  assertEquals([offset, count], [table.length, view.getUint16(34, true)]);
  return entries;
}

Deno.test("mpFloatingPointer() points at the table", () => {
  const pointer = mpFloatingPointer(0xe_1230);
  assertEquals([characters(pointer, 0, 4), pointer.length, pointer[8], pointer[9]], ["_MP_", 16, 1, 4]);
  assertEquals(new DataView(pointer.buffer).getUint32(4, true), 0xe_1230);
  assertEquals(checksum(pointer), 0);
});

Deno.test("mpConfigurationTable() lists the processors, the first as the bootstrap processor", () => {
  const [processors] = entriesOf(mpConfigurationTable(3));
  assertEquals(processors!.map((entry) => [entry[1], entry[3]]), [[0, 3], [1, 1], [2, 1]]);
});

Deno.test("mpConfigurationTable() ends at APIC id 254", () => {
  const [processors] = entriesOf(mpConfigurationTable(1024));
  assertEquals(processors!.map((entry) => entry[1]), Array.from({ length: 255 }, (_, id) => id));
});

Deno.test("mpConfigurationTable() routes ISA interrupts to their pins, the timer to pin 2", () => {
  const [, buses, ioApics, ioInterrupts, localInterrupts] = entriesOf(mpConfigurationTable(1));
  assertEquals(buses!.map((entry) => characters(entry, 2, 6)), ["ISA   "]);
  assertEquals(ioApics!.map((entry) => new DataView(entry.buffer, entry.byteOffset).getUint32(4, true)), [
    IO_APIC.address,
  ]);
  const routes = ioInterrupts!.map((entry) => [entry[5]!, entry[7]!]);
  const straight = [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((irq) => [irq, irq]);
  assertEquals(routes, [[0, 2], ...straight]);
  assertEquals(localInterrupts!.map((entry) => [entry[1], entry[6], entry[7]]), [[3, 0xff, 0], [1, 0xff, 1]]);
});
