/** The system calls, by FFI through our own machine code: a result below zero is -errno. Nothing is checked here. */

import { NATIVE_OBJECT, NATIVE_SONAME } from "./native.ts";

const call = "xl_syscall";

/** One symbol a line: xl_syscall's first parameter is the number, the rest are the call's own. */
const SYMBOLS = {
  // KVM_RUN and the other ioctls of the exit path
  xl_run: { parameters: ["i32", "pointer"], result: "i32" }, // vcpu_fd, clock
  xl_idle_run: { parameters: ["i32", "pointer"], result: "i32" }, // vcpu_fd, clock
  xl_ioctl: { parameters: ["i32", "u32", "buffer"], result: "i32" }, // fd, request, argument
  xl_ioctl_value: { parameters: ["i32", "u32", "u32"], result: "i32" }, // fd, request, argument
  xl_clock: { parameters: [], result: "f64" },
  xl_pause: { parameters: [], result: "void" },
  xl_start_thread: { parameters: ["pointer", "u64"], result: "i32" }, // thread, stack_end
  // slots at run time: the kernel may have them wait for others (see Vm.changeMemoryRegion)
  xl_ioctl_waiting: { name: "xl_ioctl", parameters: ["i32", "u32", "buffer"], result: "i32", nonblocking: true }, // fd, request, argument
  // the second stage
  xl_madvise_each: { parameters: ["buffer", "u32", "u32"], result: "i32" }, // ranges, count, advice
  process_madvise: { name: call, parameters: ["i32", "i32", "buffer", "u64", "i32", "u32"], result: "i64" }, // pidfd, ranges, count, advice, flags
  file: { name: call, parameters: ["i32", "i32", "buffer"], result: "i32" }, // fstatfs, fstat: fd, structure
  fallocate: { name: call, parameters: ["i32", "i32", "i32", "u64", "u64"], result: "i32" }, // fd, mode, offset, size
  at_offset: { name: call, parameters: ["i32", "i32", "buffer", "u64", "u64"], result: "i32" }, // pread64, pwrite64: fd, buffer, size, offset
  at_offset_list: { name: call, parameters: ["i32", "i32", "u64", "u64", "u64", "u64"], result: "i32" }, // preadv, pwritev: fd, ranges, count, offset, 0
  at_address: { name: call, parameters: ["i32", "i32", "u64", "u64", "i32", "pointer", "pointer"], result: "i32" }, // sendto, recvfrom: fd, buffer, size, flags, address, its size
  enter_ring: { name: call, parameters: ["i32", "i32", "u32", "u32", "u32", "pointer", "u64"], result: "i32" }, // io_uring_enter: fd, submit, complete, flags, mask, size
  // waiting and waking
  read: { name: call, parameters: ["i32", "i32", "buffer", "u64"], result: "i32" }, // fd, buf, count
  write: { name: call, parameters: ["i32", "i32", "buffer", "u64"], result: "i32" }, // fd, buf, count
  ppoll: { name: call, parameters: ["i32", "buffer", "u32", "buffer", "pointer", "u64"], result: "i32" }, // fds, n, timeout, mask, size
  futex: { name: call, parameters: ["i32", "pointer", "i32", "u32", "pointer", "pointer", "u32"], result: "i32" }, // word, op, value, timeout, word2, value3
  tgkill: { name: call, parameters: ["i32", "i32", "i32", "i32"], result: "i32" }, // tgid, tid, signal
  // the rest is set-up and teardown
  none: { name: call, parameters: ["i32"], result: "i32" },
  number: { name: call, parameters: ["i32", "i32"], result: "i32" }, // close, ...
  numbers: { name: call, parameters: ["i32", "i32", "i32", "i32"], result: "i32" }, // fcntl, ...
  lock: { name: call, parameters: ["i32", "i32", "i32", "buffer"], result: "i32" }, // fcntl: fd, command, struct flock
  path: { name: call, parameters: ["i32", "i32", "buffer", "i32", "i32"], result: "i32" }, // openat: directory, path, flags, mode
  open_ring: { name: call, parameters: ["i32", "u32", "buffer"], result: "i32" }, // io_uring_setup: entries, parameters
  register_ring: { name: call, parameters: ["i32", "i32", "u32", "buffer", "u32"], result: "i32" }, // io_uring_register: fd, what, argument, count
  name: { name: call, parameters: ["i32", "buffer", "u32"], result: "i32" }, // memfd_create: name, flags; unlink: path; pipe2: fds, flags
  offset: { name: call, parameters: ["i32", "i32", "i64"], result: "i32" }, // ftruncate: fd, length
  seek: { name: call, parameters: ["i32", "i32", "i64", "i32"], result: "i64" }, // lseek: fd, offset, whence
  socket: { name: call, parameters: ["i32", "i32", "buffer", "u32"], result: "i32" }, // bind, connect: fd, address, size; sendmsg, recvmsg: fd, message, flags
  epoll: { name: call, parameters: ["i32", "i32", "i32", "i32", "buffer"], result: "i32" }, // epoll_ctl: set, operation, fd, event
  timer: { name: call, parameters: ["i32", "i32", "i32", "buffer", "pointer"], result: "i32" }, // timerfd_settime: fd, flags, new, old
  accept: { name: call, parameters: ["i32", "i32", "pointer", "pointer", "i32"], result: "i32" }, // fd, address, size, flags
  pair: { name: call, parameters: ["i32", "i32", "i32", "i32", "buffer"], result: "i32" }, // socketpair: family, type, protocol, fds
  mmap: { name: call, parameters: ["i32", "u64", "u64", "i32", "i32", "i32", "i64"], result: "i64" }, // address, size, protection, flags, fd, offset
  range: { name: call, parameters: ["i32", "u64", "u64", "i32"], result: "i32" }, // munmap, madvise: address, size, advice
  sigaction: { name: call, parameters: ["i32", "i32", "buffer", "pointer", "u64"], result: "i32" }, // signal, new, old, mask size
} as const;

