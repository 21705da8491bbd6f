/** userfaultfd: accesses to memory that is not there wait until somebody has put something there. */

import * as calls from "./calls.ts";
import { Descriptor } from "./descriptor.ts";
import { EINVAL, ENOENT } from "./errno.ts";
import { check, LinuxError } from "./linux_error.ts";
import { POLLIN, PollSet } from "./poll.ts";

const O_NONBLOCK = 0x800, O_CLOEXEC = 0x80000;
const USERFAULTFD_IOC_NEW = 0xaa00;
const UFFD_API = 0xaa;

/** Requests (linux/userfaultfd.h). */
const UFFDIO_API = 0xc018_aa3f,
  UFFDIO_REGISTER = 0xc020_aa00,
  UFFDIO_UNREGISTER = 0x8010_aa01,
  UFFDIO_WAKE = 0x8010_aa02,
  UFFDIO_ZEROPAGE = 0xc020_aa04,
  UFFDIO_WRITEPROTECT = 0xc018_aa06,
  UFFDIO_CONTINUE = 0xc020_aa07;

const UFFD_FEATURE_MISSING_SHMEM = 0x20,
  UFFD_FEATURE_THREAD_ID = 0x100,
  UFFD_FEATURE_MINOR_SHMEM = 0x400,
  UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 0x1000;

const UFFDIO_REGISTER_MODE_MISSING = 1, UFFDIO_REGISTER_MODE_WP = 2, UFFDIO_REGISTER_MODE_MINOR = 4;
const UFFDIO_CONTINUE_MODE_WP = 2, UFFDIO_WRITEPROTECT_MODE_WP = 1;

/** Without these there is no fault transport; with the last one, mappings can be read-only. */
const NEEDED = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_THREAD_ID;

/** struct uffd_msg: event, then of a page fault flags, address, thread. */
const UFFD_EVENT_PAGEFAULT = 0x12, MESSAGE_BYTES = 32, FLAGS = 8, ADDRESS = 16, THREAD = 24;
const UFFD_PAGEFAULT_FLAG_WP = 2, UFFD_PAGEFAULT_FLAG_MINOR = 4;

const MESSAGES = 32, MESSAGES_BYTES = BigInt(MESSAGES * MESSAGE_BYTES);

/** What a page fault's message says. The write flag is not here: the kernel may have faulted for somebody else. */
export interface PageFault {
  /** Where, in this process; of the page. */
  address: number;
  /** The page is there, and write-protected. */
  writeProtected: boolean;
  /** Memory has the page, and only the mapping has not. */
  minor: boolean;
  /** The thread that the kernel says it was: a hint. */
  thread: number;
}

/** Why this host has no userfaultfd for us: one line, with what would give it. */
export class UserfaultUnavailable extends Error {
  static {
    this.prototype.name = "UserfaultUnavailable";
  }
}

/**
 * One userfaultfd as one isolate sees it. Calls are made with numbers, and results are 0 or -errno: they run under locks,
 * where nothing may be allocated. Addresses and sizes are multiples of the page size.
 */
export class Userfaultfd {
  readonly #argument = new Uint32Array(8);
  readonly #messages = new Uint8Array(MESSAGES * MESSAGE_BYTES);
  readonly #view = new DataView(this.#messages.buffer);
  readonly #fault: PageFault = { address: 0, writeProtected: false, minor: false, thread: 0 };

  /** @param number of an open one; @param protects whether mappings can be read-only */
  constructor(readonly number: number, readonly protects: boolean) {}

  /**
   * Opens one for faults of the kernel, too: KVM's are.
   * @throws {UserfaultUnavailable} the kernel is too old, or does not permit it
   */
  static open(): { readonly descriptor: Descriptor; readonly protects: boolean } {
    for (const protects of [true, false]) {
      const descriptor = create(), api = new BigUint64Array(3);
      api[0] = BigInt(UFFD_API);
      api[1] = BigInt(NEEDED | (protects ? UFFD_FEATURE_WP_HUGETLBFS_SHMEM : 0));
      const result = calls.ioctl(descriptor.number, UFFDIO_API, api);
      if (result === 0) return { descriptor, protects: protects && continuesProtected(descriptor.number) };
      descriptor[Symbol.dispose]();
      if (result !== -EINVAL) check(result, "ioctl UFFDIO_API", "userfaultfd");
    }
    throw new UserfaultUnavailable("this kernel's userfaultfd has no minor faults of shared memory: Linux 5.14 has");
  }

  /** Has accesses to missing pages of a range wait from now on. */
  register(address: number, sizeBytes: number): number {
    const writeProtect = this.protects ? UFFDIO_REGISTER_MODE_WP : 0;
    const modes = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | writeProtect;
    return this.#call(UFFDIO_REGISTER, address, sizeBytes, modes);
  }

  /** The end of {@linkcode register}; whoever waits goes on. */
  unregister(address: number, sizeBytes: number): number {
    return this.#call(UFFDIO_UNREGISTER, address, sizeBytes, 0);
  }

