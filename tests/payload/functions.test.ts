/** The functions of a module: their names, and what makes them differ. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { EINVAL } from "../../src/linux/errno.ts";
import { differences, functionsOf } from "../../src/payload/functions.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";

const EVERYTHING = `
import { x } from "./x.ts";
export const LIMIT = 1, other = () => 2;
export function declared(): void {}
async function* inner() { function nested() {} }
const arrow = (a: number) => a, expression = function () {};
export const TABLE = { key: () => 1, method() {}, "quoted-key": function () {}, [x]: { deep: () => 1 }, plain: 3 } as const;
export abstract class Thing {
  field = 1;
  handler = () => this.field;
  static #count = 0;
  static { Thing.#count++; }
  constructor(private readonly y: number) {}
  method(): void;
  method(): void {}
  #hidden() {}
  get value() { return 1; }
  set value(v) {}
  static of() {}
  static get #one() { return 1; }
  async *[Symbol.iterator]() {}
  "quoted name"() {}
  abstract later(): void;
}
export default class { run() {} }
`;

Deno.test("functionsOf() names functions, methods, accessors, arrow functions and those of tables", async () => {
  assertEquals(
    [...(await functionsOf("a.ts", EVERYTHING)).keys()].sort(),
    [
      "(module)",
      "TABLE.key",
      "TABLE.method",
      "TABLE[x].deep",
      'TABLE["quoted-key"]',
      "Thing.#hidden",
      "Thing.constructor",
      "Thing.get value",
      "Thing.handler",
      "Thing.method",
      "Thing.set value",
      "Thing.static get #one",
      "Thing.static of",
      'Thing["quoted name"]',
      "Thing[Symbol.iterator]",
      "arrow",
      "declared",
      "default.run",
      "expression",
      "inner",
      "other",
    ].sort(),
  );
});

Deno.test('functionsOf() calls what is exported as default and has no name "default"', async () => {
  for (const source of ["export default function () {}", "export default () => 1;"]) {
    assertEquals([...(await functionsOf("a.ts", source)).keys()], ["(module)", "default"]);
  }
});

/** What differs between two texts, by name. */
async function differing(old: string, now: string): Promise<string[]> {
  return differences(await functionsOf("old.ts", old), await functionsOf("new.ts", now)).map(({ name }) => name);
}

const SAME: readonly [string, string, string][] = [
  ["comments", "function f() { return 1; }", "/** Why. */\nfunction f() {\n  // because\n  return /* of */ 1;\n}\n"],
  [
    "lines and trailing commas",
    "f([1, 2], { a, b }); class C { m(a, b) { g(a, b); } }",
    "f(\n[1, 2,],\n{\n a,\n b,\n },\n);\nclass C {\n\n m(\n a,\n b,\n) {\n g(\n a,\n b,\n );\n }\n}",
  ],
  ["quotes", `const f = () => 'a"';`, `const f = () => "a\\"";`],
  ["the order of functions", "function f() {}\nfunction g() {}", "function g() {}\nfunction f() {}"],
];

for (const [what, old, now] of SAME) {
  Deno.test(`functionsOf(): ${what} make no difference`, async () => assertEquals(await differing(old, now), []));
}

const DIFFERENT: readonly [string, string, string, string[]][] = [
  ["a body", "class C { a() { return 1; } b() {} }", "class C { a() { return 2; } b() {} }", ["C.a"]],
  ["a getter", "class C { get a() { return 1; } }", "class C { get a() { return 2; } }", ["C.get a"]],
  ["a private method", "class C { #a() {} }", "class C { #a() { f(); } }", ["C.#a"]],
  ["a nested function", "function f() { return () => 1; }", "function f() { return () => 2; }", ["f"]],
  ["a signature", "function f(a: number) {}", "function f(a: string) {}", ["f"]],
  ["a constant", "const A = 1;", "const A = 2;", ["(module)"]],
  ["an import", 'import { a } from "./a.ts";', 'import { a } from "./b.ts";', ["(module)"]],
  ["a field", "class C { a = 1; m() {} }", "class C { a = 2; m() {} }", ["(module)"]],
  ["a hole in a list", "const f = () => [,];", "const f = () => [];", ["f"]],
  ["one more hole", "const f = () => [a,,];", "const f = () => [a,];", ["f"]],
  ["space in a template", "const f = () => `a b`;", "const f = () => `a  b`;", ["f"]],
  ["space in a string", 'const f = () => "a b";', 'const f = () => "a  b";', ["f"]],
  ["what looks like a comment", 'const f = () => "/* a */";', 'const f = () => "/* b */";', ["f"]],
  ["a regular expression", "const f = () => /a,/;", "const f = () => /a/;", ["f"]],
  ["export", "function f() {}", "export function f() {}", ["f"]],
  ["a new function and one that is gone", "function f() {}", "function g() {}", ["g", "f"]],
];

for (const [what, old, now, names] of DIFFERENT) {
  Deno.test(`functionsOf(): ${what} makes ${names.join(" and ")} differ`, async () => {
    assertEquals(await differing(old, now), names);
  });
}

Deno.test("functionsOf() reads every module of src", async () => {
  const folder = new URL("../../src/", import.meta.url);
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (!isDirectory) continue;
    for (const { name: file } of Deno.readDirSync(new URL(`${name}/`, folder))) {
      if (!file.endsWith(".ts")) continue;
      const path = `${name}/${file}`;
      const functions = await functionsOf(path, Deno.readTextFileSync(new URL(path, folder)));
      assertEquals(functions.has("(module)"), true, path);
    }
  }
});

Deno.test("functionsOf() says where a text is no module", async () => {
  const error = await assertRejects(() => functionsOf("src/a.ts", "function f() {\n  let = ;\n}"), PayloadError);
  assertEquals(error.errno, EINVAL);
  assertMatch(error.message, /^src\/a.ts: .*\(2:\d+\)$/);
});
