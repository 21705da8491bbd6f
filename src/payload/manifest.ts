/** What a payload consists of, and the part of it that its file has as JSON. */

import { EINVAL } from "../linux/errno.ts";
import { HOOK_NAMES, type HookName } from "./hooks.ts";
import { PayloadError } from "./payload_error.ts";

/** What becomes of the state of the device models that run a replaced module: it is kept as it is, or zeroed. */
export type HandOver = "keep" | "reset";

const HAND_OVERS: readonly HandOver[] = ["keep", "reset"];

/** A function that differs, by digests of its normalised source (64 hexadecimal digits; see functions.ts). */
export interface PayloadFunction {
  /** As "transmit", "Uart.writeByte", "Uart.get #capacity", or "(module)" for what is in no function. */
  readonly name: string;
  /** What the payload expects to find; null: nothing, the function is new. */
  readonly old: string | null;
  /** What it puts there; null: nothing, the function is gone. */
  readonly new: string | null;
}

/** A module that the payload replaces, or adds. */
export interface PayloadModule {
  /** From the root of the tree: "src/devices/uart.ts", or "payloads/NAME/helper.js" for what the payload brings along. */
  readonly path: string;
  /** The text to stand there. */
  readonly source: string;
  /** SHA-256 of the text that it replaces, in hexadecimal; null: it is added. */
  readonly replaces: string | null;
  readonly handOver: HandOver;
  /** Those that differ; of an added module none are named. */
  readonly functions: readonly PayloadFunction[];
}

/** The hooks, one module, whose imports are relative to {@linkcode hooksPath}. */
export interface PayloadHookModule {
  readonly names: readonly HookName[];
  readonly source: string;
}

/** A relocatable object (ELF64). */
export interface NativeObject {
  readonly name: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** A payload's contents. */
export interface Payload {
  /** Letters, digits, ".", "_", "-"; at most 127 (XEN_LIVEPATCH_NAME_SIZE less its zero). */
  readonly name: string;
  /** Build-id of what must lie directly under it: the hypervisor, or a payload. */
  readonly depends: string;
  /** Whether it may be applied again after a revert. */
  readonly again: boolean;
  readonly description?: string;
  readonly author?: string;
  /** As its author gave it: nothing here comes from the clock, so that the same sources give the same file. */
  readonly date?: string;
  readonly modules: readonly PayloadModule[];
  readonly hooks?: PayloadHookModule;
  readonly native: readonly NativeObject[];
}

/** Where the hooks' module stands in the tree. */
export function hooksPath({ name }: { readonly name: string }): string {
  return `payloads/${name}/hooks.js`;
}

/** The manifest: the contents with lengths in the place of what the sections have. */
export interface Manifest extends Omit<Payload, "modules" | "hooks" | "native"> {
  readonly modules: readonly (Omit<PayloadModule, "source"> & Sized)[];
  readonly hooks?: Omit<PayloadHookModule, "source"> & Sized;
  readonly native: readonly (Omit<NativeObject, "bytes"> & Sized)[];
}

interface Sized {
  readonly sizeBytes: number;
}

const NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,126}$/;
const DIGEST = /^[0-9a-f]{64}$/;
/** Folders of src have no dots in their names: so no path leads through another one's module. */
const PATH =
  /^(src(\/[A-Za-z0-9_][A-Za-z0-9_-]*)*|payloads\/[A-Za-z0-9_][A-Za-z0-9._-]*)\/[A-Za-z0-9_][A-Za-z0-9._-]*\.(ts|js)$/;