  /** Has whoever waits in a range try again. */
  wake(address: number, sizeBytes: number): number {
    return this.#call(UFFDIO_WAKE, address, sizeBytes, 0);
  }

  /**
   * Maps pages that the range's file has, from the first on, and wakes; see {@linkcode done} when it fails.
   * @returns -EFAULT the file has no such page, -EEXIST it is mapped, -EAGAIN some were mapped
   */
  continue(address: number, sizeBytes: number, readOnly: boolean): number {
    return this.#call(UFFDIO_CONTINUE, address, sizeBytes, readOnly ? UFFDIO_CONTINUE_MODE_WP : 0);
  }

  /** Gives a file's missing pages memory, maps them, and wakes. @returns as {@linkcode continue} */
  zero(address: number, sizeBytes: number): number {
    return this.#call(UFFDIO_ZEROPAGE, address, sizeBytes, 0);
  }

  /** Bytes that the last {@linkcode continue} or {@linkcode zero} mapped that returned -EAGAIN. */
  get done(): number {
    return this.#argument[6] + this.#argument[7] * 2 ** 32;
  }

  /** Has writes to a range wait, or no longer; then it wakes. */
  protect(address: number, sizeBytes: number, on: boolean): number {
    return this.#call(UFFDIO_WRITEPROTECT, address, sizeBytes, on ? UFFDIO_WRITEPROTECT_MODE_WP : 0);
  }

  /** Calls `deliver` with each fault that has come; the object is used again. @returns how many */
  receive(deliver: (fault: PageFault) => void): number {
    let count = 0;
    for (;;) {
      const bytes = calls.read(this.number, this.#messages, MESSAGES_BYTES);
      if (bytes <= 0) return count;
      for (let at = 0; at < bytes; at += MESSAGE_BYTES) {
        if (this.#messages[at] !== UFFD_EVENT_PAGEFAULT) continue;
        const flags = this.#view.getUint32(at + FLAGS, true);
        const low = this.#view.getUint32(at + ADDRESS, true) & ~0xfff;
        this.#fault.address = (low >>> 0) + this.#view.getUint32(at + ADDRESS + 4, true) * 2 ** 32;
        this.#fault.writeProtected = (flags & UFFD_PAGEFAULT_FLAG_WP) !== 0;
        this.#fault.minor = (flags & UFFD_PAGEFAULT_FLAG_MINOR) !== 0;
        this.#fault.thread = this.#view.getUint32(at + THREAD, true);
        deliver(this.#fault);
        count++;
      }
      if (bytes < MESSAGES * MESSAGE_BYTES) return count; // there were no more
    }
  }

  /** Whether there are faults to receive. */
  get pending(): boolean {
    const poll = new PollSet(1);
    poll.add(this.number, POLLIN);
    return poll.look() > 0;
  }

  /** struct uffdio_register, _continue, _zeropage, _writeprotect, _range: address, size, mode. */
  #call(request: number, address: number, sizeBytes: number, mode: number): number {
    const argument = this.#argument;
    argument[0] = address;
    argument[1] = address / 2 ** 32;
    argument[2] = sizeBytes;
    argument[3] = sizeBytes / 2 ** 32;
    argument[4] = mode;
    argument[5] = argument[6] = argument[7] = 0;
    return calls.ioctl(this.number, request, argument);
  }
}

/** The system call, which root may make, and whom vm.unprivileged_userfaultfd lets; else the device (Linux 6.1). */
function create(): Descriptor {
  const number = calls.userfaultfd(O_NONBLOCK | O_CLOEXEC);
  if (number >= 0) return new Descriptor(number, "userfaultfd");
  try {
    using device = Descriptor.open("/dev/userfaultfd");
    const result = calls.ioctlValue(device.number, USERFAULTFD_IOC_NEW, O_NONBLOCK | O_CLOEXEC);
    return new Descriptor(check(result, "ioctl USERFAULTFD_IOC_NEW", "/dev/userfaultfd"), "userfaultfd");
  } catch (error) {
    if (!(error instanceof LinuxError)) throw error;
    const why = new LinuxError("userfaultfd", -number, "faults of the kernel").errnoName;
    throw new UserfaultUnavailable(
      `no userfaultfd for faults of the kernel (${why}, /dev/userfaultfd: ${error.errnoName}): ` +
        "run as root or with CAP_SYS_PTRACE, set sysctl vm.unprivileged_userfaultfd=1, or give access to /dev/userfaultfd",
    );
  }
}

/** UFFDIO_CONTINUE_MODE_WP came later (Linux 6.4) than write protection: an unknown mode is EINVAL, no such range ENOENT. */
function continuesProtected(number: number): boolean {
  const argument = new BigUint64Array([0x1000n, 0x1000n, BigInt(UFFDIO_CONTINUE_MODE_WP), 0n]);
  return calls.ioctl(number, UFFDIO_CONTINUE, argument) === -ENOENT;
}
