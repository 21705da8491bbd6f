/** NativePayloads and bad objects: one line each, and nothing of them is left (XENOLITH_PROPERTY_RUNS). */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { EINVAL, ENOENT, ENOMEM, EOPNOTSUPP, EOVERFLOW, ERANGE } from "../../src/linux/errno.ts";
import { PAGE_SIZE } from "../../src/memory/address.ts";
import { R_X86_64, SHT } from "../../src/payload/elf_abi.ts";
import { LIVEPATCH_FUNC, LIVEPATCH_FUNC_BYTES } from "../../src/payload/native_functions.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { program, testWith } from "../support/capabilities.ts";
import { compile, LIVEPATCH_H, NativeMachine } from "./native_machine.ts";
import { DATA, objectFile, type ObjectParts, READ_ONLY, type RelocationPart, TEXT } from "./object_builder.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);
const GCC = program("gcc", "gcc");

/** Loads what must be refused, and looks whether anything is left of it. */
function refused(test: NativeMachine, object: Uint8Array, errno: number, message: string): void {
  const before = test.holdings, loaded = test.payloads.payloads;
  const error = assertThrows(() => test.payloads.load(object, "bad"), PayloadError, message);
  assertEquals([error.errno, error.message.includes("\n")], [errno, false], error.message);
  assertEquals([test.holdings, test.payloads.payloads], [before, loaded], message);
}

testWith([GCC], "what gcc makes and payloads cannot have is refused in one line", async () => {
  using test = new NativeMachine();
  const cases: [source: string, options: string[], errno: number, message: string][] = [
    ["__thread int t; int f(void) { return t++; }", [], EOPNOTSUPP, "bad: section .tbss: thread-local storage"],
    ["extern __thread int t; int f(void) { return t; }", ["-fPIC"], EOPNOTSUPP, "bad: symbol t is thread-local"],
    ["int c; int f(void) { return c; }", ["-fcommon"], EOPNOTSUPP, "bad: symbol c is common"],
    [
      'static int g(void) { return 1; } static void *pick(void) { return g; } int f(void) __attribute__((ifunc("pick")));',
      [],
      EOPNOTSUPP,
      "bad: symbol f is an indirect function (IFUNC)",
    ],
    [
      'void __attribute__((constructor)) f(void) { asm(""); }',
      [],
      EOPNOTSUPP,
      "bad: section .init_array: constructors and destructors are not run",
    ],
    [
      "int a[4]; int f(int i) { return a[i]; }",
      ["-fno-pie"],
      EOVERFLOW,
      "relocation R_X86_64_32S for a is out of range: 0x",
    ],
    [
      "int a; void *f(void) { return &a; }",
      ["-fno-pie"],
      EOVERFLOW,
      "relocation R_X86_64_32 for a is out of range: 0x",
    ],
    ["int g(void); int f(void) { return g() + 1; }", [], ENOENT, "bad: .text+0x5: symbol g is not defined"],
    [
      'int a; asm(".section .note.a, \\"a\\"; .word a; .text");',
      [],
      EOPNOTSUPP,
      "bad: .note.a+0x0: relocation R_X86_64_16: payloads cannot have it",
    ],
    ["int f(void) { return 1; }", ["-flto"], EOPNOTSUPP, "bad: compiled with -flto: there is no machine code in it"],
    [
      'void h(void); void *x __attribute__((section(".livepatch.hooks.load"))) = 0;',
      [],
      EOPNOTSUPP,
      "bad: .livepatch.hooks.load: hooks are not called",
    ],
    ["char big[1 << 30];", [], ENOMEM, "bad: larger than the whole payload arena of 262144 bytes"],
    ["", [], EINVAL, "bad: nothing to load"],
  ];
  for (const [source, options, errno, message] of cases) {
    refused(test, await compile(source, ...options), errno, message);
  }
});