/** Blobs of which only the address matters. */
const ADDRESSES = { xl_handler: { type: "pointer" }, xl_restorer: { type: "pointer" } } as const;

const LIBRARY = { ...SYMBOLS, ...ADDRESSES };

/**
 * One copy for all isolates of the process: threads run this code, and stay when the isolate that started them is gone, and
 * a payload that changes it changes it for all. The first isolate, which outlives the others, opens it before there are any.
 */
function open() {
  try {
    return Deno.dlopen(NATIVE_SONAME, LIBRARY).symbols;
  } catch {
    return openCopy();
  }
}

function openCopy() {
  const libc = Deno.dlopen("libc.so.6", {
    memfd_create: { parameters: ["buffer", "u32"], result: "i32" },
    write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const object = Uint8Array.fromBase64(NATIVE_OBJECT);
  const file = libc.symbols.memfd_create(new TextEncoder().encode("xenolith-native\0"), 1 /* MFD_CLOEXEC */);
  const written = file < 0 ? -1 : Number(libc.symbols.write(file, object, BigInt(object.length)));
  if (written !== object.length) throw new Error("the machine code of src/linux could not be written to a memfd");
  const library = Deno.dlopen(`/proc/self/fd/${file}`, LIBRARY);
  libc.symbols.close(file);
  libc.close();
  return library.symbols;
}

const symbols = open();

/** The exit path: nothing between the caller and the machine code (native.asm says what each does). */
export const run = symbols.xl_run, idleRun = symbols.xl_idle_run, clock = symbols.xl_clock, pause = symbols.xl_pause;
export const startThread = symbols.xl_start_thread;
export const ioctl = symbols.xl_ioctl, ioctlValue = symbols.xl_ioctl_value;
/** The same on a thread of its own. */
export const ioctlWaiting = symbols.xl_ioctl_waiting;
/** madvise(2) on each of `count` ranges (struct iovec). */
export const madviseEach = symbols.xl_madvise_each;

/** Addresses of machine code that the kernel calls. */
export const handler = symbols.xl_handler, restorer = symbols.xl_restorer;

type Buffer = BufferSource | null;
type Pointer = Deno.PointerValue;

// The system calls under their own names; each line is number and arguments in the kernel's order.
export const read = (fd: number, buffer: Buffer, size: bigint): number => symbols.read(0, fd, buffer, size);
export const write = (fd: number, buffer: Buffer, size: bigint): number => symbols.write(1, fd, buffer, size);
export const close = (fd: number): number => symbols.number(3, fd);
export const fstat = (fd: number, status: Buffer): number => symbols.file(5, fd, status);
/** Where {@linkcode lseek} counts from. */
export const SEEK_END = 2;
export const lseek = (fd: number, offset: bigint, whence: number): number =>
  Number(symbols.seek(8, fd, offset, whence));
export const mmap = (at: bigint, size: bigint, protection: number, flags: number, fd: number, offset: bigint): bigint =>
  symbols.mmap(9, at, size, protection, flags, fd, offset);
export const mprotect = (at: bigint, size: bigint, protection: number): number =>
  symbols.range(10, at, size, protection);
export const munmap = (at: bigint, size: bigint): number => symbols.range(11, at, size, 0);
export const sigaction = (signal: number, action: Buffer): number => symbols.sigaction(13, signal, action, null, 8n);
export const pread64 = (fd: number, buffer: Buffer, size: bigint, offset: bigint): number =>
  symbols.at_offset(17, fd, buffer, size, offset);
export const pwrite64 = (fd: number, buffer: Buffer, size: bigint, offset: bigint): number =>
  symbols.at_offset(18, fd, buffer, size, offset);
export const madvise = (at: bigint, size: bigint, advice: number): number => symbols.range(28, at, size, advice);
export const getpid = (): number => symbols.none(39);
export const socket = (family: number, type: number): number => symbols.numbers(41, family, type, 0);
export const connect = (fd: number, address: Buffer, size: number): number => symbols.socket(42, fd, address, size);
export const sendto = (fd: number, at: bigint, size: bigint, flags: number): number =>
  symbols.at_address(44, fd, at, size, flags, null, null);
export const recvfrom = (fd: number, at: bigint, size: bigint, flags: number): number =>
  symbols.at_address(45, fd, at, size, flags, null, null);
export const sendmsg = (fd: number, message: Buffer, flags: number): number => symbols.socket(46, fd, message, flags);
export const recvmsg = (fd: number, message: Buffer, flags: number): number => symbols.socket(47, fd, message, flags);
export const shutdown = (fd: number, how: number): number => symbols.numbers(48, fd, how, 0);
export const bind = (fd: number, address: Buffer, size: number): number => symbols.socket(49, fd, address, size);
export const listen = (fd: number, backlog: number): number => symbols.numbers(50, fd, backlog, 0);
export const socketpair = (family: number, type: number, pair: Buffer): number =>
  symbols.pair(53, family, type, 0, pair);
export const fcntl = (fd: number, command: number, value: number): number => symbols.numbers(72, fd, command, value);
export const fcntlLock = (fd: number, command: number, lock: Buffer): number => symbols.lock(72, fd, command, lock);
export const fdatasync = (fd: number): number => symbols.number(75, fd);
export const ftruncate = (fd: number, size: bigint): number => symbols.offset(77, fd, size);
export const unlink = (path: Buffer): number => symbols.name(87, path, 0);
export const fchmod = (fd: number, mode: number): number => symbols.numbers(91, fd, mode, 0);
export const fstatfs = (fd: number, status: Buffer): number => symbols.file(138, fd, status);
export const gettid = (): number => symbols.none(186);
export const futex = (word: Pointer, operation: number, value: number): number =>
  symbols.futex(202, word, operation, value, null, null, 0);
/** Operations of {@linkcode epollCtl}. */
export const EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3;
export const epollCtl = (set: number, operation: number, fd: number, event: Buffer): number =>
  symbols.epoll(233, set, operation, fd, event);
export const tgkill = (pid: number, tid: number, signal: number): number => symbols.tgkill(234, pid, tid, signal);
export const openat = (directory: number, path: Buffer, flags: number): number =>
  symbols.path(257, directory, path, flags, 0);
export const ppoll = (set: Buffer, count: number, timeout: Buffer): number =>
  symbols.ppoll(271, set, count, timeout, null, 8n);
export const timerfdCreate = (clock: number, flags: number): number => symbols.numbers(283, clock, flags, 0);
/** Modes of {@linkcode fallocate}. */
export const FALLOC_FL_KEEP_SIZE = 1, FALLOC_FL_PUNCH_HOLE = 2, FALLOC_FL_ZERO_RANGE = 16;
export const fallocate = (fd: number, mode: number, offset: bigint, size: bigint): number =>
  symbols.fallocate(285, fd, mode, offset, size);
export const timerfdSettime = (fd: number, time: Buffer): number => symbols.timer(286, fd, 0, time, null);
export const accept4 = (fd: number, flags: number): number => symbols.accept(288, fd, null, null, flags);
export const eventfd2 = (initial: number, flags: number): number => symbols.numbers(290, initial, flags, 0);
export const epollCreate1 = (flags: number): number => symbols.numbers(291, flags, 0, 0);
export const pipe2 = (pair: Buffer, flags: number): number => symbols.name(293, pair, flags);
export const preadv = (fd: number, ranges: bigint, count: bigint, offset: bigint): number =>
  symbols.at_offset_list(295, fd, ranges, count, offset, 0n);
export const pwritev = (fd: number, ranges: bigint, count: bigint, offset: bigint): number =>
  symbols.at_offset_list(296, fd, ranges, count, offset, 0n);
export const memfdCreate = (name: Buffer, flags: number): number => symbols.name(319, name, flags);
export const userfaultfd = (flags: number): number => symbols.number(323, flags);
export const ioUringSetup = (entries: number, parameters: Buffer): number =>
  symbols.open_ring(425, entries, parameters);
export const ioUringEnter = (fd: number, submit: number, complete: number, flags: number): number =>
  symbols.enter_ring(426, fd, submit, complete, flags, null, 0n);
export const ioUringRegister = (fd: number, what: number, argument: Buffer, count: number): number =>
  symbols.register_ring(427, fd, what, argument, count);
/** Commands of {@linkcode membarrier}. */
export const MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE = 32, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE = 64;
export const membarrier = (command: number): number => symbols.numbers(324, command, 0, 0);
export const pidfdOpen = (pid: number, flags: number): number => symbols.numbers(434, pid, flags, 0);
export const processMadvise = (pidfd: number, ranges: Buffer, count: bigint, advice: number): number =>
  Number(symbols.process_madvise(440, pidfd, ranges, count, advice, 0));
