import { assert, assertEquals } from "@std/assert";
import { acpi, type AcpiTable, checksum } from "../../src/boot/acpi.ts";
import { device, eisaId, name } from "../../src/boot/aml.ts";
import { IO_APIC, LOCAL_APIC, PIT_IO_APIC_PIN, RESET, SLEEP } from "../../src/devices/platform_map.ts";

const BASE = 0xe_0000;

/** The tables one after another, 16 bytes apart at least. */
function tablesFor(vcpus: number, devices: Uint8Array[] = []): Map<string, AcpiTable> {
  let next = BASE;
  const allocate = (_what: string, sizeBytes: number) => {
    const address = next;
    next += Math.ceil(sizeBytes / 16) * 16;
    return address;
  };
  return new Map(acpi(vcpus, allocate, devices).map((table) => [table.what, table]));
}

function viewOf(table: AcpiTable): DataView {
  return new DataView(table.bytes.buffer, table.bytes.byteOffset, table.bytes.byteLength);
}

function characters(table: AcpiTable, offset: number, length: number): string {
  return new TextDecoder().decode(table.bytes.subarray(offset, offset + length));
}

/** Space, width, offset, access size, address of a Generic Address Structure. */
function register(table: AcpiTable, offset: number): number[] {
  const address = Number(viewOf(table).getBigUint64(offset + 4, true));
  return [...table.bytes.subarray(offset, offset + 4), address];
}

/** The MADT's entries as bytes by type. */
function madtEntries(vcpus: number): Map<number, Uint8Array[]> {
  const bytes = tablesFor(vcpus).get("MADT")!.bytes;
  const entries = new Map<number, Uint8Array[]>();
  let offset = 44;
  while (offset < bytes.length) {
    const entry = bytes.subarray(offset, offset + bytes[offset + 1]!);
    entries.set(entry[0]!, [...entries.get(entry[0]!) ?? [], entry]);
    offset += entry.length;
  }
  assertEquals(offset, bytes.length);
  return entries;
}

Deno.test("acpi() gives every table a length and a checksum that hold", () => {
  for (const vcpus of [1, 255, 256, 1024]) {
    for (const table of tablesFor(vcpus).values()) {
      assertEquals(checksum(table.bytes), 0, table.what);
      const lengthAt = table.what === "RSDP" ? 20 : 4;
      assertEquals(viewOf(table).getUint32(lengthAt, true), table.bytes.length, table.what);
    }
  }
  assertEquals(checksum(tablesFor(1).get("RSDP")!.bytes.subarray(0, 20)), 0);
});

Deno.test("acpi() links RSDP, RSDT and XSDT, FADT and DSDT", () => {
  const tables = tablesFor(3);
  const address = (what: string) => tables.get(what)!.address;
  const rsdp = tables.get("RSDP")!;
  assertEquals([characters(rsdp, 0, 8), rsdp.bytes[15]], ["RSD PTR ", 2]);
  assertEquals(viewOf(rsdp).getUint32(16, true), address("RSDT"));
  assertEquals(viewOf(rsdp).getBigUint64(24, true), BigInt(address("XSDT")));

  const [rsdt, xsdt] = [tables.get("RSDT")!, tables.get("XSDT")!];
  assertEquals([characters(rsdt, 0, 4), characters(xsdt, 0, 4)], ["RSDT", "XSDT"]);
  const described = [address("FADT"), address("MADT")];
  assertEquals([0, 1].map((index) => viewOf(rsdt).getUint32(36 + 4 * index, true)), described);
  assertEquals([0, 1].map((index) => Number(viewOf(xsdt).getBigUint64(36 + 8 * index, true))), described);

  const fadt = tables.get("FADT")!;
  assertEquals(viewOf(fadt).getUint32(40, true), address("DSDT"));
  assertEquals(viewOf(fadt).getBigUint64(140, true), BigInt(address("DSDT")));
});

