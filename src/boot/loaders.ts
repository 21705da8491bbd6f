/** The image formats in the order of asking, and the one way from an image to a plan that can be carried out. */

import { bootSector } from "./boot_sector.ts";
import { hex } from "./bytes.ts";
import { bzImage } from "./bzimage.ts";
import { flatten, machineTree } from "./device_tree.ts";
import { elfNotes, isElf, parseElf } from "./elf.ts";
import { flat } from "./flat.ts";
import { checkSegments, endOf, Layout } from "./layout.ts";
import { findHeader, multiboot } from "./multiboot.ts";
import { withRegions } from "./memory_map.ts";
import { type BootPlan, type BootRequest, ImageError, type Loader, type MachinePlan } from "./plan.ts";
import { pvh } from "./pvh.ts";
import { announcementFor, withCommandLine } from "./virtio_devices.ts";

/** How far a Multiboot header is looked for that lies too deep in the file to count. */
const DEEP_SEARCH_BYTES = 8 << 20;

/** ELF files that no loader before it took: there is nothing to load, only a reason to give. */
const otherElf: Loader = {
  format: "ELF",
  recognises: isElf,
  plan({ image }: BootRequest): BootPlan {
    const elf = parseElf(image, "ELF");
    elfNotes(elf);
    const deep = findHeader(image, DEEP_SEARCH_BYTES);
    const hint = deep?.valid ? `: the one at ${hex(deep.offset)} is not in the first 8192 bytes` : "";
    throw elf.reader.error(`neither a Xen PVH note (type 18) nor a Multiboot header${hint}`);
  },
};

/**
 * The most specific format first, the vaguest last. A boot sector goes before Multiboot: a disk that GRUB was installed
 * on carries GRUB's own Multiboot header in its second sector.
 */
export const LOADERS: readonly Loader[] = [pvh, bzImage, bootSector, multiboot, otherElf, flat];

/** The loader whose format the bytes are. @throws {ImageError} there is none */
export function loaderOf(image: Uint8Array): Loader {
  const loader = LOADERS.find((candidate) => candidate.recognises(image));
  if (!loader) {
    const start = Array.from(image.subarray(0, 4), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw new ImageError(`unknown image format: ${image.length} bytes that begin with ${start || "nothing"}`);
  }
  return loader;
}

/**
 * What to put where in guest memory, and how vCPU 0 begins.
 *
 * @throws {ImageError} the image is of no known format or damaged, or it does not fit into the memory
 */
export function planBoot(asked: BootRequest): MachinePlan {
  const loader = loaderOf(asked.image);
  const findsXen = asked.xen === "auto" ? loader.findsKvm !== true : asked.xen === "on";
  const announcement = asked.announcement ?? announcementFor(loader.readsAcpi === true, asked);
  const told = withCommandLine({ ...asked, announcement });
  const request = withDeviceTree(loader, findsXen ? { ...told, xen: "on" } : { ...told, xen: "off", regions: [] });
  const plan = loader.plan(request);
  const segments = checkSegments(plan.segments, plan.memoryMap);
  const first = segments[0];
  if (loader.nothingAtZero && first?.address === 0) {
    throw new ImageError(`${loader.format}: ${first.what} at address 0, where nothing may be`);
  }
  checkEntry(plan);
  const { regions } = request;
  return { ...plan, segments, memoryMap: withRegions(plan.memoryMap, regions), findsXen, regions };
}

/** A tree that is handed over as a module is the last one, and its command line says what it is. */
function withDeviceTree(loader: Loader, request: BootRequest): BootRequest {
  if (!request.deviceTree || loader.deviceTree === "own") return request;
  if (loader.deviceTree === undefined) throw new ImageError(`${loader.format}: carries no device tree`);
  const bytes = flatten(machineTree(request, new Layout(request).memoryMap));
  return { ...request, modules: [...request.modules, { name: "device tree", bytes, commandLine: "device-tree" }] };
}

function checkEntry({ format, entry, segments }: BootPlan): void {
  const address = entry.code.base + entry.rip;
  if (entry.mode !== "long" && address >= 2 ** 32) {
    throw new ImageError(`${format}: entry ${hex(address)} beyond 4 GiB`);
  }
  if (!segments.some((segment) => address >= segment.address && address < endOf(segment))) {
    throw new ImageError(`${format}: entry ${hex(address)} lies in no segment`);
  }
}
