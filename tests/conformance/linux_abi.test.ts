/** src/linux against the kernel's headers: every constant that its files define, every system call, the two structures. */

import { assert, assertEquals } from "@std/assert";
import * as errno from "../../src/linux/errno.ts";
import { evaluate, macros, testUnless, whyNoCompiler } from "./c_program.ts";

const HEADERS = [
  "stddef.h",
  "elf.h",
  "fcntl.h",
  "limits.h",
  "poll.h",
  "signal.h",
  "stdio.h",
  "sys/epoll.h",
  "sys/eventfd.h",
  "sys/file.h",
  "sys/ioctl.h",
  "sys/mman.h",
  "sys/socket.h",
  "sys/stat.h",
  "sys/syscall.h",
  "sys/timerfd.h",
  "sys/uio.h",
  "sys/un.h",
  "sys/vfs.h",
  "linux/falloc.h",
  "linux/futex.h",
  "linux/if.h",
  "linux/if_tun.h",
  "linux/io_uring.h",
  "linux/magic.h",
  "linux/membarrier.h",
  "linux/memfd.h",
  "linux/userfaultfd.h",
];
const missing = await whyNoCompiler(["linux/version.h", "errno.h"], "gcc or the kernel headers");
const DEFINES = "#define _GNU_SOURCE\n";

/** Constants that are ours, of which no header knows. */
const OURS = [
  "AT",
  "BACKLOG",
  "CONTENDED",
  "CONTROL_AT",
  "COUNT",
  "ENTRY_BYTES",
  "FILE_OFFSET",
  "FREE",
  "GUARD_BYTES",
  "HELD",
  "KICK_SIGNAL",
  "MAX_PACKET_BYTES",
  "MESSAGES",
  "MOST_TRIES",
  "NEAR_STEP_BYTES",
  "NATIVE_THREAD_BYTES",
  "OFFSET",
  "PATH_BYTES",
  "PROBE_BYTES",
  "RANGES",
  "SIZE",
  "STACK_BYTES",
  "TRY_MS",
  "VECTOR_AT",
];

/** Constants that only the kernel's own source has, or headers newer than some that are in use. */
const NOT_PUBLIC = {
  MAX_DESCRIPTORS: 253, // SCM_MAX_FD, include/net/scm.h
  UFFDIO_CONTINUE_MODE_WP: 2, // linux/userfaultfd.h of Linux 6.4
};

/** Constants that headers have under another name. */
const RENAMED: Record<string, string> = {
  PROT_READ_WRITE: "PROT_READ | PROT_WRITE",
  PROT_READ_EXECUTE: "PROT_READ | PROT_EXEC",
  STATFS_BYTES: "sizeof(struct statfs)",
  STATFS_TYPE: "offsetof(struct statfs, f_type)",
  STAT_BYTES: "sizeof(struct stat)",
  STAT_SIZE: "offsetof(struct stat, st_size)",
  STAT_MODE: "offsetof(struct stat, st_mode)",
  FLOCK_BYTES: "sizeof(struct flock)",
  FLOCK_TYPE: "offsetof(struct flock, l_type)",
  FLOCK_START: "offsetof(struct flock, l_start)",
  FLOCK_LENGTH: "offsetof(struct flock, l_len)",
  MESSAGE_BYTES: "sizeof(struct uffd_msg)",
  FLAGS: "offsetof(struct uffd_msg, arg.pagefault.flags)",
  ADDRESS: "offsetof(struct uffd_msg, arg.pagefault.address)",
  THREAD: "offsetof(struct uffd_msg, arg.pagefault.feat)",
  PARAMS_BYTES: "sizeof(struct io_uring_params)",
  PARAMS_FEATURES: "offsetof(struct io_uring_params, features)",
  PARAMS_SQ: "offsetof(struct io_uring_params, sq_off)",
  PARAMS_CQ: "offsetof(struct io_uring_params, cq_off)",
  PROGRAM_HEADERS: "sizeof(Elf64_Ehdr)",
  PROGRAM_HEADER_BYTES: "sizeof(Elf64_Phdr)",
  SYMBOL_BYTES: "sizeof(Elf64_Sym)",
  IOVEC_WORDS: "sizeof(struct iovec) / 4",
  SQE_WORDS: "sizeof(struct io_uring_sqe) / 4",
  CQE_WORDS: "sizeof(struct io_uring_cqe) / 4",
  EVENT_BYTES: "sizeof(struct epoll_event)",
  TIMER_WORDS: "sizeof(struct itimerspec) / 8",
  TIMER_SECONDS: "offsetof(struct itimerspec, it_value.tv_sec) / 8",
  TIMER_NANOSECONDS: "offsetof(struct itimerspec, it_value.tv_nsec) / 8",
  IFREQ_BYTES: "sizeof(struct ifreq)",
};

