/** src/virtio's numbers against the kernel's headers: every table that its files export. */

import { assertEquals, assertLess } from "@std/assert";
import * as abi from "../../src/virtio/abi.ts";
import * as block from "../../src/virtio/block_abi.ts";
import * as net from "../../src/virtio/net_abi.ts";
import { VRING_ADDRESS, VRING_STATE } from "../../src/virtio/vhost_user_abi.ts";
import * as console from "../../src/virtio/console_abi.ts";
import { evaluate, testUnless, whyNoCompiler } from "./c_program.ts";

const HEADERS = [
  "stddef.h",
  "linux/virtio_config.h",
  "linux/virtio_ids.h",
  "linux/virtio_mmio.h",
  "linux/virtio_ring.h",
  "linux/virtio_blk.h",
  "linux/virtio_net.h",
  "linux/if_ether.h",
  "linux/vhost_types.h",
  "linux/virtio_console.h",
];
const missing = await whyNoCompiler(HEADERS, "gcc or the kernel headers");

type Rule = (key: string) => string;

const macro = (prefix: string, renamed: Record<string, string> = {}): Rule => (key) => prefix + (renamed[key] ?? key);
const layout = (structure: string): Rule => (key) =>
  key === "bytes" ? `sizeof(struct ${structure})` : `offsetof(struct ${structure}, ${key})`;
const ring = (structure: string, element: string): Rule => (key) => {
  if (key === "align") return `${structure.toUpperCase()}_ALIGN_SIZE`;
  return key === "entry" ? `sizeof(${element})` : `offsetof(struct ${structure}, ${key})`;
};

/** The registers that the specification calls after driver and device, and Linux after the rings. */
const RINGS = { MAGIC: "MAGIC_VALUE" } as Record<string, string>;
for (const half of ["LOW", "HIGH"]) {
  RINGS[`QUEUE_DRIVER_${half}`] = `QUEUE_AVAIL_${half}`;
  RINGS[`QUEUE_DEVICE_${half}`] = `QUEUE_USED_${half}`;
}

/** The C side of each exported table, by its keys. */
const TABLES: Record<string, Rule> = {
  DEVICE_ID: macro("VIRTIO_ID_", { ENTROPY: "RNG" }),
  MMIO: macro("VIRTIO_MMIO_", RINGS),
  STATUS: macro("VIRTIO_CONFIG_S_"),
  INTERRUPT: macro("VIRTIO_MMIO_INT_", { USED_BUFFER: "VRING", CONFIGURATION: "CONFIG" }),
  FEATURE: (key) => key.startsWith("RING") ? `VIRTIO_${key.replace("RING_", "RING_F_")}` : `VIRTIO_F_${key}`,
  DESCRIPTOR: layout("vring_desc"),
  DESCRIPTOR_FLAG: macro("VRING_DESC_F_"),
  AVAILABLE: ring("vring_avail", "__virtio16"),
  USED: ring("vring_used", "struct vring_used_elem"),
  BLOCK_FEATURE: macro("VIRTIO_BLK_F_"),
  BLOCK_CONFIGURATION: (key) => {
    if (key === "bytes") return "offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 4"; // with unused1
    return `offsetof(struct virtio_blk_config, ${key})`;
  },
  BLOCK_REQUEST: layout("virtio_blk_outhdr"),
  BLOCK_TYPE: macro("VIRTIO_BLK_T_"),
  BLOCK_STATUS: macro("VIRTIO_BLK_S_"),
  VRING_STATE: layout("vhost_vring_state"),
  VRING_ADDRESS: (key) => {
    const rings: Record<string, string> = { descriptors: "desc", used: "used", available: "avail" };
    const field = key === "log" ? "log_guest_addr" : key in rings ? `${rings[key]}_user_addr` : key;
    return layout("vhost_vring_addr")(field);
  },
  BLOCK_RANGE: layout("virtio_blk_discard_write_zeroes"),
  NET_FEATURE: macro("VIRTIO_NET_F_"),
  NET_CONFIGURATION: (key) => {
    if (key === "bytes") return "offsetof(struct virtio_net_config, speed)"; // which comes with another feature
    return `offsetof(struct virtio_net_config, ${key})`;
  },
  NET_HEADER: layout("virtio_net_hdr_v1"),
  CONSOLE_FEATURE: macro("VIRTIO_CONSOLE_F_"),
  CONSOLE_CONFIGURATION: layout("virtio_console_config"),
  CONSOLE_CONTROL: layout("virtio_console_control"),
  CONSOLE_EVENT: macro("VIRTIO_CONSOLE_"),
};

/** The C side of each exported number. */
const NUMBERS: Record<string, string> = {
  AVAILABLE_NO_INTERRUPT: "VRING_AVAIL_F_NO_INTERRUPT",
  USED_NO_NOTIFY: "VRING_USED_F_NO_NOTIFY",
  BLOCK_ID_BYTES: "VIRTIO_BLK_ID_BYTES",
  BLOCK_RANGE_UNMAP: "VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP",
  NET_STATUS_LINK_UP: "VIRTIO_NET_S_LINK_UP",
  NET_LEGACY_HEADER_BYTES: "sizeof(struct virtio_net_hdr)",
  MAC_BYTES: "ETH_ALEN",
  ETHERNET_HEADER_BYTES: "ETH_HLEN",
  ETHERNET_MTU: "ETH_DATA_LEN",
  MOST_FRAME_BYTES: "ETH_FRAME_LEN + 4", // VLAN_HLEN, which is the kernel's own
};

/** What only the specification has; of vhost-user, which shares two structures with the kernel's vhost, all but those. */
const NO_HEADERS = [
  "MAGIC",
  "VERSION",
  "MMIO_BYTES",
  "MAX_QUEUE_SIZE",
  "SECTOR_BYTES",
  "MOST_BLOCK_QUEUES",
  "NET_QUEUE",
  "CONSOLE_QUEUE",
  "CONSOLE_RESIZE",
];

testUnless(missing, "every number of src/virtio is that of the kernel's headers", async () => {
  const exports = Object.entries({ ...abi, ...block, ...net, ...console, VRING_ADDRESS, VRING_STATE }).filter((
    [name],
  ) => !NO_HEADERS.includes(name));
  assertLess(18, exports.length);
  const expressions: Record<string, string> = {}, found: Record<string, number> = {};
  for (const [name, value] of exports) {
    if (typeof value === "number") {
      expressions[name] = NUMBERS[name];
      found[name] = value;
      continue;
    }
    for (const [key, number] of Object.entries<number>(value)) {
      expressions[`${name}.${key}`] = TABLES[name](key);
      found[`${name}.${key}`] = number;
    }
  }
  assertEquals(found, await evaluate(HEADERS, expressions));
});
