/**
 * Input and output of files that nobody waits for: io_uring, or where the kernel has none (or forbids it), the same calls
 * one by one. What is done is heard of by an eventfd. Nothing is allocated between requests.
 */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { EINTR } from "./errno.ts";
import { eventDescriptor, signalEvent } from "./event_descriptor.ts";
import { asBigInt, Mapping } from "./mapping.ts";

/** What becomes of a request: whoever asked has given it a number. @param result of the call, or -errno */
export type Completed = (request: number, result: number) => void;

/** Requests, which are carried out in any order. Ranges are an array of struct iovec at an address of this process. */
export interface FileIo extends Disposable {
  /** Readable when something is done. */
  readonly event: Descriptor;
  /** Requests that are under way. */
  readonly pending: number;
  /** Whether any of them is done: what whoever waits awake looks at. */
  readonly hasCompleted: boolean;
  readv(request: number, file: number, ranges: number, count: number, offset: number): void;
  writev(request: number, file: number, ranges: number, count: number, offset: number): void;
  /** fdatasync. */
  sync(request: number, file: number): void;
  /** fallocate. */
  allocate(request: number, file: number, mode: number, offset: number, sizeBytes: number): void;
  /** Has the kernel see what was asked for since the last time. */
  submit(): void;
  /** Calls `completed` for all that is done. */
  drain(completed: Completed): void;
  /** Waits until something is done. */
  wait(): void;
}

/**
 * @param requests that are under way at a time, at most: a power of two
 * @param ring whether io_uring may be used
 */
export function openFileIo(requests: number, ring = true): FileIo {
  return (ring ? IoRing.open(requests) : undefined) ?? new DirectIo(requests);
}

/** struct io_uring_params: its size, and where the kernel says what it has and where the parts of the rings are. */
const PARAMS_BYTES = 120, PARAMS_FEATURES = 20, PARAMS_SQ = 40, PARAMS_CQ = 80;
const SQ_OFFSET = { head: 0, tail: 4, mask: 8, array: 24 } as const,
  CQ_OFFSET = { head: 0, tail: 4, mask: 8, cqes: 20 } as const;
const IORING_FEAT_SINGLE_MMAP = 1, IORING_OFF_SQES = 0x1000_0000;
/** struct io_uring_sqe and io_uring_cqe, in words. */
const SQE_WORDS = 16, CQE_WORDS = 4;
const IORING_OP = { READV: 1, WRITEV: 2, FSYNC: 3, FALLOCATE: 17 } as const;
const IORING_FSYNC_DATASYNC = 1, IORING_ENTER_GETEVENTS = 1, IORING_REGISTER_EVENTFD = 4;

/** An io_uring. */
class IoRing implements FileIo {
  readonly event: Descriptor;
  #pending = 0;
  #unsubmitted = 0;
  /** Where the next request goes. */
  #tail = 0;
  readonly #ring: Int32Array;
  readonly #entries: Int32Array;
  readonly #mask: number;
  readonly #completionMask: number;

  private constructor(
    private readonly held: DisposableStack,
    private readonly descriptor: Descriptor,
    ring: Mapping,
    entries: Mapping,
    private readonly at: {
      sqHead: number;
      sqTail: number;
      array: number;
      cqHead: number;
      cqTail: number;
      cqes: number;
    },
    masks: { sq: number; cq: number },
    event: Descriptor,
  ) {
    this.event = event;
    this.#ring = new Int32Array(ring.buffer);
    this.#entries = new Int32Array(entries.buffer);
    this.#mask = this.#ring[masks.sq / 4];
    this.#completionMask = this.#ring[masks.cq / 4];
  }

  /** @returns undefined there is none to be had */
  static open(requests: number): IoRing | undefined {
    using stack = new DisposableStack();
    const parameters = new DataView(new ArrayBuffer(PARAMS_BYTES)),
      word = (at: number) => parameters.getUint32(at, true);
    const number = calls.ioUringSetup(requests, parameters);
    if (number < 0) return undefined;
    const descriptor = stack.use(new Descriptor(number, "io_uring"));
    if ((word(PARAMS_FEATURES) & IORING_FEAT_SINGLE_MMAP) === 0) return undefined; // Linux before 5.4
    const array = word(PARAMS_SQ + SQ_OFFSET.array), cqes = word(PARAMS_CQ + CQ_OFFSET.cqes);
    const bytes = Math.max(array + word(0) * 4, cqes + word(4) * CQE_WORDS * 4);
    const ring = stack.use(Mapping.file(descriptor, bytes));
    const entries = stack.use(Mapping.file(descriptor, word(0) * SQE_WORDS * 4, IORING_OFF_SQES));
    const event = stack.use(eventDescriptor("completed requests"));
    if (calls.ioUringRegister(number, IORING_REGISTER_EVENTFD, Int32Array.of(event.number), 1) < 0) return undefined;
    const at = {
      sqHead: word(PARAMS_SQ + SQ_OFFSET.head),
      sqTail: word(PARAMS_SQ + SQ_OFFSET.tail),
      array,
      cqHead: word(PARAMS_CQ + CQ_OFFSET.head),
      cqTail: word(PARAMS_CQ + CQ_OFFSET.tail),
      cqes,
    };
    const masks = { sq: word(PARAMS_SQ + SQ_OFFSET.mask), cq: word(PARAMS_CQ + CQ_OFFSET.mask) };
    return new IoRing(stack.move(), descriptor, ring, entries, at, masks, event);
  }