/** Names of system calls where the function is called otherwise. */
const CALLS: Record<string, string> = {
  sigaction: "rt_sigaction",
  memfdCreate: "memfd_create",
  ioUringSetup: "io_uring_setup",
  ioUringEnter: "io_uring_enter",
  ioUringRegister: "io_uring_register",
  pidfdOpen: "pidfd_open",
  processMadvise: "process_madvise",
  fcntlLock: "fcntl",
  epollCtl: "epoll_ctl",
  epollCreate1: "epoll_create1",
  timerfdCreate: "timerfd_create",
  timerfdSettime: "timerfd_settime",
};

const folder = new URL("../../src/linux/", import.meta.url);
const sources = [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".ts"))
  .map(({ name }) => Deno.readTextFileSync(new URL(name, folder)));

/** `const NAME = 1, OTHER = 2;` at the top level of the files: one entry a number, by name. */
function constants(): Record<string, number> {
  const statements = sources.flatMap((text) => [...text.matchAll(/^(?:export )?const ([A-Z][^;]*);/gm)]);
  return Object.fromEntries(
    statements.flatMap(([, list]) => [...list.matchAll(/\b([A-Z]\w*) = (-?(?:0x)?[\da-f_]+)n?\b/gi)])
      .map(([, name, number]) => [name, Number(number.replaceAll("_", ""))]),
  );
}

