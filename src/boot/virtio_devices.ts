/** How a guest is told of its virtio devices: ACPI tables name them for everybody, and one way more is for who reads none. */

import { type Aml, device, fixedMemory, integer, interrupt, name, resourceTemplate, text } from "./aml.ts";
import { elfNotes, isElf, parseElf } from "./elf.ts";
import type { Announcement, BootRequest, VirtioRegisters } from "./plan.ts";

/** Linux names its own notes so (include/linux/elfnote.h). */
const LINUX_NOTE = "Linux";

/** Triggers as Linux's x86 code counts them in device trees (arch/x86/kernel/devicetree.c). */
const TRIGGERS = { edge: 3, level: 1 } as const;

/**
 * How a guest learns of its devices. Linux that finds one in two ways makes two of it, of which one cannot have the
 * registers, so that it is told once: by ACPI, unless its command line says that it does not read that.
 *
 * @param readsAcpi what its format says
 */
export function announcementFor(readsAcpi: boolean, { image, commandLine, deviceTree }: BootRequest): Announcement {
  const isOff = commandLine.split(/\s+/).includes("acpi=off");
  if (!isOff && (readsAcpi || isLinuxElf(image))) return "ACPI";
  return deviceTree ? "device tree" : "command line";
}

function isLinuxElf(image: Uint8Array): boolean {
  if (!isElf(image)) return false;
  try {
    return elfNotes(parseElf(image, "ELF")).some((note) => note.name === LINUX_NOTE);
  } catch {
    return false; // what is damaged its loader refuses
  }
}

/** The request with what its command line says of the devices, if it is to (Linux: virtio_mmio.device=SIZE@ADDRESS:GSI). */
export function withCommandLine(request: BootRequest): BootRequest {
  if (request.announcement !== "command line" || request.virtio.length === 0) return request;
  const words = request.virtio.map(({ address, sizeBytes, gsi }) =>
    `virtio_mmio.device=${sizeBytes}@0x${address.toString(16)}:${gsi}`
  );
  return { ...request, commandLine: [request.commandLine, ...words].filter((word) => word !== "").join(" ") };
}

/** The n-th device for the DSDT, by the id that Linux gave it. _CCA: what it writes, caches see. */
export function acpiDevice({ address, sizeBytes, gsi, trigger }: VirtioRegisters, n: number): Aml {
  return device(
    `VIO${n.toString(16).toUpperCase()}`,
    name("_HID", text("LNRO0005")),
    name("_UID", integer(n)),
    name("_CCA", integer(1)),
    name("_CRS", resourceTemplate(fixedMemory(address, sizeBytes), interrupt(gsi, trigger))),
  );
}

/** The interrupt specifier of a device tree node: two cells. */
export function interruptCells({ gsi, trigger }: VirtioRegisters): number[] {
  return [gsi, TRIGGERS[trigger]];
}