  get pending(): number {
    return this.#pending;
  }

  get hasCompleted(): boolean {
    return this.#ring[this.at.cqHead / 4] !== Atomics.load(this.#ring, this.at.cqTail / 4);
  }

  readv(request: number, file: number, ranges: number, count: number, offset: number): void {
    this.#push(IORING_OP.READV, request, file, offset, ranges, count, 0);
  }

  writev(request: number, file: number, ranges: number, count: number, offset: number): void {
    this.#push(IORING_OP.WRITEV, request, file, offset, ranges, count, 0);
  }

  sync(request: number, file: number): void {
    this.#push(IORING_OP.FSYNC, request, file, 0, 0, 0, IORING_FSYNC_DATASYNC);
  }

  allocate(request: number, file: number, mode: number, offset: number, sizeBytes: number): void {
    this.#push(IORING_OP.FALLOCATE, request, file, offset, sizeBytes, mode, 0);
  }

  submit(): void {
    if (this.#unsubmitted > 0) Atomics.store(this.#ring, this.at.sqTail / 4, this.#tail);
    while (this.#unsubmitted > 0) {
      const taken = calls.ioUringEnter(this.descriptor.number, this.#unsubmitted, 0, 0);
      if (taken > 0) this.#unsubmitted -= taken;
      else if (taken !== -EINTR) this.wait(); // the kernel has no room: what is done makes some
    }
  }

  drain(completed: Completed): void {
    const ring = this.#ring, { cqHead, cqTail, cqes } = this.at;
    let head = ring[cqHead / 4];
    for (let tail = Atomics.load(ring, cqTail / 4); head !== tail; tail = Atomics.load(ring, cqTail / 4)) {
      while (head !== tail) {
        const entry = cqes / 4 + (head & this.#completionMask) * CQE_WORDS;
        head = (head + 1) | 0;
        this.#pending--;
        completed(ring[entry], ring[entry + 2]);
      }
      Atomics.store(ring, cqHead / 4, head);
    }
  }

  wait(): void {
    calls.ioUringEnter(this.descriptor.number, 0, 1, IORING_ENTER_GETEVENTS);
  }

  /** There is room: the queue is as long as there are requests. */
  #push(
    op: number,
    request: number,
    file: number,
    offset: number,
    address: number,
    length: number,
    flags: number,
  ): void {
    // What is not set here is 0 from the beginning, and the kernel does not write to it.
    const entries = this.#entries, index = this.#tail & this.#mask, at = index * SQE_WORDS;
    entries[at] = op;
    entries[at + 1] = file;
    entries[at + 2] = offset | 0;
    entries[at + 3] = offset / 2 ** 32;
    entries[at + 4] = address | 0;
    entries[at + 5] = address / 2 ** 32;
    entries[at + 6] = length;
    entries[at + 7] = flags;
    entries[at + 8] = request;
    this.#ring[this.at.array / 4 + index] = index;
    this.#tail = (this.#tail + 1) | 0;
    this.#pending++;
    this.#unsubmitted++;
  }

  [Symbol.dispose](): void {
    this.held.dispose();
  }
}

/** Places for asBigInt. */
const RANGES = 0, COUNT = 1, FILE_OFFSET = 2;

/** Each request as it is asked for; then it is done. */
class DirectIo implements FileIo {
  readonly event = eventDescriptor("completed requests");
  /** A ring of request and result. */
  readonly #done: Int32Array;
  #first = 0;
  #count = 0;

  constructor(private readonly requests: number) {
    this.#done = new Int32Array(requests * 2);
  }

  get pending(): number {
    return this.#count;
  }

  get hasCompleted(): boolean {
    return this.#count > 0;
  }

  readv(request: number, file: number, ranges: number, count: number, offset: number): void {
    const at = asBigInt(RANGES, ranges);
    this.#complete(request, calls.preadv(file, at, asBigInt(COUNT, count), asBigInt(FILE_OFFSET, offset)));
  }

  writev(request: number, file: number, ranges: number, count: number, offset: number): void {
    const at = asBigInt(RANGES, ranges);
    this.#complete(request, calls.pwritev(file, at, asBigInt(COUNT, count), asBigInt(FILE_OFFSET, offset)));
  }

  sync(request: number, file: number): void {
    this.#complete(request, calls.fdatasync(file));
  }

  allocate(request: number, file: number, mode: number, offset: number, sizeBytes: number): void {
    this.#complete(request, calls.fallocate(file, mode, asBigInt(FILE_OFFSET, offset), asBigInt(COUNT, sizeBytes)));
  }

  submit(): void {
    if (this.#count > 0) signalEvent(this.event.number);
  }

  drain(completed: Completed): void {
    while (this.#count > 0) {
      const at = this.#first * 2;
      this.#first = (this.#first + 1) % this.requests;
      this.#count--;
      completed(this.#done[at], this.#done[at + 1]);
    }
  }

  wait(): void {}

  [Symbol.dispose](): void {
    this.event[Symbol.dispose]();
  }

  #complete(request: number, result: number): void {
    const at = (this.#first + this.#count++) % this.requests * 2;
    this.#done[at] = request;
    this.#done[at + 1] = result;
  }
}
