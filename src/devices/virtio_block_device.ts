/** A virtio block device: what becomes of a request, from the queue to the file and back. */

import type { DeviceModelHost } from "../dm/host.ts";
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from "../linux/calls.ts";
import { EOPNOTSUPP } from "../linux/errno.ts";
import { POLLIN } from "../linux/poll.ts";
import { awaitEvent } from "../linux/event_descriptor.ts";
import { type FileIo, openFileIo } from "../linux/io_ring.ts";
import { IOVEC_WORDS, setRange } from "../linux/iovec.ts";
import { bytesAddress } from "../linux/mapping.ts";
import { DEVICE_ID } from "../virtio/abi.ts";
import {
  BLOCK_CONFIGURATION as CONFIGURATION,
  BLOCK_FEATURE,
  BLOCK_ID_BYTES,
  BLOCK_RANGE,
  BLOCK_RANGE_UNMAP,
  BLOCK_REQUEST,
  BLOCK_STATUS,
  BLOCK_TYPE,
  SECTOR_BYTES,
} from "../virtio/block_abi.ts";
import { ChainBytes } from "../virtio/chain_bytes.ts";
import type { VirtioDevice, VirtioTransport } from "../virtio/device.ts";
import { Chain } from "../virtio/chain.ts";
import { type Virtqueue } from "../virtio/virtqueue.ts";
import type { Disk } from "./disk_file.ts";

/** Requests that are under way at a time, of all queues; a driver may cut each in as many buffers as a queue has entries. */
const REQUESTS = 128, QUEUE_SIZE = 256;
/** And they may lie in so many places of this process. */
const MOST_RANGES = 512;

/** The largest range of a discard or of zeroes, in sectors: 1 GiB. One range a request. */
const MOST_SECTORS = 2 ** 21;

/** Where a file system cannot make zeroes, this is written, as often as there are ranges at a time. */
const ZEROES = new Uint8Array(2 ** 16), ZEROES_ADDRESS = Number(bytesAddress(ZEROES));

/** What a request does when its input or output is done. */
interface Request {
  readonly chain: Chain;
  queue: number;
  /** What its input or output has to come to; bytes that are written to the guest beside the status. */
  expected: number;
  written: number;
  /** fallocate is under way. */
  isAllocating: boolean;
  /** Of a range of zeroes: what is still to be written if the file system cannot make it. */
  zeroesOffset: number;
  zeroesBytes: number;
  /** It is to be stable before the driver hears of it. */
  isVolatile: boolean;
  /** The driver has taken its queue away meanwhile: it is nobody's. */
  isForgotten: boolean;
  /** struct iovec. */
  readonly ranges: Uint32Array;
  readonly rangesAddress: number;
}

/** A disk behind queues. */
export class VirtioBlock implements VirtioDevice {
  readonly id = DEVICE_ID.BLOCK;
  readonly features: readonly number[];
  readonly queueSize = QUEUE_SIZE;
  readonly configuration = new Uint8Array(CONFIGURATION.bytes);
  transport!: VirtioTransport;
  readonly #io: FileIo;
  readonly #bytes: ChainBytes;
  readonly #requests: Request[];
  /** Numbers of requests that are not under way. */
  readonly #free: Uint8Array;
  #freeCount = REQUESTS;
  readonly #idBytes = new Uint8Array(BLOCK_ID_BYTES);
  /** The driver knows no flush: what it writes has to be stable as soon as it is done (5.2.6.2). */
  #isWriteThrough = false;
  readonly #completed = (request: number, result: number) => this.#complete(request, result);

