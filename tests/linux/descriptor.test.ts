import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import * as calls from "../../src/linux/calls.ts";
import { Descriptor, failedWith, pipe } from "../../src/linux/descriptor.ts";
import { EINVAL, ENOENT, errnoName } from "../../src/linux/errno.ts";
import { check, LinuxError } from "../../src/linux/linux_error.ts";

const EBADF = 9, ENOTTY = 25;
const FD_CLOEXEC = 1, F_GETFD = 1;
/** TCGETS: an ioctl that only terminals answer. */
const TCGETS = 0x5401;

const isOpen = (number: number) => calls.fcntl(number, F_GETFD, 0) >= 0;

Deno.test("LinuxError says call, subject and the error's name in one line", () => {
  const error = new LinuxError("ioctl KVM_CREATE_VM", ENOENT, "/dev/kvm");
  assertEquals(error.message, "ioctl KVM_CREATE_VM: /dev/kvm: ENOENT");
  assertEquals([error.call, error.errno, error.subject, error.errnoName], [
    "ioctl KVM_CREATE_VM",
    ENOENT,
    "/dev/kvm",
    "ENOENT",
  ]);
  assertEquals(error.name, "LinuxError");
});

Deno.test("check() passes results on and throws -errno", () => {
  for (const result of [0, 1, 0x7fff_ffff]) assertEquals(check(result, "call", "subject"), result);
  assertThrows(() => check(-EINVAL, "call", "subject"), LinuxError, "call: subject: EINVAL");
  assertThrows(() => check(-999, "call", "subject"), LinuxError, "call: subject: errno 999");
});

Deno.test("errnoName() gives numbers without a meaning as numbers", () => {
  for (const number of [0, -1, 41, 58, 134, 999]) assertEquals(errnoName(number), `errno ${number}`);
});

Deno.test("failedWith() tells the errors of system calls from others", () => {
  const error = new LinuxError("open", ENOENT, "a file");
  assert(failedWith(error, EINVAL, ENOENT));
  assert(!failedWith(error, EINVAL));
  assert(!failedWith(error));
  assert(!failedWith(new Error("ENOENT"), ENOENT));
  assert(!failedWith(undefined, ENOENT));
});

Deno.test("a system call that fails returns -errno, whatever its signature", () => {
  const buffer = new Uint8Array(8);
  assertEquals(calls.read(-1, buffer, 8n), -EBADF);
  assertEquals(calls.write(-1, buffer, 8n), -EBADF);
  assertEquals(calls.close(-1), -EBADF);
  assertEquals(calls.ftruncate(-1, 0n), -EBADF);
  assertEquals(calls.mmap(0n, 4096n, 0, 1, -1, 0n), BigInt(-EBADF));
  assertEquals(calls.munmap(1n, 4096n), -EINVAL);
  assertEquals(calls.eventfd2(0, 1 << 30), -EINVAL);
  assertEquals(calls.openat(-100, new TextEncoder().encode("/no such file\0"), 0), -ENOENT);
  assertEquals(calls.ioctl(-1, TCGETS, buffer), -EBADF);
  assertEquals(calls.ioctlValue(-1, TCGETS, 0), -EBADF);
  assertEquals(calls.run(-1, clockOf(new BigUint64Array(4))), -EBADF);
});

/** Memory for the ticks that calls.run() counts. */
function clockOf(words: BigUint64Array<ArrayBuffer>): Deno.PointerObject {
  return Deno.UnsafePointer.of(words)!;
}

Deno.test("a system call that succeeds returns what the kernel returns", () => {
  assertEquals(calls.getpid(), Deno.pid);
  const number = calls.eventfd2(7, 0x80000);
  assert(number >= 0);
  const count = new BigUint64Array(1);
  assertEquals(calls.read(number, count, 8n), 8);
  assertEquals(count[0], 7n);
  assertEquals(calls.close(number), 0);
});

Deno.test("Descriptor.open() names the call and the path when it fails", () => {
  assertThrows(() => Descriptor.open("/no/such/file"), LinuxError, "open: /no/such/file: ENOENT");
});

Deno.test("Descriptor.open() opens nothing that a child inherits", () => {
  using descriptor = Descriptor.open("/dev/null");
  assertEquals(calls.fcntl(descriptor.number, F_GETFD, 0), FD_CLOEXEC);
});

Deno.test("Descriptor closes what it holds, and only once", () => {
  const descriptor = Descriptor.open("/dev/null");
  const number = descriptor.number;
  assert(isOpen(number));
  descriptor[Symbol.dispose]();
  assertEquals(isOpen(number), false);
  assertEquals(descriptor.number, -1);
  using other = Descriptor.open("/dev/null");
  assertEquals(other.number, number, "Linux gives the lowest free number");
  descriptor[Symbol.dispose]();
  assert(isOpen(other.number), "the second time closed somebody else's descriptor");
});

Deno.test("Descriptor.release() hands the number over and closes nothing any more", () => {
  const descriptor = Descriptor.open("/dev/null");
  const number = descriptor.release();
  assertEquals(descriptor.number, -1);
  descriptor[Symbol.dispose]();
  assert(isOpen(number));
  using adopted = new Descriptor(number, "/dev/null");
  assertEquals(adopted.number, number);
});

Deno.test("Descriptor.ioctl() names request and subject when it fails", () => {
  using descriptor = Descriptor.open("/dev/null");
  const message = "ioctl TCGETS: /dev/null: ENOTTY";
  const error = assertThrows(() => descriptor.ioctl(TCGETS, "TCGETS", new Uint8Array(64)), LinuxError, message);
  assertEquals(error.errno, ENOTTY);
  assertThrows(() => descriptor.ioctlValue(TCGETS, "TCGETS", 0), LinuxError, message);
});

Deno.test("pipe() makes two ends, one to read and one to write, that no child inherits", () => {
  const { reader, writer } = pipe("a test");
  using _reader = reader;
  using _writer = writer;
  assertNotEquals(reader.number, writer.number);
  const text = new TextEncoder().encode("through");
  assertEquals(calls.write(writer.number, text, BigInt(text.length)), text.length);
  const received = new Uint8Array(16);
  assertEquals(calls.read(reader.number, received, 16n), text.length);
  assertEquals(received.subarray(0, text.length), text);
  for (const end of [reader, writer]) assertEquals(calls.fcntl(end.number, F_GETFD, 0), FD_CLOEXEC);
});
