/**
 * Builds the test guests: guests/NAME/ becomes guests/NAME.img, byte for byte the same on every run.
 *
 *     deno task guests [--check] [NAME...]
 *
 * Without names all are built. With `--check` nothing in guests/ is touched: the images are built elsewhere and
 * compared with those that are there; the status is 1 if any differ.
 */

import { parseArgs } from "node:util";

const GUESTS = new URL("../guests/", import.meta.url).pathname;
const LIB = `${GUESTS}lib/`;

/** With which tools the committed images were built: other versions may well produce other bytes. */
const COMMITTED_WITH = "gcc 12.2.0, binutils 2.40, nasm 2.16.01 (Debian 12)";

/** The Debian package of each tool. */
const PACKAGES: Record<string, string> = { nasm: "nasm", gcc: "gcc", ld: "binutils" };

const ASSEMBLE = ["nasm", `-I${LIB}`];

/**
 * Code that runs anywhere: at CPL0 without a red zone, with general registers only (software KVM emulates no SSE and no
 * x87), and with nothing in the output that tells where or when it was built.
 */
const COMPILE = [
  ...["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-c", `-I${LIB}`],
  ...["-ffreestanding", "-fno-pic", "-fno-stack-protector", "-fcf-protection=none", "-mno-red-zone"],
  ...["-mgeneral-regs-only", "-mno-sse", "-mno-mmx", "-mno-80387", "-fno-tree-loop-distribute-patterns"],
  ...[
    "-falign-functions=1",
    "-falign-loops=1",
    "-falign-jumps=1",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-asynchronous-unwind-tables",
    "-fno-ident",
  ],
  `-ffile-prefix-map=${GUESTS}=`,
];

const LINK = ["ld", "--build-id=none", "--gc-sections", "--strip-all", "-z", "max-page-size=4096", "-z", "noexecstack"];

/** How an image is made; which recipe a guest follows, the name of its main file says. */
interface Recipe {
  readonly main: string;
  readonly assemble: readonly string[];
  readonly compile: readonly string[];
  readonly link: readonly string[];
  /** Files of lib/ that belong to the image; what a guest does not use of them, the linker leaves out. */
  readonly lib: readonly string[];
}

const RECIPES: readonly Recipe[] = [
  {
    // The bytes as they stand: flat 16-bit images, boot sectors, hand-made ELF files.
    main: "main.asm",
    assemble: [...ASSEMBLE, "-f", "bin"],
    compile: [],
    link: [],
    lib: [],
  },
  {
    // A 64-bit ELF file with a Xen PVH note.
    main: "main.c",
    assemble: [...ASSEMBLE, "-f", "elf64"],
    compile: [...COMPILE, "-m64"],
    link: [...LINK, "-m", "elf_x86_64", "-T", `${LIB}pvh.ld`],
    lib: [
      ...["start.asm", "exit.c", "console.c", "text.c", "acpi.c", "interrupts.c", "pit.c", "smp.c", "trampoline.asm"],
      ...["xen.c", "virtio.c"],
    ],
  },
  {
    // A 32-bit ELF file with a Multiboot 1 header.
    main: "main32.c",
    assemble: [...ASSEMBLE, "-f", "elf32"],
    compile: [...COMPILE, "-m32", "-march=i686"],
    link: [...LINK, "-m", "elf_i386", "-T", `${LIB}multiboot.ld`],
    lib: ["multiboot.asm", "exit.c", "console.c", "text.c", "xen.c"],
  },
];

/** Why a guest cannot be built: one line for the user. */
class BuildError extends Error {
  override name = "BuildError";
}

async function run(command: readonly string[]): Promise<void> {
  const [tool, ...args] = command;
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(tool, { args, env: { LC_ALL: "C" }, stdout: "piped", stderr: "piped" }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new BuildError(`${tool} is missing: apt-get install ${PACKAGES[tool] ?? tool}`);
  }
  if (output.success) return;
  const said = new TextDecoder().decode(output.stderr).trim();
  throw new BuildError(`${tool} failed with status ${output.code}: ${args.join(" ")}\n${said}`);
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function recipeOf(name: string): Promise<Recipe> {
  for (const recipe of RECIPES) {
    if (await exists(`${GUESTS}${name}/${recipe.main}`)) return recipe;
  }
  throw new BuildError(`guests/${name}/ has none of ${RECIPES.map((recipe) => recipe.main).join(", ")}`);
}

/** Every folder of guests/ but lib/ is a guest. */
async function allGuests(): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(GUESTS)) {
    if (entry.isDirectory && entry.name !== "lib") names.push(entry.name);
  }
  return names.sort();
}

/** The C files of a guest but its main one. */
async function sourcesBeside(main: string): Promise<string[]> {
  const folder = main.slice(0, main.lastIndexOf("/") + 1), sources: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".c") && folder + name !== main) sources.push(folder + name);
  }
  return sources.sort();
}

/** Builds images; an object file of lib/ is made once for each recipe, whatever the number of guests. */
class Builder {
  readonly #scratch: string;
  readonly #objects = new Map<string, Promise<string>>();

  /** @param scratch a folder for object files */
  constructor(scratch: string) {
    this.#scratch = scratch;
  }

  /** Builds guest `name` into the file `image`. */
  async build(name: string, image: string): Promise<void> {
    const recipe = await recipeOf(name);
    const main = `${GUESTS}${name}/${recipe.main}`;
    if (recipe.link.length === 0) {
      await run([...recipe.assemble, "-o", image, main]);
      return;
    }
    // One after the other: the order of objects is the order of code in the image.
    const objects: string[] = [];
    const others = await sourcesBeside(main);
    for (const source of [...recipe.lib.map((file) => LIB + file), ...others, main]) {
      objects.push(await this.#object(recipe, source));
    }
    await run([...recipe.link, "-o", image, ...objects]);
    await Deno.chmod(image, 0o644);
  }

  #object(recipe: Recipe, source: string): Promise<string> {
    const object = `${this.#scratch}/${recipe.main}-${source.slice(GUESTS.length).replaceAll("/", "-")}.o`;
    let made = this.#objects.get(object);
    if (!made) {
      const command = source.endsWith(".asm") ? recipe.assemble : recipe.compile;
      made = run([...command, "-o", object, source]).then(() => object);
      this.#objects.set(object, made);
    }
    return made;
  }
}

/** Whether two files hold the same bytes; a file that is not there equals none. */
async function same(one: string, other: string): Promise<boolean> {
  if (!await exists(one) || !await exists(other)) return false;
  const [a, b] = await Promise.all([Deno.readFile(one), Deno.readFile(other)]);
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args, options: { check: { type: "boolean" } }, allowPositionals: true });
  const names = positionals.length > 0 ? positionals : await allGuests();
  const scratch = await Deno.makeTempDir({ prefix: "xenolith-guests-" });
  const differing: string[] = [];
  try {
    const builder = new Builder(scratch);
    for (const name of names) {
      const built = `${scratch}/${name}.img`, committed = `${GUESTS}${name}.img`;
      await builder.build(name, built);
      if (await same(built, committed)) continue;
      if (values.check) differing.push(`${name}.img`);
      else await Deno.copyFile(built, committed);
    }
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
  if (differing.length === 0) return 0;
  console.error(
    `guests: not what their sources give: ${differing.join(", ")} (the images come from ${COMMITTED_WITH})`,
  );
  return 1;
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    const usage = error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
    if (!(error instanceof BuildError) && !usage) throw error;
    console.error(`guests: ${error.message}`);
    Deno.exit(usage ? 64 : 1);
  }
}