  constructor(host: DeviceModelHost, private readonly disk: Disk, readonly queues: number, ring: boolean) {
    const { SEG_MAX, RO, BLK_SIZE, FLUSH, MQ, DISCARD, WRITE_ZEROES } = BLOCK_FEATURE;
    const writing = disk.readOnly ? [RO] : [DISCARD, WRITE_ZEROES];
    this.features = [SEG_MAX, BLK_SIZE, FLUSH, ...writing, ...queues > 1 ? [MQ] : []];
    this.#bytes = new ChainBytes(host.memory);
    this.#io = openFileIo(REQUESTS, ring);
    this.#requests = Array.from({ length: REQUESTS }, newRequest);
    this.#free = Uint8Array.from(this.#requests, (_, number) => number);
    this.#configure();
    new TextEncoder().encodeInto(disk.file.subject.split("/").at(-1)!.slice(0, BLOCK_ID_BYTES), this.#idBytes);
    host.watch({
      descriptor: this.#io.event.number,
      interest: () => POLLIN,
      ready: (events) => {
        if (events !== 0) awaitEvent(this.#io.event.number);
        this.#io.drain(this.#completed);
        this.#serve(); // there may be room for more again
      },
      pending: () => this.#io.hasCompleted,
    });
    // The guest's memory goes when the model has ended: nothing may write to it after that.
    host.beforeStop(() => {
      this.#finish();
      this.#close();
    });
    host.beforeRelief(() => {
      this.#finish();
      for (const queue of this.transport.queues) this.transport.usedBuffer(queue);
    });
    host.whenRelieved(() => this.#close());
  }

  start(features: ReadonlySet<number>): void {
    this.#isWriteThrough = !features.has(BLOCK_FEATURE.FLUSH);
    this.#serve();
  }

  notified(index: number): void {
    const queue = this.transport.queues[index];
    queue.setNotifications(false);
    do {
      while (this.#freeCount > 0 && this.#take(queue, index));
      queue.setNotifications(true);
    } while (this.#freeCount > 0 && queue.hasRequest);
    this.#io.submit();
    if (queue.isBroken) return this.transport.fail();
    this.transport.usedBuffer(queue);
  }

  hasWork(queue: number): boolean {
    return this.#freeCount > 0 && this.transport.queues[queue].hasRequest;
  }

  forget(queue: number): void {
    for (const request of this.#requests) if (request.queue === queue) request.isForgotten = true;
    this.#finish();
  }

  reset(): void {
    for (const request of this.#requests) request.isForgotten = true;
    this.#finish();
  }

  #serve(): void {
    const { transport } = this;
    if (transport.isLive) { for (const queue of transport.queues) queue.publish(); // before the next requests go to the kernel
     }
    for (let queue = 0; queue < this.queues && transport.isLive; queue++) this.notified(queue);
    this.#io.submit(); // of requests under way there may be more to be done
  }

  #close(): void {
    this.#io[Symbol.dispose]();
    this.disk.file[Symbol.dispose]();
  }

  #finish(): void {
    while (this.#io.pending > 0) {
      this.#io.submit();
      this.#io.wait();
      this.#io.drain(this.#completed);
    }
  }

  /** @returns false there is no request */
  #take(queue: Virtqueue, index: number): boolean {
    const number = this.#free[this.#freeCount - 1], request = this.#requests[number];
    if (!queue.take(request.chain)) return false;
    this.#freeCount--;
    request.queue = index;
    request.expected = request.written = request.zeroesBytes = 0;
    request.isAllocating = request.isVolatile = request.isForgotten = false;
    const status = this.#begin(number, request);
    if (status >= 0) this.#end(number, status);
    return true;
  }

  /** @returns the request's status, or -1: it is under way */
  #begin(number: number, request: Request): number {
    const { chain } = request, at = this.#bytes.find(chain, 0, BLOCK_REQUEST.bytes), { view } = this.#bytes;
    if (chain.writableBytes === 0 || at < 0) return BLOCK_STATUS.IOERR;
    const sector = sectorAt(view, at + BLOCK_REQUEST.sector);
    switch (view.getUint32(at + BLOCK_REQUEST.type, true)) {
      case BLOCK_TYPE.IN:
        return this.#transfer(number, request, sector, chain.writableBytes - 1, true);
      case BLOCK_TYPE.OUT:
        if (this.disk.readOnly) return BLOCK_STATUS.IOERR;
        return this.#transfer(number, request, sector, chain.readableBytes - BLOCK_REQUEST.bytes, false);
      case BLOCK_TYPE.FLUSH:
        this.#io.sync(number, this.disk.file.number);
        return -1;
      case BLOCK_TYPE.GET_ID:
        request.written = Math.min(BLOCK_ID_BYTES, chain.writableBytes - 1);
        return this.#bytes.write(chain, this.#idBytes, 0, request.written) ? BLOCK_STATUS.OK : BLOCK_STATUS.IOERR;
      case BLOCK_TYPE.DISCARD:
        return this.#changeRange(number, request, FALLOC_FL_PUNCH_HOLE);
      case BLOCK_TYPE.WRITE_ZEROES:
        return this.#changeRange(number, request, FALLOC_FL_ZERO_RANGE);
      default:
        return BLOCK_STATUS.UNSUPP;
    }
  }

  #transfer(number: number, request: Request, sector: number, sizeBytes: number, read: boolean): number {
    const { chain, ranges, rangesAddress } = request;
    if (!this.#isInside(sector, sizeBytes)) return BLOCK_STATUS.IOERR;
    if (sizeBytes === 0) return BLOCK_STATUS.OK;
    const count = this.#bytes.locate(chain, read, read ? 0 : BLOCK_REQUEST.bytes, sizeBytes, ranges);
    if (count < 0) return BLOCK_STATUS.IOERR;
    request.expected = sizeBytes;
    const offset = sector * SECTOR_BYTES, { number: file } = this.disk.file;
    if (read) {
      request.written = sizeBytes;
      this.#io.readv(number, file, rangesAddress, count, offset);
    } else {
      request.isVolatile = this.#isWriteThrough;
      this.#io.writev(number, file, rangesAddress, count, offset);
    }
    return -1;
  }

  /** @param mode of fallocate */
  #changeRange(number: number, request: Request, mode: number): number {
    const { chain } = request;
    if (this.disk.readOnly || chain.readableBytes !== BLOCK_REQUEST.bytes + BLOCK_RANGE.bytes) {
      return BLOCK_STATUS.IOERR;
    }
    const at = this.#bytes.find(chain, BLOCK_REQUEST.bytes, BLOCK_RANGE.bytes), { view } = this.#bytes;
    if (at < 0) return BLOCK_STATUS.IOERR;
    const sector = sectorAt(view, at + BLOCK_RANGE.sector), flags = view.getUint32(at + BLOCK_RANGE.flags, true);
    const sectors = view.getUint32(at + BLOCK_RANGE.num_sectors, true);
    const isDiscard = mode === FALLOC_FL_PUNCH_HOLE;
    if ((flags & ~(isDiscard ? 0 : BLOCK_RANGE_UNMAP)) !== 0) return BLOCK_STATUS.UNSUPP;
    if (sectors > MOST_SECTORS || !this.#isInside(sector, sectors * SECTOR_BYTES)) return BLOCK_STATUS.IOERR;
    if (sectors === 0) return BLOCK_STATUS.OK;
    // What may be unmapped is: it reads as zeroes all the same.
    const how = isDiscard || (flags & BLOCK_RANGE_UNMAP) !== 0 ? FALLOC_FL_PUNCH_HOLE : mode;
    const offset = sector * SECTOR_BYTES, sizeBytes = sectors * SECTOR_BYTES;
    request.isAllocating = true;
    request.isVolatile = this.#isWriteThrough;
    if (!isDiscard) {
      request.zeroesOffset = offset;
      request.zeroesBytes = sizeBytes;
    }
    this.#io.allocate(number, this.disk.file.number, how | FALLOC_FL_KEEP_SIZE, offset, sizeBytes);
    return -1;
  }

  /** The next part of a range of zeroes. */
  #writeZeroes(number: number, request: Request): void {
    const { ranges, rangesAddress, zeroesOffset } = request;
    let count = 0, sizeBytes = 0;
    while (count < MOST_RANGES && sizeBytes < request.zeroesBytes) {
      const bytes = Math.min(ZEROES.length, request.zeroesBytes - sizeBytes);
      setRange(ranges, count++, ZEROES_ADDRESS, bytes);
      sizeBytes += bytes;
    }
    request.isAllocating = false;
    request.expected = sizeBytes;
    request.zeroesOffset += sizeBytes;
    request.zeroesBytes -= sizeBytes;
    this.#io.writev(number, this.disk.file.number, rangesAddress, count, zeroesOffset);
  }

  #isInside(sector: number, sizeBytes: number): boolean {
    return sizeBytes >= 0 && (sizeBytes & (SECTOR_BYTES - 1)) === 0 &&
      sector + sizeBytes / SECTOR_BYTES <= this.disk.sectors;
  }

