/** Which modules are loaded with others: what they import, types excepted, and what those import. */

import { type ParsedModule, parseModule } from "./functions.ts";
import { specifiersOf } from "./imports.ts";
import { PayloadError } from "./payload_error.ts";

/** What is followed. */
export interface GraphOptions {
  /** `import()` of a literal, too; default true. */
  readonly dynamic?: boolean;
  /** Modules that are none of the graph's; default: all are. */
  readonly excludes?: (url: string) => boolean;
}

interface Imports {
  readonly text: string;
  readonly all: readonly string[];
  readonly fixed: readonly string[];
}

/** Reads modules, and parses each text once. A text that is no module imports what the one before it did. */
export class ModuleGraph {
  readonly #parsed = new Map<string, Imports>();

  /** The modules by their URLs, the roots included. Names such as "npm:x" are not followed, nor what is not there. */
  async loadedWith(roots: readonly string[], options: GraphOptions = {}): Promise<Set<string>> {
    const { dynamic = true, excludes = () => false } = options, found = new Set<string>(), open = [...roots];
    for (let url = open.pop(); url !== undefined; url = open.pop()) {
      if (found.has(url) || excludes(url)) continue;
      const imports = await this.#importsOf(url);
      if (imports === undefined) continue;
      found.add(url);
      for (const specifier of dynamic ? imports.all : imports.fixed) {
        if (/^(\.{0,2}\/|file:)/.test(specifier)) open.push(new URL(specifier, url).href);
      }
    }
    return found;
  }

  async #importsOf(url: string): Promise<Imports | undefined> {
    const text = await readModule(url), known = this.#parsed.get(url);
    if (text === undefined || known?.text === text) return text === undefined ? undefined : known;
    const imports = { ...known ?? { fixed: [], all: [] }, ...await specifiers(url, text), text };
    this.#parsed.set(url, imports);
    return imports;
  }
}

/** The text of a module; undefined: it cannot be read. */
export async function readModule(url: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(new URL(url));
  } catch {
    return undefined; // it is between two states, or gone: whoever loads it will say why
  }
}

/** Those of statements, and with `import()`; undefined: the text is no module. */
async function specifiers(url: string, text: string): Promise<Pick<Imports, "all" | "fixed"> | undefined> {
  let module: ParsedModule;
  try {
    module = await parseModule(url, text);
  } catch (error) {
    if (error instanceof PayloadError) return undefined;
    throw error;
  }
  const fixed: string[] = [], statements: number[] = [];
  for (const statement of module.program.body) {
    if (!("source" in statement) || statement.source == null) continue;
    const { source: { value, start } } = statement;
    statements.push(start!);
    if (!isTypeOnly(statement)) fixed.push(value);
  }
  const dynamic = specifiersOf(module).filter(({ start }) => !statements.includes(start)).map(({ text }) => text);
  return { fixed, all: [...fixed, ...dynamic] };
}

/** It is erased: `import type`, or every name is a type. */
function isTypeOnly(statement: ParsedModule["program"]["body"][number]): boolean {
  if (statement.type === "ImportDeclaration") {
    const { importKind, specifiers } = statement;
    if (importKind === "type") return true;
    return specifiers.length > 0 &&
      specifiers.every((one) => one.type === "ImportSpecifier" && one.importKind === "type");
  }
  return (statement.type === "ExportNamedDeclaration" || statement.type === "ExportAllDeclaration") &&
    statement.exportKind === "type";
}
