/** Flattened device trees (Devicetree Specification 0.4, chapter 5), and the one that describes a machine of ours. */

import { GRANT_FRAMES, IO_APIC, LOCAL_APIC } from "../devices/platform_map.ts";
import { XEN_VERSION } from "../hypercall/abi/ours.ts";
import { type BootRequest, MEMORY_TYPE, type MemoryRange, type VirtioRegisters } from "./plan.ts";
import { interruptCells } from "./virtio_devices.ts";

/** A property's value: text, several texts, cells of 32 bits, or nothing. */
export type Property = string | readonly string[] | readonly number[];

/** A node of a tree. */
export interface TreeNode {
  readonly properties: Readonly<Record<string, Property>>;
  readonly children?: Readonly<Record<string, TreeNode>>;
}

const MAGIC = 0xd00d_feed, VERSION = 17, LAST_COMPATIBLE = 16, HEADER_BYTES = 40;
/** After the header, the list of reserved ranges: only its end. */
const RESERVATIONS_BYTES = 16;
const BEGIN_NODE = 1, END_NODE = 2, PROPERTY = 3, END = 9;

/** A tree as its bytes. */
export function flatten(root: TreeNode): Uint8Array<ArrayBuffer> {
  const words: number[] = [], strings: number[] = [], offsets = new Map<string, number>();
  const add = (bytes: ArrayLike<number>) => {
    for (let at = 0; at < bytes.length; at += 4) {
      words.push((bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]) >>> 0);
    }
  };
  const nameAt = (name: string) =>
    offsets.getOrInsertComputed(name, () => {
      const at = strings.length;
      strings.push(...text(name));
      return at;
    });
  const addNode = (name: string, { properties, children = {} }: TreeNode) => {
    words.push(BEGIN_NODE);
    add(text(name));
    for (const [property, value] of Object.entries(properties)) {
      const bytes = bytesOf(value);
      words.push(PROPERTY, bytes.length, nameAt(property));
      add(bytes);
    }
    for (const [child, node] of Object.entries(children)) addNode(child, node);
    words.push(END_NODE);
  };
  addNode("", root);
  words.push(END);
  const structure = HEADER_BYTES + RESERVATIONS_BYTES, stringsAt = structure + words.length * 4;
  const tree = new Uint8Array(stringsAt + strings.length), view = new DataView(tree.buffer);
  const header = [MAGIC, tree.length, structure, stringsAt, HEADER_BYTES, VERSION, LAST_COMPATIBLE, 0];
  [...header, strings.length, words.length * 4].forEach((word, index) => view.setUint32(index * 4, word));
  words.forEach((word, index) => view.setUint32(structure + index * 4, word));
  tree.set(strings, stringsAt);
  return tree;
}

/** By what devices name the I/O APIC. */
const IO_APIC_PHANDLE = 1;

/**
 * What a machine's tree says: its processors, its RAM, its interrupt controllers, its virtio devices if the guest is told
 * of them so; and if it is to find Xen, in /hypervisor, in Xen's words, where it may put its grant table (reg 0) and its
 * extended regions (docs/extended-regions.md; Xen: docs/misc/arm/device-tree/guest.txt).
 */
export function machineTree(request: BootRequest, map: readonly MemoryRange[]): TreeNode {
  const { vcpus, commandLine, regions, xen, announcement, virtio } = request;
  const ram = map.filter(({ type }) => type === MEMORY_TYPE.RAM);
  const version = `${XEN_VERSION >>> 16}.${XEN_VERSION & 0xffff}`;
  const cpus = Array.from({ length: vcpus }, (_, id): [string, TreeNode] => [
    `cpu@${id.toString(16)}`,
    { properties: { device_type: "cpu", reg: [id] } },
  ]);
  return {
    properties: { "#address-cells": [2], "#size-cells": [2], compatible: "xenolith,pc", model: "Xenolith" },
    children: {
      chosen: { properties: { bootargs: commandLine } },
      cpus: { properties: { "#address-cells": [1], "#size-cells": [0] }, children: Object.fromEntries(cpus) },
      [`memory@${ram[0].address.toString(16)}`]: { properties: { device_type: "memory", reg: ram.flatMap(cells) } },
      ...interruptControllers(),
      ...(announcement === "device tree" && Object.fromEntries(virtio.map(virtioNode))),
      ...(xen === "on" && {
        hypervisor: {
          properties: {
            compatible: [`xen,xen-${version}`, "xen,xen"],
            reg: [GRANT_FRAMES, ...regions].flatMap(cells),
          },
        },
      }),
    },
  };
}

/** Under the names by which Linux knows a PC's (Linux: Documentation/devicetree/bindings, intel,ce4100-*.yaml). */
function interruptControllers(): Record<string, TreeNode> {
  return {
    [`interrupt-controller@${IO_APIC.address.toString(16)}`]: {
      properties: {
        compatible: "intel,ce4100-ioapic",
        reg: cells(IO_APIC),
        "interrupt-controller": [],
        "#interrupt-cells": [2],
        "#address-cells": [0],
        phandle: [IO_APIC_PHANDLE],
      },
    },
    [`lapic@${LOCAL_APIC.address.toString(16)}`]: {
      // Without it, Linux takes the PC for one with an IMCR (MP 1.4, 3.6.2.1).
      properties: { compatible: "intel,ce4100-lapic", reg: cells(LOCAL_APIC), "intel,virtual-wire-mode": [] },
    },
  };
}

/** Linux: Documentation/devicetree/bindings/virtio/mmio.yaml. */
function virtioNode(registers: VirtioRegisters): [name: string, node: TreeNode] {
  return [`virtio_mmio@${registers.address.toString(16)}`, {
    properties: {
      compatible: "virtio,mmio",
      reg: cells(registers),
      interrupts: interruptCells(registers),
      "interrupt-parent": [IO_APIC_PHANDLE],
      "dma-coherent": [],
    },
  }];
}

/** Two cells of an address, two of a size. */
function cells({ address, sizeBytes }: { readonly address: number; readonly sizeBytes: number }): number[] {
  return [address, sizeBytes].flatMap((value) => [Math.floor(value / 2 ** 32), value % 2 ** 32]);
}

function bytesOf(value: Property): number[] {
  if (typeof value === "string") return text(value);
  return value.flatMap((part) =>
    typeof part === "string" ? text(part) : [part >>> 24, part >>> 16 & 0xff, part >>> 8 & 0xff, part & 0xff]
  );
}

function text(value: string): number[] {
  return [...new TextEncoder().encode(value), 0];
}