  #complete(number: number, result: number): void {
    const request = this.#requests[number], { isAllocating } = request;
    // A file system that makes neither holes nor zeroes: a discard is but a hint, and zeroes can be written.
    const cannot = isAllocating && result === -EOPNOTSUPP, isGood = cannot || result === request.expected;
    if (request.isForgotten) this.#free[this.#freeCount++] = number;
    else if (!isGood) this.#end(number, BLOCK_STATUS.IOERR);
    else if ((cannot || !isAllocating) && request.zeroesBytes > 0) this.#writeZeroes(number, request);
    else if (request.isVolatile) this.#sync(number, request);
    else this.#end(number, BLOCK_STATUS.OK);
  }

  #sync(number: number, request: Request): void {
    request.expected = 0;
    request.isAllocating = request.isVolatile = false;
    this.#io.sync(number, this.disk.file.number);
  }

  /** The status is the last byte that the device writes; a chain without one cannot be answered. */
  #end(number: number, status: number): void {
    const { chain, queue, written } = this.#requests[number], virtqueue = this.transport.queues[queue];
    const isAnswered = this.#bytes.writeLast(chain, status);
    virtqueue.give(chain.head, isAnswered ? (status === BLOCK_STATUS.OK ? written : 0) + 1 : 0);
    this.#free[this.#freeCount++] = number;
  }

  #configure(): void {
    const view = new DataView(this.configuration.buffer), { sectors, readOnly } = this.disk;
    view.setBigUint64(CONFIGURATION.capacity, BigInt(sectors), true);
    view.setUint32(CONFIGURATION.seg_max, QUEUE_SIZE - 2, true);
    view.setUint32(CONFIGURATION.blk_size, SECTOR_BYTES, true);
    view.setUint16(CONFIGURATION.num_queues, this.queues, true);
    if (readOnly) return;
    view.setUint32(CONFIGURATION.max_discard_sectors, MOST_SECTORS, true);
    view.setUint32(CONFIGURATION.max_discard_seg, 1, true);
    view.setUint32(CONFIGURATION.discard_sector_alignment, 1, true);
    view.setUint32(CONFIGURATION.max_write_zeroes_sectors, MOST_SECTORS, true);
    view.setUint32(CONFIGURATION.max_write_zeroes_seg, 1, true);
    view.setUint8(CONFIGURATION.write_zeroes_may_unmap, 1);
  }
}

/** 64 bits; what has more than 53 is behind every disk's end. */
function sectorAt(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

function newRequest(): Request {
  const ranges = new Uint32Array(MOST_RANGES * IOVEC_WORDS);
  return {
    chain: new Chain(QUEUE_SIZE),
    queue: 0,
    expected: 0,
    written: 0,
    isAllocating: false,
    zeroesOffset: 0,
    zeroesBytes: 0,
    isVolatile: false,
    isForgotten: false,
    ranges,
    rangesAddress: Number(bytesAddress(new Uint8Array(ranges.buffer))),
  };
}