Deno.test("a payload for which the arena has no room is refused, and fits when another one has gone", () => {
  using test = new NativeMachine();
  const pages = (text: number, data: number) =>
    objectFile({
      sections: [
        { name: ".text", flags: TEXT, bytes: new Uint8Array(text * PAGE_SIZE) },
        { name: ".bss", flags: DATA, type: SHT.NOBITS, sizeBytes: data * PAGE_SIZE },
      ],
    });
  const first = test.payloads.load(pages(30, 0), "first");
  test.payloads.load(pages(1, 20), "second");
  refused(test, pages(1, 10), ENOMEM, "bad: the payload arena of vmap has no 11 free pages in a row");
  refused(test, pages(12, 1), ENOMEM, "bad: the payload arena of vmap has no 13 free pages in a row");
  refused(test, pages(0, 2 ** 40), ENOMEM, "bad: larger than the whole payload arena");
  first[Symbol.dispose]();
  test.payloads.load(pages(1, 10), "third");
});

Deno.test("names that a payload cannot have are refused", () => {
  using test = new NativeMachine();
  for (const name of ["", "a\nb", "x".repeat(256), "ü".repeat(128)]) {
    const error = assertThrows(() => test.payloads.load(objectFile({}), name), PayloadError, "one line of 1 to 255");
    assertEquals(error.errno, EINVAL);
  }
});

Deno.test("sections aligned to more than a page, and symbols of sections that are not loaded, are refused", () => {
  using test = new NativeMachine();
  const wide = objectFile({ sections: [{ name: ".text", flags: TEXT, bytes: new Uint8Array(1), align: 8192 }] });
  refused(test, wide, EINVAL, "bad: section .text: aligned to 8192, more than a page");
  const unloaded: ObjectParts = {
    sections: [
      { name: ".text", flags: TEXT, bytes: new Uint8Array(16) },
      { name: ".comment", bytes: new Uint8Array(8) },
    ],
    symbols: [{ name: "note", section: ".comment" }],
    relocations: [{ section: ".text", offset: 8, type: R_X86_64["64"], symbol: "note" }],
  };
  refused(test, objectFile(unloaded), EINVAL, "bad: .text+0x8: symbol note is in a section that is not loaded");
});

/** An object with one struct livepatch_func, for `xl_clock` and a new function of its own unless they are changed. */
function replacing(
  changes: Partial<Record<keyof typeof LIVEPATCH_FUNC, number>>,
  name = "xl_clock",
  sizeBytes?: number,
) {
  const entry = new Uint8Array(LIVEPATCH_FUNC_BYTES), view = new DataView(entry.buffer);
  const fields = { new_size: 16, old_size: 16, version: 2, ...changes };
  for (const [field, value] of Object.entries(fields) as [keyof typeof LIVEPATCH_FUNC, number][]) {
    if (field === "version" || field === "expect") view.setUint8(LIVEPATCH_FUNC[field], value);
    else view.setUint32(LIVEPATCH_FUNC[field], value, true);
  }
  const relocation = (field: keyof typeof LIVEPATCH_FUNC, symbol: string): RelocationPart[] =>
    field in changes
      ? []
      : [{ section: ".livepatch.funcs", offset: LIVEPATCH_FUNC[field], type: R_X86_64["64"], symbol }];
  return objectFile({
    sections: [
      { name: ".text", flags: TEXT, bytes: new Uint8Array(16) },
      { name: ".rodata", flags: READ_ONLY, bytes: new TextEncoder().encode(`${name}\0`) },
      { name: ".livepatch.funcs", flags: DATA, bytes: entry.subarray(0, sizeBytes) },
    ],
    symbols: [{ name: "new", section: ".text" }, { name: "name", section: ".rodata" }],
    relocations: [...relocation("name", "name"), ...relocation("new_addr", "new")],
  });
}

