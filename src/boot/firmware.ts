/** Where the ACPI and MP tables lie: in the firmware area as far as they fit, and the MP pointer in the EBDA. */

import { roundUp } from "../memory/address.ts";
import { acpi } from "./acpi.ts";
import { Structure } from "./bytes.ts";
import { EBDA, FIRMWARE_AREA } from "./memory_map.ts";
import { mpConfigurationTable, mpFloatingPointer } from "./mp_table.ts";
import type { Segment, VirtioRegisters } from "./plan.ts";
import { acpiDevice } from "./virtio_devices.ts";

/** The tables as segments, and the address of the ACPI root pointer. */
export interface Firmware {
  readonly segments: readonly Segment[];
  readonly rsdp: number;
}

/** The rest of the firmware area is the BIOS's segment. */
const TABLES_END = 0xf_0000;

/** Root pointers lie on 16-byte boundaries (ACPI 6.5, 5.2.5.1; MP 1.4, 4.1); the tables do too, for easy reading. */
const ALIGN = 16;

/**
 * The tables of a machine with `vcpus` vCPUs.
 *
 * @param acpiBase where ACPI tables go that do not fit into the firmware area: {@linkcode acpiSizeBytes} bytes
 */
export function firmware(vcpus: number, acpiBase: number, virtio: readonly VirtioRegisters[] = []): Firmware {
  let free: number = FIRMWARE_AREA.address;
  let spill = acpiBase;
  const allocate = (sizeBytes: number): number => {
    if (free + sizeBytes <= TABLES_END) {
      const address = free;
      free = roundUp(address + sizeBytes, ALIGN);
      return address;
    }
    const address = spill;
    spill = roundUp(address + sizeBytes, ALIGN);
    return address;
  };

  // The MP table takes its place first: as it says nothing beyond 255 processors it always fits.
  const mpTable = mpConfigurationTable(vcpus);
  const mpTableAddress = allocate(mpTable.length);
  const tables = acpi(vcpus, (_what, sizeBytes) => allocate(sizeBytes), virtio.map(acpiDevice));
  return {
    rsdp: tables[0]!.address,
    segments: [
      segment("EBDA with the MP pointer", EBDA.address, ebda(mpTableAddress)),
      segment("MP configuration table", mpTableAddress, mpTable),
      ...tables.map((table) => segment(table.what, table.address, table.bytes)),
    ],
  };
}

/** How many bytes {@linkcode firmware} needs at its `acpiBase`; 0 as long as the firmware area holds all tables. */
export function acpiSizeBytes(vcpus: number): number {
  const ends = firmware(vcpus, TABLES_END).segments.map((segment) => segment.address + segment.sizeBytes);
  return Math.max(...ends, TABLES_END) - TABLES_END;
}

/** The extended BIOS data area begins with its size in KiB; the MP pointer is looked for in its first KiB. */
function ebda(mpTable: number): Uint8Array {
  const area = new Structure(2 * ALIGN).u8(0, EBDA.sizeBytes / 1024);
  area.bytes.set(mpFloatingPointer(mpTable), ALIGN);
  return area.bytes;
}

function segment(what: string, address: number, bytes: Uint8Array): Segment {
  return { what, address, sizeBytes: bytes.length, bytes };
}