/** @throws {PayloadError} EINVAL: a member is missing, unknown, or not what it must be */
export function parseManifest(json: unknown): Manifest {
  const manifest = members("", json, {
    name: text(NAME, "a name"),
    depends: text(DIGEST, "a SHA-256"),
    again: whether,
    description: optional(anyText),
    author: optional(anyText),
    date: optional(anyText),
    modules: list(parseModule),
    hooks: optional((where, value) =>
      members(where, value, { names: list(oneOf(HOOK_NAMES)), sizeBytes: size }) as Manifest["hooks"]
    ),
    native: list((where, value) => members(where, value, { name: text(NAME, "a name"), sizeBytes: size })),
  }) as unknown as Manifest;
  unique("modules", [hooksPath(manifest), ...manifest.modules.map(({ path }) => path)]);
  unique("native", manifest.native.map(({ name }) => name));
  if (manifest.hooks !== undefined) unique("hooks.names", manifest.hooks.names);
  if (manifest.modules.length + manifest.native.length === 0 && manifest.hooks === undefined) {
    throw bad("", "has no modules, no hooks and no native objects");
  }
  return manifest;
}

function parseModule(where: string, value: unknown): Manifest["modules"][number] {
  const module = members(where, value, {
    path: text(PATH, "the path of a module"),
    replaces: orNull(text(DIGEST, "a SHA-256")),
    handOver: oneOf(HAND_OVERS),
    functions: list(parseFunction),
    sizeBytes: size,
  });
  unique(`${where}.functions`, module.functions.map(({ name }) => name));
  return module;
}

function parseFunction(where: string, value: unknown): PayloadFunction {
  const digest = orNull(text(DIGEST, "a SHA-256"));
  const found = members(where, value, { name: anyText, old: digest, new: digest });
  if (found.old === found.new) throw bad(where, "does not differ");
  return found;
}

/** Takes a value, or throws; `where` names it, as "modules[0].path". */
type Taker<T> = (where: string, value: unknown) => T;

/** Takes an object with these members and no others; what is undefined is left out. */
function members<T>(where: string, value: unknown, takers: { readonly [K in keyof T]: Taker<T[K]> }): T {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad(where, "is not an object");
  const unknown = Object.keys(value).find((key) => !Object.hasOwn(takers, key));
  if (unknown !== undefined) throw bad(where, `has a member ${JSON.stringify(unknown.slice(0, 40))} that nobody knows`);
  const taken = Object.keys(takers).map((key) => {
    const of = Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
    return [key, takers[key as keyof T](where === "" ? key : `${where}.${key}`, of)] as const;
  });
  return Object.fromEntries(taken.filter(([, of]) => of !== undefined)) as T;
}

function list<T>(taker: Taker<T>): Taker<readonly T[]> {
  return (where, value) => {
    if (!Array.isArray(value)) throw bad(where, "is not a list");
    return value.map((of, index) => taker(`${where}[${index}]`, of));
  };
}

function optional<T>(taker: Taker<T>): Taker<T | undefined> {
  return (where, value) => value === undefined ? undefined : taker(where, value);
}

function orNull<T>(taker: Taker<T>): Taker<T | null> {
  return (where, value) => value === null ? null : taker(where, value);
}

function text(pattern: RegExp, what: string): Taker<string> {
  return (where, value) => {
    if (typeof value === "string" && pattern.test(value)) return value;
    throw bad(where, `is not ${what}: ${(JSON.stringify(value) ?? "missing").slice(0, 80)}`);
  };
}

function oneOf<T extends string>(words: readonly T[]): Taker<T> {
  return (where, value) => {
    if (words.includes(value as T)) return value as T;
    throw bad(where, `is none of ${words.join(", ")}: ${(JSON.stringify(value) ?? "missing").slice(0, 80)}`);
  };
}

function anyText(where: string, value: unknown): string {
  if (typeof value !== "string") throw bad(where, "is not a text");
  return value;
}

function whether(where: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw bad(where, "is not true or false");
  return value;
}

function size(where: string, value: unknown): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw bad(where, "is not a number of bytes");
  return value as number;
}

function unique(where: string, names: readonly string[]): void {
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) throw bad(where, `has ${twice} twice`);
}

function bad(where: string, what: string): PayloadError {
  return new PayloadError(EINVAL, `manifest${where === "" ? "" : `: ${where}`} ${what}`);
}
