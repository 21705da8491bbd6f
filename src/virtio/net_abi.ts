/** Numbers of virtio network devices (virtio 1.2, 5.1), and of the frames that they carry. Data and nothing else. */

/** Queues of a device with one pair of them. */
export const NET_QUEUE = { RECEIVE: 0, TRANSMIT: 1 } as const;

/** Features, by the number of their bit. */
export const NET_FEATURE = { MTU: 3, MAC: 5, STATUS: 16 } as const;

/** struct virtio_net_config, as far as these features go. */
export const NET_CONFIGURATION = { mac: 0, status: 6, max_virtqueue_pairs: 8, mtu: 10, bytes: 12 } as const;

/** Of the configuration's status. */
export const NET_STATUS_LINK_UP = 1;

/** struct virtio_net_hdr, before each frame; legacy drivers that know no mergeable buffers have it without num_buffers. */
export const NET_HEADER = { num_buffers: 10, bytes: 12 } as const;
export const NET_LEGACY_HEADER_BYTES = 10;

export const MAC_BYTES = 6;
/** Of a frame: destination, source, type. */
export const ETHERNET_HEADER_BYTES = 14;
/** The most that a frame carries, unless both ends have agreed on more (IEEE 802.3). */
export const ETHERNET_MTU = 1500;
/** A frame with a VLAN's tag (IEEE 802.1Q). */
export const MOST_FRAME_BYTES = 1518;
