/** What a C compiler makes of expressions over the system's headers: the other side of every comparison in this folder. */

const text = new TextDecoder();

/** Why no program over these headers can be compiled here; undefined if one can. */
export async function whyNoCompiler(headers: readonly string[], what: string): Promise<string | undefined> {
  try {
    await compile(headers, "");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof MissingHeader) return `${what} are not installed`;
    throw error;
  }
}

/** Defines a test that is ignored, with the reason in its name, where there is one. */
export function testUnless(why: string | undefined, name: string, body: () => Promise<void>): void {
  Deno.test({ name: why === undefined ? name : `${name} (ignored: ${why})`, ignore: why !== undefined, fn: body });
}

/**
 * The values of C expressions of integer type, by the names given to them.
 * @param prelude declarations that the expressions need
 * @throws {Error} the compiler's messages: for instance, a name that the headers do not have
 */
export async function evaluate(
  headers: readonly string[],
  expressions: Readonly<Record<string, string>>,
  prelude = "",
): Promise<Record<string, number>> {
  const prints = Object.entries(expressions).map(([name, expression]) =>
    `  printf("%s %lld\\n", ${JSON.stringify(name)}, (long long)(${expression}));`
  );
  const output = await compile(headers, `${prelude}\nint main(void) {\n${prints.join("\n")}\n  return 0;\n}`);
  return Object.fromEntries(
    output.trim().split("\n").filter((line) => line !== "").map((line) => {
      const space = line.lastIndexOf(" ");
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}

/**
 * The values of constant expressions for code of either width. Nothing is linked or run, so that the other width needs
 * no library: the compiler leaves the values in its assembly.
 * @param prelude declarations that the expressions need; of <...> only the compiler's own headers and Xen's
 * @throws {Error} the compiler's messages
 */
export async function evaluateConstants(
  bits: 32 | 64,
  expressions: Readonly<Record<string, string>>,
  prelude: string,
): Promise<Record<string, bigint>> {
  const folder = await Deno.makeTempDir();
  const marks = Object.values(expressions).map((expression, index) =>
    `  asm volatile("@${index} %0" :: "i"((long long)(${expression})));`
  );
  try {
    await Deno.writeTextFile(`${folder}/values.c`, `${prelude}\nvoid values(void) {\n${marks.join("\n")}\n}\n`);
    const assembly = await gcc([`-m${bits}`, "-ffreestanding", "-w", "-S", "-o", "-", `${folder}/values.c`]);
    const values = new Map(Array.from(assembly.matchAll(/@(\d+) \$(-?\d+)/g), ([, index, value]) => [index, value]));
    return Object.fromEntries(Object.keys(expressions).map((name, index) => [name, BigInt(values.get(`${index}`)!)]));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** All macros that a header leaves defined, after the prelude, with their replacement. */
export async function macros(header: string, prelude = ""): Promise<Map<string, string>> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/macros.c`, `${prelude}\n#include <${header}>\n`);
    const output = await gcc(["-dM", "-E", `${folder}/macros.c`]);
    return new Map(Array.from(output.matchAll(/^#define (\w+) (.*)$/gm), ([, name, value]) => [name, value]));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

class MissingHeader extends Error {}

/** Compiles `body` and runs it. Without a body nothing is run: do the headers compile? */
async function compile(headers: readonly string[], body: string): Promise<string> {
  const folder = await Deno.makeTempDir();
  const source = [...headers.map((header) => `#include <${header}>`), "int printf(const char *, ...);", body, ""];
  try {
    await Deno.writeTextFile(`${folder}/program.c`, source.join("\n"));
    if (body === "") return await gcc(["-fsyntax-only", `${folder}/program.c`]);
    await gcc(["-w", "-o", `${folder}/program`, `${folder}/program.c`]);
    const { success, stdout } = await new Deno.Command(`${folder}/program`).output();
    if (!success) throw new Error("the compiled program failed");
    return text.decode(stdout);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function gcc(args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("gcc", { args, env: { LC_ALL: "C" } }).output();
  if (success) return text.decode(stdout);
  const messages = text.decode(stderr);
  throw /fatal error: .*: No such file/.test(messages) ? new MissingHeader(messages) : new Error(messages);
}
