/** Makes a payload of its definition and the tree. */

import { EINVAL, ENOENT } from "../linux/errno.ts";
import { bundle } from "./bundle.ts";
import type { Edit, PayloadDefinition } from "./definition.ts";
import { sha256 } from "./digest.ts";
import { parseElfObject } from "./elf_object.ts";
import type { PayloadFile } from "./format.ts";
import { differences, functionsOf, parseModule } from "./functions.ts";
import { HOOK_NAMES, type HookName } from "./hooks.ts";
import { readAuthors, Resolver, specifierBetween, specifiersOf, withSpecifiers } from "./imports.ts";
import { hooksPath, type NativeObject, type Payload, type PayloadHookModule, type PayloadModule } from "./manifest.ts";
import { PayloadError } from "./payload_error.ts";
import { buildIdOf, SourceTree } from "./source_tree.ts";

/** What a payload is built against. */
export interface BuildOptions {
  /** The hypervisor's sources; default: this program's. */
  readonly root?: URL;
  /** The payloads that will lie under it, the lowest first. */
  readonly on?: readonly PayloadFile[];
}

/**
 * Builds a payload.
 *
 * @param definition from {@linkcode loadDefinition}, or made by a program
 * @param at the definition's own URL, from which its paths count
 * @throws {PayloadError} EINVAL, ENOENT: one line that says what is wrong with the definition
 */
export async function buildPayload(
  definition: PayloadDefinition,
  at: URL,
  options: BuildOptions = {},
): Promise<Payload> {
  const { tree, buildId } = await foundation(options);
  const { name, description, author, date } = definition;
  const modules = await new Builder(definition, at, tree).modules();
  const native = await Promise.all(
    Object.entries(definition.native ?? {}).map(([name, file]) => object(name, file, at)),
  );
  const replacing = replacedFiles(definition, at);
  const hooks = definition.hooks === undefined
    ? undefined
    : await hookModule(new URL(definition.hooks, at), hooksPath(definition), new Resolver(tree, replacing));
  return {
    name,
    depends: buildId,
    again: definition.again ?? (hooks === undefined && native.length === 0),
    ...(description !== undefined && { description }),
    ...(author !== undefined && { author }),
    ...(date !== undefined && { date }),
    modules,
    ...(hooks !== undefined && { hooks }),
    native,
  };
}

/** The tree with the payloads below, and the build-id of the topmost. @throws {PayloadError} EINVAL: they are no stack */
async function foundation({ root, on = [] }: BuildOptions): Promise<{ tree: SourceTree; buildId: string }> {
  let tree = new SourceTree(root), buildId = await buildIdOf(tree.root);
  for (const { payload, buildId: own } of on) {
    if (payload.depends !== buildId) {
      throw new PayloadError(EINVAL, `${payload.name}: depends on ${payload.depends}, and under it lies ${buildId}`);
    }
    [tree, buildId] = [tree.with(payload), own];
  }
  return { tree, buildId };
}

/** By the URL of the author's file: the path of the module that it replaces. */
function replacedFiles({ modules = {} }: PayloadDefinition, at: URL): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(modules).flatMap(([path, from]) => typeof from === "string" ? [[new URL(from, at).href, path]] : []),
  );
}

/** Makes the modules of one payload, and those that they bring along. */
class Builder {
  readonly #resolver: Resolver;
  /** By the URL of a helper. */
  readonly #helpers = new Map<string, PayloadModule>();

  constructor(
    private readonly definition: PayloadDefinition,
    private readonly at: URL,
    private readonly tree: SourceTree,
  ) {
    this.#resolver = new Resolver(tree, replacedFiles(definition, at));
  }

