/** The ACPI tables of a machine: hardware-reduced, the local APICs, the I/O APIC, and a DSDT without PCI. */

import {
  CMOS,
  COM1,
  IO_APIC,
  KEYBOARD_CONTROLLER,
  LOCAL_APIC,
  PIT_IO_APIC_PIN,
  RESET,
  SLEEP,
} from "../devices/platform_map.ts";
import {
  type Aml,
  concat,
  device,
  eisaId,
  integer,
  ioPorts,
  isaInterrupt,
  name,
  packageOf,
  resourceTemplate,
  scope,
} from "./aml.ts";
import { Structure } from "./bytes.ts";

/** A table at its place, checksum and addresses in it included. */
export interface AcpiTable {
  readonly what: string;
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** Finds `sizeBytes` for a table; called once for each. */
export type Allocate = (what: string, sizeBytes: number) => number;

const OEM = "XENOLI";
const OEM_TABLE = "XENOLITH";

const HEADER_BYTES = 36;
const RSDP_BYTES = 36;
const RSDP_V1_BYTES = 20;
const FADT_BYTES = 276;

/** APIC ids from here on have no local APIC entry, only an x2APIC one (ACPI 6.5, 5.2.12.12); 255 means all. */
const FIRST_X2APIC_ID = 255;
const ALL_PROCESSORS = 0xff;
const ALL_X2APIC_PROCESSORS = 0xffff_ffff;

/** ACPI 6.5, table 5.10. The flag that says there is no CMOS clock stays clear. */
const BOOT_ARCHITECTURE = { legacyDevices: 1 << 0, keyboardController: 1 << 1, noVga: 1 << 2 } as const;

/** The byte of CMOS memory that holds the century. */
const CENTURY_REGISTER = 0x32;

/** ISA interrupt of the 8042's keyboard, as on every PC. */
const KEYBOARD_IRQ = 1;

/** ACPI 6.5, table 5.9: only what holds for this machine. */
const FADT_FLAGS = {
  wbinvd: 1 << 0,
  c1OnAllProcessors: 1 << 2,
  noFixedPowerButton: 1 << 4,
  noFixedSleepButton: 1 << 5,
  noFixedClockWake: 1 << 6,
  resetRegister: 1 << 10,
  headless: 1 << 12,
  hardwareReduced: 1 << 20,
} as const;

/** MADT, multiple APIC flags: there is a pair of 8259A too (ACPI 6.5, table 5.20). */
const PCAT_COMPAT = 1;

/**
 * All tables for `vcpus` vCPUs with the APIC ids from 0 on. The first is the RSDP.
 *
 * @param devices AML of further devices in `\_SB`
 */
export function acpi(vcpus: number, allocate: Allocate, devices: readonly Aml[] = []): AcpiTable[] {
  const place = (what: string, bytes: Uint8Array): AcpiTable => ({
    what,
    address: allocate(what, bytes.length),
    bytes,
  });
  const rsdp = allocate("RSDP", RSDP_BYTES);
  const dsdt = place("DSDT", dsdtBytes(devices));
  const described = [place("FADT", fadtBytes(dsdt.address)), place("MADT", madtBytes(vcpus))];
  const rsdt = place("RSDT", rootTable("RSDT", described, 4));
  const xsdt = place("XSDT", rootTable("XSDT", described, 8));
  return [
    { what: "RSDP", address: rsdp, bytes: rsdpBytes(rsdt.address, xsdt.address) },
    dsdt,
    ...described,
    rsdt,
    xsdt,
  ];
}

/** The byte that makes the sum of all bytes 0 modulo 256. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function allOf(flags: Readonly<Record<string, number>>): number {
  return Object.values(flags).reduce((all, flag) => all | flag);
}

function ascii(structure: Structure, offset: number, characters: string): void {
  structure.bytes.set(new TextEncoder().encode(characters), offset);
}

/** ACPI 6.5, 5.2.5.3. The RSDT is for small kernels, which often look no further than that. */
function rsdpBytes(rsdt: number, xsdt: number): Uint8Array {
  const rsdp = new Structure(RSDP_BYTES);
  ascii(rsdp, 0, "RSD PTR ");
  ascii(rsdp, 9, OEM);
  rsdp.u8(15, 2).u32(16, rsdt).u32(20, RSDP_BYTES).u64(24, xsdt);
  rsdp.u8(8, checksum(rsdp.bytes.subarray(0, RSDP_V1_BYTES)));
  return rsdp.u8(32, checksum(rsdp.bytes)).bytes;
}

/** A table with the common header (ACPI 6.5, 5.2.6); `fill` writes what follows it. */
function table(signature: string, revision: number, sizeBytes: number, fill: (table: Structure) => void): Uint8Array {
  const table = new Structure(sizeBytes);
  ascii(table, 0, signature);
  table.u32(4, sizeBytes).u8(8, revision);
  ascii(table, 10, OEM);
  ascii(table, 16, OEM_TABLE);
  table.u32(24, 1);
  ascii(table, 28, "XENO");
  table.u32(32, 1);
  fill(table);
  return table.u8(9, checksum(table.bytes)).bytes;
}

function rootTable(signature: string, tables: readonly AcpiTable[], entryBytes: 4 | 8): Uint8Array {
  return table(signature, 1, HEADER_BYTES + entryBytes * tables.length, (root) => {
    tables.forEach(({ address }, index) => {
      const offset = HEADER_BYTES + entryBytes * index;
      if (entryBytes === 4) root.u32(offset, address);
      else root.u64(offset, address);
    });
  });
}

/**
 * ACPI 6.5, 5.2.9. The interrupt of the SCI is never raised: 0, in place of 9, would be taken for the timer's.
 * A hardware-reduced system ignores the PM1a control block too. It is announced for small kernels that know no other
 * way to switch off: what they write to it does mean power-off (see SLEEP).
 */
function fadtBytes(dsdt: number): Uint8Array {
  return table("FACP", 6, FADT_BYTES, (fadt) => {
    fadt.u32(40, dsdt).u64(140, dsdt);
    fadt.u16(46, 9);
    fadt.u32(64, SLEEP.port).u8(89, 2);
    ioRegister(fadt, 172, SLEEP.port, 2);
    fadt.u16(96, 0xffff).u16(98, 0xffff); // no C2, no C3
    fadt.u8(108, CENTURY_REGISTER);
    fadt.u16(109, allOf(BOOT_ARCHITECTURE)).u32(112, allOf(FADT_FLAGS));
    ioRegister(fadt, 116, RESET.port, 1);
    fadt.u8(128, RESET.value);
    fadt.u8(131, 5); // ACPI 6.5
    ioRegister(fadt, 244, SLEEP.control, 1);
    ioRegister(fadt, 256, SLEEP.status, 1);
    ascii(fadt, 268, OEM_TABLE); // hypervisor vendor identity
  });
}

/** Generic Address Structure of a register of 1 or 2 bytes in I/O space (ACPI 6.5, 5.2.3.2). */
function ioRegister(table: Structure, offset: number, port: number, sizeBytes: 1 | 2): void {
  table.u8(offset, 1).u8(offset + 1, 8 * sizeBytes).u8(offset + 3, sizeBytes).u64(offset + 4, port);
}

/** ACPI 6.5, 5.2.12. */
function madtBytes(vcpus: number): Uint8Array {
  const few = Math.min(vcpus, FIRST_X2APIC_ID);
  const entries: Structure[] = [];
  const add = (type: number, sizeBytes: number) => {
    const entry = new Structure(sizeBytes).u8(0, type).u8(1, sizeBytes);
    entries.push(entry);
    return entry;
  };
  for (let id = 0; id < few; id++) add(0, 8).u8(2, id).u8(3, id).u32(4, 1);
  for (let id = few; id < vcpus; id++) add(9, 16).u32(4, id).u32(8, 1).u32(12, id);
  add(1, 12).u32(4, IO_APIC.address);
  add(2, 10).u32(4, PIT_IO_APIC_PIN);
  add(4, 6).u8(2, ALL_PROCESSORS).u8(5, 1);
  if (vcpus > few) add(10, 12).u32(4, ALL_X2APIC_PROCESSORS).u8(8, 1);
  const body = concat(entries.map((entry) => entry.bytes));
  return table("APIC", 6, HEADER_BYTES + 8 + body.length, (madt) => {
    madt.u32(36, LOCAL_APIC.address).u32(40, PCAT_COMPAT);
    madt.bytes.set(body, HEADER_BYTES + 8);
  });
}

/**
 * What has no table of its own: S5 and the ISA devices. In a hardware-reduced machine Linux knows no ISA interrupts
 * but those announced here, the UART's first of all. Processors need no objects: the MADT lists them all.
 */
function dsdtBytes(devices: readonly Aml[]): Uint8Array {
  const sleepType = integer(SLEEP.s5Type);
  const aml = concat([
    name("\\_S5", packageOf(sleepType, sleepType, integer(0), integer(0))),
    scope(
      "\\_SB",
      device(
        "COM1",
        name("_HID", eisaId("PNP0501")),
        name("_UID", integer(1)),
        name("_CRS", resourceTemplate(ioPorts(COM1.port, COM1.ports), isaInterrupt(COM1.irq))),
      ),
      device(
        "RTC",
        name("_HID", eisaId("PNP0B00")),
        name("_CRS", resourceTemplate(ioPorts(CMOS.index, 2))),
      ),
      device(
        "KBD",
        name("_HID", eisaId("PNP0303")),
        name(
          "_CRS",
          resourceTemplate(
            ioPorts(KEYBOARD_CONTROLLER.data, 1),
            ioPorts(KEYBOARD_CONTROLLER.command, 1),
            isaInterrupt(KEYBOARD_IRQ),
          ),
        ),
      ),
      ...devices,
    ),
  ]);
  return table("DSDT", 2, HEADER_BYTES + aml.length, (dsdt) => dsdt.bytes.set(aml, HEADER_BYTES));
}
