/** src/linux against the kernel's headers: every constant that its files define, every system call, the two structures. */

import { assert, assertEquals } from "@std/assert";
import * as errno from "../../src/linux/errno.ts";
import { evaluate, macros, testUnless, whyNoCompiler } from "./c_program.ts";

const HEADERS = [
  "stddef.h",
  "fcntl.h",
  "poll.h",
  "signal.h",
  "sys/eventfd.h",
  "sys/mman.h",
  "sys/syscall.h",
  "linux/futex.h",
  "linux/memfd.h",
];
const missing = await whyNoCompiler(["linux/version.h", "errno.h"], "gcc or the kernel headers");
const DEFINES = "#define _GNU_SOURCE\n";

/** Constants that are ours, of which no header knows. */
const OURS = ["CONTENDED", "ENTRY_BYTES", "FREE", "HELD", "KICK_SIGNAL", "SIZE"];

/** Constants that headers have under another name. */
const RENAMED: Record<string, string> = { PROT_READ_WRITE: "PROT_READ | PROT_WRITE" };

/** Names of system calls where the function is called otherwise. */
const CALLS: Record<string, string> = { sigaction: "rt_sigaction", memfdCreate: "memfd_create" };

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
  const found = Object.entries(constants()).filter(([name]) => !OURS.includes(name) && !(name in errno));
  assert(found.length >= 23, `${found.length} constants`);
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