Deno.test("the FADT says hardware-reduced, and where the machine is reset and switched off", () => {
  const fadt = tablesFor(1).get("FADT")!;
  const view = viewOf(fadt);
  assertEquals([characters(fadt, 0, 4), fadt.bytes[8], fadt.bytes.length], ["FACP", 6, 276]);
  const flags = view.getUint32(112, true);
  assert(flags & 1 << 20, "HW_REDUCED_ACPI");
  assert(flags & 1 << 10, "RESET_REG_SUP");
  assertEquals(register(fadt, 116), [1, 8, 0, 1, RESET.port]);
  assertEquals(fadt.bytes[128], RESET.value);
  assertEquals(register(fadt, 244), [1, 8, 0, 1, SLEEP.control]);
  assertEquals(register(fadt, 256), [1, 8, 0, 1, SLEEP.status]);
  assertEquals([view.getUint32(64, true), register(fadt, 172)], [SLEEP.port, [1, 16, 0, 2, SLEEP.port]]);
});

Deno.test("the FADT says ISA devices, 8042 and clock, and no VGA", () => {
  const bootArchitecture = viewOf(tablesFor(1).get("FADT")!).getUint16(109, true);
  assertEquals(bootArchitecture, 0b000111);
});

Deno.test("the MADT has the 8259A flag and the local APICs' address", () => {
  const madt = tablesFor(1).get("MADT")!;
  assertEquals([viewOf(madt).getUint32(36, true), viewOf(madt).getUint32(40, true)], [LOCAL_APIC.address, 1]);
});

Deno.test("the MADT lists the I/O APIC, the timer's override and NMI at LINT1", () => {
  const entries = madtEntries(2);
  assertEquals([...entries.keys()].toSorted((a, b) => a - b), [0, 1, 2, 4]);
  assertEquals(entries.get(0)!.map((entry) => [...entry]), [[0, 8, 0, 0, 1, 0, 0, 0], [0, 8, 1, 1, 1, 0, 0, 0]]);
  const ioApic = entries.get(1)![0]!;
  assertEquals(new DataView(ioApic.buffer, ioApic.byteOffset).getUint32(4, true), IO_APIC.address);
  assertEquals([...entries.get(2)![0]!], [2, 10, 0, 0, PIT_IO_APIC_PIN, 0, 0, 0, 0, 0]);
  assertEquals([...entries.get(4)![0]!], [4, 6, 0xff, 0, 0, 1]);
});

Deno.test("the MADT has local APIC entries up to id 254 and x2APIC entries beyond", () => {
  assertEquals(madtEntries(255).get(0)!.length, 255);
  assertEquals(madtEntries(255).has(9), false);
  const entries = madtEntries(300);
  assertEquals(entries.get(0)!.map((entry) => entry[3]), Array.from({ length: 255 }, (_, id) => id));
  const ids = entries.get(9)!.map((entry) => new DataView(entry.buffer, entry.byteOffset).getUint32(4, true));
  assertEquals(ids, Array.from({ length: 45 }, (_, index) => 255 + index));
  assertEquals(entries.get(10)!.length, 1);
});

Deno.test("the DSDT holds S5 in the form that small kernels search for", () => {
  const dsdt = tablesFor(1).get("DSDT")!;
  const at = new TextDecoder("latin1").decode(dsdt.bytes).indexOf("_S5_");
  assertEquals([...dsdt.bytes.subarray(at - 2, at)], [0x08, 0x5c]);
  assertEquals([...dsdt.bytes.subarray(at + 4, at + 8)], [0x12, 6, 4, SLEEP.s5Type]);
});

Deno.test("the DSDT holds the devices that were added, in \\_SB", () => {
  const added = device("XEN0", name("_HID", eisaId("PNP0A06")));
  const before = tablesFor(1).get("DSDT")!;
  const after = tablesFor(1, [added]).get("DSDT")!;
  assertEquals(after.bytes.subarray(-added.length), added);
  assert(after.bytes.length >= before.bytes.length + added.length);
});