/** `export const name = ... symbols.symbol(number, ...`: the number of each call by its name. */
function calls(): Record<string, number> {
  const text = Deno.readTextFileSync(new URL("calls.ts", folder));
  const found = text.matchAll(/^export const (\w+) = \([^]*?symbols\.\w+\((\d+)[,)]/gm);
  return Object.fromEntries(Array.from(found, ([, name, number]) => [name, Number(number)]));
}

/** The headers' own definitions: <fcntl.h> hides some of them without _GNU_SOURCE. */
function evaluateAll(expressions: Record<string, string>): Promise<Record<string, number>> {
  return evaluate([], expressions, DEFINES + HEADERS.map((header) => `#include <${header}>`).join("\n"));
}

testUnless(missing, "every constant of src/linux has the headers' value", async () => {
  const found = Object.entries(constants()).filter(([name]) =>
    !OURS.includes(name) && !(name in errno) && !(name in NOT_PUBLIC)
  );
  assert(found.length >= 23, `${found.length} constants`);
  assertEquals({ ...constants(), ...NOT_PUBLIC }, constants());
  const expressions = found.map(([name]) => [name, RENAMED[name] ?? name]);
  const isKernels = ([name]: string[]) => name.startsWith("SA_"); // glibc does not show SA_RESTORER
  const expected = {
    ...await evaluateAll(Object.fromEntries(expressions.filter((one) => !isKernels(one)))),
    ...await evaluate(["stddef.h", "asm/signal.h"], Object.fromEntries(expressions.filter(isKernels))),
  };
  assertEquals(Object.fromEntries(found), expected);
});

testUnless(missing, "every system call of calls.ts has the headers' number", async () => {
  const found = calls();
  assert(Object.keys(found).length >= 17, Object.keys(found).join(" "));
  const names = Object.keys(found).map((name) => [name, `__NR_${CALLS[name] ?? name}`]);
  assertEquals(found, await evaluateAll(Object.fromEntries(names)));
});

Deno.test("calls.ts makes no system call that the comparison does not see", () => {
  const text = Deno.readTextFileSync(new URL("calls.ts", folder));
  const numbered = [...text.matchAll(/symbols\.\w+\(\s*\d+/g)].length;
  assertEquals(Object.keys(calls()).length, numbered);
});

testUnless(missing, "the system calls and constants of native.asm are the headers'", async () => {
  const text = Deno.readTextFileSync(new URL("native.asm", folder));
  const calls = [...text.matchAll(/mov eax, (\d+) +; (\w+)$/gm)].map(([, number, name]) => [`__NR_${name}`, number]);
  const constants = [...text.matchAll(/^((?:SIG|FUTEX)_\w+) +equ (\d+)$/gm)].map(([, name, value]) => [name, value]);
  assertEquals([calls.length, constants.length], [7, 2]);
  const found = Object.fromEntries([...calls, ...constants].map(([name, value]) => [name, Number(value)]));
  assertEquals(await evaluateAll(Object.fromEntries(Object.keys(found).map((name) => [name, name]))), found);
  const flags = "VM FS FILES SIGHAND THREAD SYSVSEM PARENT_SETTID CHILD_CLEARTID".split(" ");
  const clone = await evaluate(["linux/sched.h"], { flags: flags.map((flag) => `CLONE_${flag}`).join(" | ") });
  assertEquals(`0x${clone.flags.toString(16)}`, /CLONE_FLAGS equ (0x\w+)/.exec(text)?.[1]);
});

testUnless(missing, "struct pollfd and struct timespec are what PollSet makes of them", async () => {
  const layout = await evaluateAll({
    size: "sizeof(struct pollfd)",
    descriptor: "offsetof(struct pollfd, fd)",
    events: "offsetof(struct pollfd, events)",
    revents: "offsetof(struct pollfd, revents)",
    eventsSize: "sizeof(((struct pollfd *)0)->events)",
    timespec: "sizeof(struct timespec)",
  });
  assertEquals(layout, { size: 8, descriptor: 0, events: 4, revents: 6, eventsSize: 2, timespec: 16 });
});

testUnless(missing, "the operations and the structures of io_ring.ts are the headers'", async () => {
  const layout = await evaluateAll({
    READV: "IORING_OP_READV",
    WRITEV: "IORING_OP_WRITEV",
    FSYNC: "IORING_OP_FSYNC",
    FALLOCATE: "IORING_OP_FALLOCATE",
    sq: "offsetof(struct io_sqring_offsets, tail) << 16 | offsetof(struct io_sqring_offsets, ring_mask) << 8 | " +
      "offsetof(struct io_sqring_offsets, array)",
    cq: "offsetof(struct io_cqring_offsets, tail) << 16 | offsetof(struct io_cqring_offsets, ring_mask) << 8 | " +
      "offsetof(struct io_cqring_offsets, cqes)",
    fd: "offsetof(struct io_uring_sqe, fd)",
    off: "offsetof(struct io_uring_sqe, off)",
    addr: "offsetof(struct io_uring_sqe, addr)",
    len: "offsetof(struct io_uring_sqe, len)",
    flags: "offsetof(struct io_uring_sqe, fsync_flags)",
    asked: "offsetof(struct io_uring_sqe, user_data)",
    answered: "offsetof(struct io_uring_cqe, user_data)",
    res: "offsetof(struct io_uring_cqe, res)",
  });
  const operations = { READV: 1, WRITEV: 2, FSYNC: 3, FALLOCATE: 17 };
  const rings = { sq: 0x04_08_18, cq: 0x04_08_14 };
  const entry = { fd: 4, off: 8, addr: 16, len: 24, flags: 28, asked: 32 };
  assertEquals(layout, { ...operations, ...rings, ...entry, answered: 0, res: 8 });
});

testUnless(missing, "the structures of socket.ts are the headers'", async () => {
  const layout = await evaluateAll({
    name: "offsetof(struct msghdr, msg_name)",
    vector: "offsetof(struct msghdr, msg_iov)",
    vectors: "offsetof(struct msghdr, msg_iovlen)",
    control: "offsetof(struct msghdr, msg_control)",
    controlLength: "offsetof(struct msghdr, msg_controllen)",
    flags: "offsetof(struct msghdr, msg_flags)",
    header: "sizeof(struct msghdr)",
    iovec: "sizeof(struct iovec)",
    length: "offsetof(struct cmsghdr, cmsg_len)",
    level: "offsetof(struct cmsghdr, cmsg_level)",
    type: "offsetof(struct cmsghdr, cmsg_type)",
    data: "CMSG_LEN(0)",
    path: "offsetof(struct sockaddr_un, sun_path)",
    pathBytes: "sizeof(((struct sockaddr_un *)0)->sun_path)",
  });
  const header = { name: 0, vector: 16, vectors: 24, control: 32, controlLength: 40, flags: 48, header: 56, iovec: 16 };
  assertEquals(layout, { ...header, length: 0, level: 8, type: 12, data: 16, path: 2, pathBytes: 108 });
});

testUnless(missing, "the kernel's struct sigaction is four words: handler, flags, restorer, mask", async () => {
  const layout = await evaluate(["stddef.h", "asm/signal.h"], {
    size: "sizeof(struct sigaction)",
    handler: "offsetof(struct sigaction, sa_handler)",
    flags: "offsetof(struct sigaction, sa_flags)",
    restorer: "offsetof(struct sigaction, sa_restorer)",
    mask: "offsetof(struct sigaction, sa_mask)",
    maskSize: "sizeof(sigset_t)",
  });
  assertEquals(layout, { size: 32, handler: 0, flags: 8, restorer: 16, mask: 24, maskSize: 8 });
});

testUnless(missing, "errnoName() knows every error number of <errno.h>, and no other", async () => {
  const names = [...(await macros("errno.h")).keys()].filter((name) => /^E[A-Z0-9]+$/.test(name));
  const numbers = await evaluate(["errno.h"], Object.fromEntries(names.map((name) => [name, name])));
  const byNumber = Object.groupBy(names, (name) => numbers[name]);
  const highest = Math.max(...Object.values(numbers));
  assert(highest >= 133);
  for (let number = 1; number <= highest + 1; number++) {
    const name = errno.errnoName(number), aliases = byNumber[number];
    if (aliases === undefined) assertEquals(name, `errno ${number}`);
    else assert(aliases.includes(name), `${number} is ${aliases}, not ${name}`);
  }
});

testUnless(missing, "every error number that errno.ts exports is that of <errno.h>", async () => {
  const exported = Object.entries<unknown>(errno).filter(([, value]) => typeof value === "number");
  assert(exported.length >= 11);
  const expected = await evaluate(["errno.h"], Object.fromEntries(exported.map(([name]) => [name, name])));
  assertEquals<Record<string, unknown>>(Object.fromEntries(exported), expected);
});
