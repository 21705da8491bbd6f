/** Debian's kernel for the lane's machine: from the package to an ELF file and the modules that the lane loads. */

import type { Cache } from "./cache.ts";
import { kernelElf } from "./decompress.ts";
import { LaneUnavailable } from "./errors.ts";
import { hostLists, type PackageLists, suiteLists } from "./package_lists.ts";
import { filter, run } from "./programs.ts";

/** The kernels that can be asked for, with the release of Debian that has each. */
export const KERNELS = { "6.1": "bookworm", "6.12": "trixie" } as const;

/** A kernel that can be asked for. */
export type KernelVersion = keyof typeof KERNELS;

/** A package without content that depends on the newest kernel. Its kernels have no drivers for real hardware. */
const METAPACKAGE = "linux-image-cloud-amd64";

/** In the order in which they are loaded. Of these a kernel may have some built in. */
const MODULES = [
  "virtio_ring",
  "virtio",
  "virtio_pci_legacy_dev",
  "virtio_pci_modern_dev",
  "virtio_pci",
  "virtio_console",
  "irqbypass",
  "ccp",
  "kvm",
  "kvm-amd",
] as const;

/**
 * Not loaded by the lane, but there for guests that boot the same kernel: drivers by which processes map grants, and those
 * of virtio devices over MMIO.
 */
const OTHER_MODULES = [
  ...["xen-gntdev", "xen-gntalloc", "virtio_mmio", "virtio_blk"],
  ...["failover", "net_failover", "virtio_net"],
] as const;

/** Part of the entry's name: what was made by another layout is not used. */
const LAYOUT = 4;

/** Comes after a module's signature (scripts/sign-file.c), which has a length field before it. */
const SIGNATURE_MAGIC = "~Module signature appended~\n", SIGNATURE_INFORMATION_BYTES = 12;

/** A kernel in the cache. */
export interface Kernel {
  /** The cache's entry: `vmlinux`, `vmlinuz`, `modules/NAME.ko`, `order` (the name of each that is loaded), `release`. */
  readonly directory: string;
  /** For QEMU's -kernel. */
  readonly image: string;
  /** The bzImage, as the package has it. */
  readonly bzImage: string;
  /** The modules' names, in the order of loading. */
  readonly modules: readonly string[];
}

/**
 * The kernel of the host's release of Debian, or of the one that has `version`.
 * @throws {LaneUnavailable} it cannot be had
 */
export async function kernel(cache: Cache, version?: KernelVersion): Promise<Kernel> {
  const name = `kernel-${version ?? "default"}-${LAYOUT}`;
  const directory = await cache.entry(name, (path) => prepare(path, version));
  return {
    directory,
    image: `${directory}/vmlinux`,
    bzImage: `${directory}/vmlinuz`,
    modules: Deno.readTextFileSync(`${directory}/order`).trim().split("\n"),
  };
}

async function prepare(directory: string, version: KernelVersion | undefined): Promise<void> {
  const scratch = `${directory}/scratch`;
  Deno.mkdirSync(scratch);
  const lists = await listsWith(version, scratch);
  const name = await lists.dependency(METAPACKAGE, /^linux-image-\d/);
  const release = name!.slice("linux-image-".length);
  console.error(`xenolith: preparing the lane, once: Linux ${release} from Debian's package ${name}`);
  await lists.download(name!, scratch);
  const file = [...Deno.readDirSync(scratch)].find((entry) => entry.name.endsWith(".deb"))!.name;
  const unpacked = `${scratch}/unpacked`;
  const { success, complaint } = await run("dpkg", ["-x", `${scratch}/${file}`, unpacked]);
  if (!success) throw new Error(`dpkg -x ${file}: ${complaint}`);

  const image = Deno.readFileSync(`${unpacked}/boot/vmlinuz-${release}`);
  Deno.writeFileSync(`${directory}/vmlinuz`, image);
  Deno.writeFileSync(`${directory}/vmlinux`, await kernelElf(image) ?? image);
  const order = await copyModules(unpacked, directory);
  Deno.writeTextFileSync(`${directory}/order`, order.join("\n") + "\n");
  Deno.writeTextFileSync(`${directory}/release`, release + "\n");
  Deno.removeSync(scratch, { recursive: true });
}

/** The host's own package lists where they have the kernel, so that nothing but the kernel is fetched. */
async function listsWith(version: KernelVersion | undefined, scratch: string): Promise<PackageLists> {
  const lists = hostLists();
  const name = await lists.dependency(METAPACKAGE, /^linux-image-\d/);
  if (name !== undefined && (version === undefined || name.startsWith(`linux-image-${version}.`))) return lists;
  if (version === undefined) {
    throw new LaneUnavailable(
      `the lane needs Debian's package ${METAPACKAGE}, which apt does not know: run apt-get update`,
    );
  }
  const others = await suiteLists(KERNELS[version], scratch);
  const other = await others.dependency(METAPACKAGE, /^linux-image-\d/);
  if (other?.startsWith(`linux-image-${version}.`)) return others;
  throw new LaneUnavailable(
    `the lane finds no Linux ${version} in Debian ${KERNELS[version]}, only ${other ?? "none"}`,
  );
}

async function copyModules(unpacked: string, directory: string): Promise<string[]> {
  const files = new Map(walk(unpacked).map((path) => [/([^/]+)\.ko(\.xz|\.zst)?$/.exec(path)?.[1], path]));
  Deno.mkdirSync(`${directory}/modules`);
  const order: string[] = [];
  for (const name of [...MODULES, ...OTHER_MODULES]) {
    const path = files.get(name);
    if (path === undefined) continue;
    const bytes = Deno.readFileSync(path);
    const module = path.endsWith(".xz") ? await filter("busybox", ["xzcat"], bytes) : bytes;
    if (module === undefined) throw new Error(`${path} cannot be unpacked`);
    Deno.writeFileSync(`${directory}/modules/${name}.ko`, withoutSignature(module));
    if ((MODULES as readonly string[]).includes(name)) order.push(name);
  }
  if (!order.includes("kvm-amd")) throw new LaneUnavailable(`Debian's kernel has no module kvm-amd`);
  return order;
}

/** Without its signature a module loads faster: checking one takes an emulated second. */
function withoutSignature(module: Uint8Array): Uint8Array {
  const end = module.length - SIGNATURE_MAGIC.length;
  if (new TextDecoder().decode(module.subarray(end)) !== SIGNATURE_MAGIC) return module;
  const information = end - SIGNATURE_INFORMATION_BYTES;
  const signatureBytes = new DataView(module.buffer, module.byteOffset + end - 4, 4).getUint32(0); // big endian
  return module.subarray(0, information - signatureBytes);
}

function walk(directory: string): string[] {
  return [...Deno.readDirSync(directory)].flatMap(({ name, isDirectory }) =>
    isDirectory ? walk(`${directory}/${name}`) : [`${directory}/${name}`]
  );
}
