/** The virtio devices that somebody has asked for: as device models, and as the guest is told of them. */

import { MMIO_BYTES } from "../virtio/abi.ts";
import { builtIn } from "../devices/built_in.ts";
import type { VirtioBlockConfiguration } from "../devices/virtio_block.ts";
import { VIRTIO_GSIS, VIRTIO_WINDOW } from "../devices/platform_map.ts";
import type { VirtioPlace } from "../devices/virtio_place.ts";
import type { ModelModule } from "./options.ts";

/** A disk of the guest's: a file, or a block device. */
export interface DiskOptions {
  /** Its path. */
  readonly file: string;
  /** The guest can only read it; default false. */
  readonly readOnly?: boolean;
  /** The device is as before virtio 1.0; default false. */
  readonly legacy?: boolean;
}

/** What of a machine's options is virtio. */
export interface VirtioOptions {
  /** Virtio disks, in the order in which the guest finds them; a string is the path of a file. */
  readonly disks?: readonly (string | DiskOptions)[];
  /** Virtio sources of entropy; default 0. */
  readonly rngs?: number;
}

/** More than there are interrupt lines for. */
export const MOST_VIRTIO_DEVICES = VIRTIO_GSIS.length;

/** The device models of the options, each at a place of its own. */
export function virtioModels({ disks = [], rngs = 0 }: VirtioOptions): ModelModule[] {
  const places = VIRTIO_GSIS.map((gsi, n) => ({ address: VIRTIO_WINDOW.address + n * VIRTIO_WINDOW.apart, gsi }));
  const blocks = disks.map((disk) => typeof disk === "string" ? { file: disk } : disk);
  return [
    ...blocks.map((disk, n): ModelModule => {
      const configuration: VirtioBlockConfiguration = { ...places[n], ...disk };
      return { module: builtIn("virtio-block"), configuration, memory: "all" };
    }),
    ...Array.from({ length: rngs }, (_, n): ModelModule => {
      return { module: builtIn("virtio-entropy"), configuration: places[blocks.length + n], memory: "all" };
    }),
  ];
}

/** How the command line tells of them (Linux: virtio_mmio.device=SIZE@ADDRESS:IRQ). */
export function virtioCommandLine(models: readonly ModelModule[]): string {
  return models.map(({ configuration }) => {
    const { address, gsi } = configuration as VirtioPlace;
    return `virtio_mmio.device=${MMIO_BYTES}@0x${address.toString(16)}:${gsi}`;
  }).join(" ");
}
