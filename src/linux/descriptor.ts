/** File descriptors with an owner: opened here, closed by whoever holds the object. */

import * as calls from "./calls.ts";
import { check, LinuxError } from "./linux_error.ts";

const O_RDONLY = 0, O_RDWR = 2, O_CLOEXEC = 0x80000, O_NONBLOCK = 0x800, AT_FDCWD = -100, F_DUPFD_CLOEXEC = 1030;

const text = new TextEncoder();

/** An open file descriptor. Every one has CLOEXEC: a child process gets only what it is handed. */
export class Descriptor implements Disposable {
  #number: number;

  /** @param subject what is open, for the messages of failed calls */
  constructor(number: number, readonly subject: string) {
    this.#number = number;
  }

  /**
   * Opens `path` for reading, and for writing unless it is to be read only.
   * @param waits whether reads and writes may block @throws {LinuxError}
   */
  static open(path: string, readOnly = false, waits = true): Descriptor {
    const flags = (readOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC | (waits ? 0 : O_NONBLOCK);
    return new Descriptor(check(calls.openat(AT_FDCWD, text.encode(path + "\0"), flags), "open", path), path);
  }

  /** The descriptor's number, -1 once it is closed. */
  get number(): number {
    return this.#number;
  }

  /** Another descriptor of what is open. @throws {LinuxError} */
  duplicate(): Descriptor {
    const number = check(calls.fcntl(this.#number, F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC", this.subject);
    return new Descriptor(number, this.subject);
  }

  /** Another object for what is open, whose owner closes it; this one no longer does. */
  take(): Descriptor {
    return new Descriptor(this.release(), this.subject);
  }

  /** Hands the descriptor to another owner; this object no longer closes it. @returns its number */
  release(): number {
    const number = this.#number;
    this.#number = -1;
    return number;
  }

  /** Closes it; a second time does nothing. */
  [Symbol.dispose](): void {
    if (this.#number >= 0) calls.close(this.#number);
    this.#number = -1;
  }

  /**
   * An ioctl whose argument is a structure in `argument`, filled by the kernel where the request says so.
   * @returns the kernel's result, 0 or more
   * @throws {LinuxError} naming `request`
   */
  ioctl(request: number, name: string, argument: BufferSource | null): number {
    return check(calls.ioctl(this.#number, request, argument), `ioctl ${name}`, this.subject);
  }

  /** An ioctl whose argument is a number (32 bits). @throws {LinuxError} naming `request` */
  ioctlValue(request: number, name: string, argument: number): number {
    return check(calls.ioctlValue(this.#number, request, argument), `ioctl ${name}`, this.subject);
  }
}

/** A pipe's two ends, both with CLOEXEC. @param waits whether reads and writes may block @throws {LinuxError} */
export function pipe(subject: string, waits = true): { reader: Descriptor; writer: Descriptor } {
  const pair = new Int32Array(2);
  check(calls.pipe2(pair, waits ? O_CLOEXEC : O_CLOEXEC | O_NONBLOCK), "pipe2", subject);
  return { reader: new Descriptor(pair[0], subject), writer: new Descriptor(pair[1], subject) };
}

/** Whether `error` is the failure of a system call with one of these error numbers. */
export function failedWith(error: unknown, ...errnos: number[]): error is LinuxError {
  return error instanceof LinuxError && errnos.includes(error.errno);
}
