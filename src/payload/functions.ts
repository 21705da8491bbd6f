/** The functions of a module by name, each with a digest of its source that neither comments nor formatting change. */

import type { Expression, ParseResult } from "@babel/parser";
import { EINVAL, EOPNOTSUPP } from "../linux/errno.ts";
import { sha256 } from "./digest.ts";
import type { PayloadFunction } from "./manifest.ts";
import { PayloadError } from "./payload_error.ts";

/** The name of what is in no function: imports, constants, fields, types. */
export const MODULE_BODY = "(module)";

type Program = ParseResult["program"];
type Statement = Program["body"][number];
type ClassNode = Extract<Statement, { type: "ClassDeclaration" }>;
type Member = ClassNode["body"]["body"][number];
type Property = Extract<Extract<Expression, { type: "ObjectExpression" }>["properties"][number], { value: unknown }>;
type Value = Property["value"] | Statement | null | undefined;

/** Babel counts from 0, but leaves open that a node comes from nowhere. */
interface Node {
  readonly start?: number | null;
  readonly end?: number | null;
}

/** A word of the text. */
interface Token {
  readonly type: { readonly label: string };
  readonly value: unknown;
  readonly start: number;
  readonly end: number;
}

/** Where a function stands in the text. */
interface Place {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** A module as the parser sees it. */
export interface ParsedModule {
  readonly source: string;
  readonly program: Program;
  /** Without comments. */
  readonly tokens: readonly Token[];
}

/**
 * Parses TypeScript. The parser is loaded with the first call: whoever runs guests does without.
 *
 * @param path for messages
 * @throws {PayloadError} EINVAL: the text is no module; EOPNOTSUPP: there is no parser
 */
export async function parseModule(path: string, source: string): Promise<ParsedModule> {
  const { parse } = await import("@babel/parser").catch((error) => {
    throw new PayloadError(EOPNOTSUPP, `${path}: no parser to compare functions with: ${(error as Error).message}`);
  });
  try {
    const { program, tokens } = parse(source, { sourceType: "module", plugins: ["typescript"], tokens: true });
    const words = (tokens as unknown as readonly Token[]).filter(({ type }) => typeof type !== "string");
    return { source, program, tokens: words };
  } catch (error) {
    if (error instanceof SyntaxError) throw new PayloadError(EINVAL, `${path}: ${error.message}`);
    throw error;
  }
}

/** The digests of a module's functions, and of {@linkcode MODULE_BODY}, by name. @throws {PayloadError} */
export async function functionsOf(path: string, source: string): Promise<ReadonlyMap<string, string>> {
  const module = await parseModule(path, source);
  const texts = new Map<string, string[]>([[MODULE_BODY, []]]);
  const places = placesOf(module).sort((one, other) => one.start - other.start);
  let next = 0;
  for (const [index, token] of module.tokens.entries()) {
    while (next < places.length && places[next].end <= token.start) next++;
    const name = next < places.length && places[next].start <= token.start ? places[next].name : MODULE_BODY;
    if (!texts.has(name)) texts.set(name, []);
    const text = normalised(module, index);
    if (text !== "") texts.get(name)!.push(text);
  }
  const digests = [...texts].map(async ([name, words]) => [name, await sha256(words.join(" "))] as const);
  return new Map(await Promise.all(digests));
}

/** The functions in which two modules differ, in the order of the new one, those that are gone last. */
export function differences(old: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): PayloadFunction[] {
  return [...new Set([...now.keys(), ...old.keys()])]
    .map((name) => ({ name, old: old.get(name) ?? null, new: now.get(name) ?? null }))
    .filter((one) => one.old !== one.new);
}

/** Functions, methods and accessors at the top of the module; what is inside them belongs to them. */
function placesOf({ program, source }: ParsedModule): Place[] {
  return program.body.flatMap((statement) => {
    const exported = statement.type === "ExportNamedDeclaration" || statement.type === "ExportDefaultDeclaration";
    const declaration = exported ? statement.declaration : statement;
    switch (declaration?.type) {
      case "FunctionDeclaration":
        return [place(declaration.id?.name ?? "default", statement)];
      case "ClassDeclaration": {
        const of = declaration.id?.name ?? "default";
        return declaration.body.body.flatMap((member) => memberPlaces(source, of, member));
      }
      case "VariableDeclaration":
        return declaration.declarations.flatMap(({ id, init }) =>
          id.type === "Identifier" ? valuePlaces(source, id.name, init, init!) : []
        );
      default:
        return isFunction(declaration) ? [place("default", statement)] : [];
    }
  });
}

function memberPlaces(source: string, of: string, member: Member): Place[] {
  switch (member.type) {
    case "ClassMethod":
    case "ClassPrivateMethod":
    case "ClassProperty":
    case "ClassPrivateProperty":
    case "ClassAccessorProperty": {
      const kind = "kind" in member && (member.kind === "get" || member.kind === "set") ? `${member.kind} ` : "";
      const name = of + keyName(source, member, `${member.static ? "static " : ""}${kind}`);
      return "body" in member ? [place(name, member)] : valuePlaces(source, name, member.value, member);
    }
    default:
      return [];
  }
}

/** A value that is a function is one of `whole`; those of a table are named after it and their keys. */
function valuePlaces(source: string, name: string, value: Value, whole: Node): Place[] {
  if (isFunction(value)) return [place(name, whole)];
  if (value?.type === "TSAsExpression" || value?.type === "TSSatisfiesExpression") {
    return valuePlaces(source, name, value.expression, whole);
  }
  if (value?.type !== "ObjectExpression") return [];
  return value.properties.flatMap((property) => {
    if (property.type === "SpreadElement") return [];
    const key = name + keyName(source, property);
    return property.type === "ObjectMethod"
      ? [place(key, property)]
      : valuePlaces(source, key, property.value, property);
  });
}

function isFunction(node: Value): boolean {
  return node?.type === "ArrowFunctionExpression" || node?.type === "FunctionExpression";
}

/** ".name", ".get name", or with brackets as in an access: "[EVTCHNOP.send]", `["virtio-block"]`. */
function keyName(source: string, { key, computed }: { key: Node & { type: string }; computed?: boolean }, kind = "") {
  const text = source.slice(key.start!, key.end!);
  return computed || key.type.endsWith("Literal") ? `${kind && "." + kind}[${text}]` : `.${kind}${text}`;
}

function place(name: string, { start, end }: Node): Place {
  return { name, start: start!, end: end! };
}

const CLOSING = [")", "]", "}"];

/** A token as text: "" for a comma before a bracket that closes, unless it leaves a hole in a list. */
function normalised({ source, tokens }: ParsedModule, index: number): string {
  const { type, value, start, end } = tokens[index];
  if (type.label === "string") return JSON.stringify(value);
  if (type.label !== ",") return source.slice(start, end);
  const opensHole = ["[", ","].includes(tokens[index - 1].type.label);
  return CLOSING.includes(tokens[index + 1].type.label) && !opensHole ? "" : ",";
}
