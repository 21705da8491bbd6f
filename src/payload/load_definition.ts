/** Runs the module in which an author defines a payload. */

import { EINVAL } from "../linux/errno.ts";
import type { PayloadDefinition } from "./definition.ts";
import { readAuthors } from "./imports.ts";
import { PayloadError } from "./payload_error.ts";

/** What each member of a definition is. */
const MEMBERS: Readonly<Record<keyof PayloadDefinition, "string" | "boolean" | "object">> = {
  name: "string",
  description: "string",
  author: "string",
  date: "string",
  modules: "object",
  handOver: "object",
  hooks: "string",
  native: "object",
  again: "boolean",
};

/** @param url the author's module. @throws {PayloadError} ENOENT, EINVAL: it defines no payload */
export async function loadDefinition(url: URL): Promise<PayloadDefinition> {
  const path = decodeURIComponent(url.pathname);
  await readAuthors(url);
  const definition = await import(url.href).then((module) => module.default, (error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    throw new PayloadError(EINVAL, `${path}: ${message.split("\n")[0]}`);
  });
  if (typeof definition !== "object" || definition === null) {
    throw new PayloadError(EINVAL, `${path}: its default export is not what definePayload() gives`);
  }
  if (typeof definition.name !== "string") throw new PayloadError(EINVAL, `${path}: the payload has no name`);
  for (const [member, value] of Object.entries(definition)) {
    const kind = Object.hasOwn(MEMBERS, member) ? MEMBERS[member as keyof PayloadDefinition] : undefined;
    if (kind === undefined) throw new PayloadError(EINVAL, `${path}: ${member} is nothing that a payload has`);
    if (value === undefined || (typeof value === kind && value !== null)) continue;
    throw new PayloadError(EINVAL, `${path}: ${member} is not of type ${kind}`);
  }
  return definition;
}