  async modules(): Promise<PayloadModule[]> {
    const modules: PayloadModule[] = [];
    for (const [path, from] of Object.entries(this.definition.modules ?? {})) {
      if (!path.startsWith("src/")) throw new PayloadError(EINVAL, `${path}: not the path of a module of src`);
      if (typeof from !== "string" && !isEdit(from)) {
        throw new PayloadError(EINVAL, `${path}: neither a file nor an edit`);
      }
      modules.push(await this.#module(path, from));
    }
    const { handOver = {} } = this.definition;
    const stranger = Object.keys(handOver).find((path) => !modules.some((module) => module.path === path));
    if (stranger !== undefined) {
      throw new PayloadError(EINVAL, `handOver: ${stranger} is none of the payload's modules`);
    }
    return [...modules, ...this.#helpers.values()];
  }

  async #module(path: string, from: string | Edit): Promise<PayloadModule> {
    const old = await this.tree.read(path);
    const file = typeof from === "string" ? new URL(from, this.at) : undefined;
    const text = typeof from === "string"
      ? new TextDecoder().decode(await readAuthors(file!))
      : edited(path, old, from);
    const source = await this.#placed(path, text, file);
    if (source === old) throw new PayloadError(EINVAL, `${path}: is what is there already`);
    const functions = old === undefined
      ? []
      : differences(await functionsOf(path, old), await functionsOf(path, source));
    return {
      path,
      source,
      replaces: old === undefined ? null : await sha256(old),
      handOver: this.definition.handOver?.[path] ?? "keep",
      functions,
    };
  }

  /** The text as it is to stand in the tree: its imports lead where they did in the author's folder. */
  async #placed(path: string, text: string, file: URL | undefined): Promise<string> {
    const module = await parseModule(file === undefined ? path : decodeURIComponent(file.pathname), text);
    const changed = new Map<string, string>();
    for (const { text: specifier } of specifiersOf(module)) {
      const target = await this.#resolver.resolve(specifier, file, path);
      const to = "file" in target ? { path: await this.#helper(target.file) } : target;
      changed.set(specifier, "bare" in to ? to.bare : specifierBetween(path, to.path));
    }
    return withSpecifiers(module, (specifier) => changed.get(specifier)!);
  }

  /** A file outside src becomes a module of the payload's own. @returns its path */
  async #helper(file: URL): Promise<string> {
    const known = this.#helpers.get(file.href);
    if (known !== undefined) return known.path;
    const name = decodeURIComponent(file.pathname).split("/").at(-1)!.replace(/\.\w+$/, "").replaceAll(/\W/g, "_");
    const path = `payloads/${this.definition.name}/${this.#helpers.size + 1}_${name}.js`;
    const { source } = await bundle(file, path, this.#resolver);
    this.#helpers.set(file.href, { path, source, replaces: null, handOver: "keep", functions: [] });
    return path;
  }
}

/** Definitions may be anything: no types are checked where they are loaded. */
function isEdit(from: Partial<Edit> | null): from is Edit {
  const { replacements } = from ?? {};
  return Array.isArray(replacements) &&
    replacements.every((one) => typeof one?.old === "string" && typeof one.new === "string");
}

/** @throws {PayloadError} EINVAL, ENOENT */
function edited(path: string, old: string | undefined, { replacements }: Edit): string {
  if (old === undefined) throw new PayloadError(ENOENT, `${path}: no such module to edit`);
  return replacements.reduce((text, { old, new: by }, index) => {
    const pieces = text.split(old);
    if (old !== "" && pieces.length === 2) return pieces.join(by);
    const what = `edit ${index + 1}: ${JSON.stringify(old.slice(0, 60))}`;
    throw new PayloadError(
      EINVAL,
      `${path}: ${what} stands there ${old === "" ? 0 : pieces.length - 1} times, not once`,
    );
  }, old);
}

async function hookModule(file: URL, place: string, resolver: Resolver): Promise<PayloadHookModule> {
  await readAuthors(file);
  const { source, exports } = await bundle(file, place, resolver);
  const path = decodeURIComponent(file.pathname);
  const stranger = exports.find((name) => !HOOK_NAMES.includes(name as HookName));
  if (stranger !== undefined) {
    throw new PayloadError(EINVAL, `${path}: exports ${stranger}, which is no hook: ${HOOK_NAMES.join(", ")}`);
  }
  if (exports.length === 0) throw new PayloadError(EINVAL, `${path}: exports no hook: ${HOOK_NAMES.join(", ")}`);
  return { names: HOOK_NAMES.filter((name) => exports.includes(name)), source };
}

/** @throws {PayloadError} what {@linkcode parseElfObject} says of it, among others */
async function object(name: string, file: string, at: URL): Promise<NativeObject> {
  const url = new URL(file, at), bytes = await readAuthors(url);
  parseElfObject(bytes, decodeURIComponent(url.pathname));
  return { name, bytes };
}