Deno.test("each struct livepatch_func that cannot be is refused", () => {
  using test = new NativeMachine();
  test.payloads.load(replacing({}), "good")[Symbol.dispose]();
  const cases: [object: Uint8Array, errno: number, message: string][] = [
    [replacing({}, "xl_clock", 96), EINVAL, "bad: .livepatch.funcs: 96 bytes are no multiple of 104"],
    [replacing({ name: 0, new_addr: 0 }, "", 0), EINVAL, "bad: .livepatch.funcs: 0 bytes are no multiple of 104"],
    [replacing({ version: 1 }), EOPNOTSUPP, "bad: xl_clock: version 1 of struct livepatch_func; 2 is needed"],
    [replacing({ name: 77 }), EINVAL, "bad: function 0: its name is no string of the payload"],
    [replacing({ name: 0 }), ENOENT, "bad: function 0: there is no such function"],
    [replacing({}, "xl_nothing"), ENOENT, "bad: xl_nothing: there is no such function"],
    [replacing({}, "xl_clock+"), ENOENT, "bad: xl_clock+: there is no such function"],
    [replacing({}, "xl_clock+0x4000"), EINVAL, "is no code that can be replaced"],
    [replacing({ old_addr: 0x1000 }), EINVAL, "bad: xl_clock: at 0x1000 is no code that can be replaced"],
    [replacing({ old_size: 4 }), EINVAL, "bad: xl_clock: old_size 4 is less than the 5 to replace"],
    [replacing({ old_size: 0 }), EINVAL, "bad: xl_clock: old_size 0 is less than the 5 to replace"],
    [replacing({ old_size: 17 }), EINVAL, "bad: xl_clock: old_size 17 is more than its 16 bytes"],
    [replacing({ old_size: 5 }, "xl_ioctl_value"), EINVAL, "bad: xl_ioctl_value: old_size 5 is more than its 2 bytes"],
    [replacing({ old_size: 5 }, "xl_clock+12"), EINVAL, "bad: xl_clock+12: old_size 5 is more than its 4 bytes"],
    [replacing({ new_addr: 0x1000 }), EINVAL, "bad: xl_clock: new_addr 0x1000 is not in the payload's text"],
    [
      replacing({ new_addr: 0, new_size: 32, old_size: 32 }, "xl_run"),
      EOPNOTSUPP,
      "bad: xl_run: 32 nops are more than 31",
    ],
    [replacing({ new_addr: 0, new_size: 9, old_size: 8 }), EINVAL, "bad: xl_clock: old_size 8 is less than the 9"],
    [replacing({ expect: 0x45 }), EINVAL, "bad: xl_clock: reserved bits of its expectation are set"],
    [replacing({ expect: 17 << 1 | 1 }), ERANGE, "bad: xl_clock: expects 17 bytes of the 16 that it has"],
  ];
  for (const [object, errno, message] of cases) refused(test, object, errno, message);
});

testWith([GCC], "two replacements of the same bytes in one payload are refused", async () => {
  using test = new NativeMachine();
  const source = `${LIVEPATCH_H}
void f(void) {}
REPLACE(one, "xl_clock", 16, .new_addr = f);
REPLACE(two, "xl_clock+4", 12, .new_addr = f);`;
  refused(test, await compile(source), EINVAL, "bad: xl_clock and xl_clock+4 are replaced at the same bytes");
});

testWith(
  [GCC],
  "a damaged object is loaded or refused in one line, and leaves nothing, whatever the damage",
  async () => {
    using test = new NativeMachine();
    const object = await compile(
      `${LIVEPATCH_H}
int count = 3; const char text[] = "text"; int zeroes[9];
extern void xl_pause(void);
double f(void) { xl_pause(); zeroes[1] += text[count]; return count; }
REPLACE(f, "xl_clock", 16, .new_addr = f);`,
      "-fPIC",
    );
    const none = test.holdings, at = fc.nat(object.length - 1);
    const writes = fc.array(fc.record({ at, value: fc.oneof(fc.constantFrom(0, 1, 0xff), fc.nat(255)) }), {
      minLength: 1,
    });
    let loaded = 0, bad = 0;
    const property = fc.property(writes, (writes) => {
      const copy = object.slice();
      for (const { at, value } of writes) copy[at] = value;
      try {
        test.payloads.load(copy, "damaged")[Symbol.dispose]();
        loaded++;
      } catch (error) {
        assert(error instanceof PayloadError, String(error));
        assert(/^damaged: [^\p{Cc}]+$/u.test(error.message), error.message);
        bad++;
      }
      assertEquals(test.holdings, none);
    });
    fc.assert(property, { numRuns: RUNS });
    assert(loaded > 0 && bad > 0, `${loaded} loaded, ${bad} refused`);
  },
);
