/** Numbers of virtio block devices (virtio 1.2, 5.2). Data and nothing else. */

export const SECTOR_BYTES = 512;

/** Features, by the number of their bit. */
export const BLOCK_FEATURE = {
  SEG_MAX: 2,
  RO: 5,
  BLK_SIZE: 6,
  FLUSH: 9,
  TOPOLOGY: 10,
  CONFIG_WCE: 11,
  MQ: 12,
  DISCARD: 13,
  WRITE_ZEROES: 14,
} as const;

/** struct virtio_blk_config. */
export const BLOCK_CONFIGURATION = {
  capacity: 0,
  seg_max: 12,
  blk_size: 20,
  physical_block_exp: 24,
  wce: 32,
  num_queues: 34,
  max_discard_sectors: 36,
  max_discard_seg: 40,
  discard_sector_alignment: 44,
  max_write_zeroes_sectors: 48,
  max_write_zeroes_seg: 52,
  write_zeroes_may_unmap: 56,
  bytes: 60,
} as const;

/** struct virtio_blk_req: what comes before the data; one byte of status comes after it. */
export const BLOCK_REQUEST = { type: 0, sector: 8, bytes: 16 } as const;
export const BLOCK_TYPE = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
export const BLOCK_STATUS = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;
export const BLOCK_ID_BYTES = 20;

/** struct virtio_blk_discard_write_zeroes. */
export const BLOCK_RANGE = { sector: 0, num_sectors: 8, flags: 12, bytes: 16 } as const;
export const BLOCK_RANGE_UNMAP = 1;

/** More than anybody needs, and as many as are watched at a time. */
export const MOST_BLOCK_QUEUES = 16;
