/** Intel's MultiProcessor Specification 1.4 tables: the same interrupts and processors for kernels that know no ACPI. */

import { IO_APIC, LOCAL_APIC, PIT_IO_APIC_PIN } from "../devices/platform_map.ts";
import { checksum } from "./acpi.ts";
import { concat } from "./aml.ts";
import { Structure } from "./bytes.ts";

const REVISION = 4;
const HEADER_BYTES = 44;

/** APIC ids are bytes, and 255 means all local APICs. */
const MAXIMUM_PROCESSORS = 255;
const ALL_LOCAL_APICS = 0xff;

const ISA_BUS = 0;
const ISA_INTERRUPTS = 16;
/** ISA interrupt 2 is the cascade of the two 8259A. */
const CASCADE = 2;

/** As KVM's I/O APIC begins: its id and version registers. */
const IO_APIC_ID = 0;
const IO_APIC_VERSION = 0x11;
const LOCAL_APIC_VERSION = 0x14;

const ENTRY = { processor: 0, bus: 1, ioApic: 2, ioInterrupt: 3, localInterrupt: 4 } as const;
const INTERRUPT = { vectored: 0, nmi: 1, external: 3 } as const;

/** CPU flags: usable; the bootstrap processor. */
const ENABLED = 1;
const BOOTSTRAP = 2;

/** Family 6 with an FPU and an APIC: kernels ask CPUID for the truth. */
const SIGNATURE = 0x600;
const FEATURES = 0x201;

/** The floating pointer structure (MP 1.4, 4.1). Its features say virtual wire mode: there is no IMCR. */
export function mpFloatingPointer(configurationTable: number): Uint8Array {
  const pointer = new Structure(16);
  pointer.bytes.set(new TextEncoder().encode("_MP_"));
  pointer.u32(4, configurationTable).u8(8, 1).u8(9, REVISION);
  return pointer.u8(10, checksum(pointer.bytes)).bytes;
}

/** The configuration table (MP 1.4, 4.2) of the first 255 of `vcpus` vCPUs. */
export function mpConfigurationTable(vcpus: number): Uint8Array {
  const entries = [...processors(vcpus), isaBus(), ioApic(), ...interrupts()];
  const header = new Structure(HEADER_BYTES);
  header.bytes.set(new TextEncoder().encode("PCMP"));
  header.u16(4, HEADER_BYTES + entries.reduce((sum, entry) => sum + entry.length, 0)).u8(6, REVISION);
  header.bytes.set(new TextEncoder().encode("XENOLITHVIRTUAL PC  "), 8);
  header.u16(34, entries.length).u32(36, LOCAL_APIC.address);
  const table = concat([header.bytes, ...entries]);
  table[7] = checksum(table);
  return table;
}

function processors(vcpus: number): Uint8Array[] {
  return Array.from({ length: Math.min(vcpus, MAXIMUM_PROCESSORS) }, (_, id) =>
    new Structure(20)
      .u8(0, ENTRY.processor).u8(1, id).u8(2, LOCAL_APIC_VERSION).u8(3, id === 0 ? ENABLED | BOOTSTRAP : ENABLED)
      .u32(4, SIGNATURE).u32(8, FEATURES).bytes);
}

function isaBus(): Uint8Array {
  const bus = new Structure(8).u8(0, ENTRY.bus).u8(1, ISA_BUS);
  bus.bytes.set(new TextEncoder().encode("ISA   "), 2);
  return bus.bytes;
}

function ioApic(): Uint8Array {
  return new Structure(8)
    .u8(0, ENTRY.ioApic).u8(1, IO_APIC_ID).u8(2, IO_APIC_VERSION).u8(3, ENABLED).u32(4, IO_APIC.address).bytes;
}

function interrupts(): Uint8Array[] {
  const isa = Array.from({ length: ISA_INTERRUPTS }, (_, irq) => irq).filter((irq) => irq !== CASCADE);
  return [
    ...isa.map((irq) =>
      interrupt(ENTRY.ioInterrupt, INTERRUPT.vectored, irq, IO_APIC_ID, irq === 0 ? PIT_IO_APIC_PIN : irq)
    ),
    interrupt(ENTRY.localInterrupt, INTERRUPT.external, 0, ALL_LOCAL_APICS, 0),
    interrupt(ENTRY.localInterrupt, INTERRUPT.nmi, 0, ALL_LOCAL_APICS, 1),
  ];
}

/** From an ISA line, with the bus's polarity and trigger, to an input of an I/O or of all local APICs. */
function interrupt(entry: number, kind: number, irq: number, apicId: number, input: number): Uint8Array {
  return new Structure(8).u8(0, entry).u8(1, kind).u8(4, ISA_BUS).u8(5, irq).u8(6, apicId).u8(7, input).bytes;
}
