/** What `payload info` says of a payload. */

import { FORMAT_VERSION, type PayloadFile } from "../payload/format.ts";
import type { PayloadFunction, PayloadModule } from "../payload/manifest.ts";

const encoder = new TextEncoder();

/** As one JSON object: what the manifest has, and what is around it. */
export function payloadObject({ payload, buildId, signature }: PayloadFile) {
  const { modules, hooks, native, ...rest } = payload;
  return {
    schema: 1,
    format: FORMAT_VERSION,
    buildId,
    keyId: signature?.keyId ?? null,
    ...rest,
    modules: modules.map(({ source, ...module }) => ({ ...module, sizeBytes: encoder.encode(source).length })),
    hooks: hooks?.names ?? [],
    native: native.map(({ name, bytes }) => ({ name, sizeBytes: bytes.length })),
  };
}

/** For people, line by line. @param own build-id of this hypervisor, if it has one */
export function describePayload({ payload, buildId, signature }: PayloadFile, own: string | undefined): string[] {
  const { name, depends, again, description, author, date, modules, hooks, native } = payload;
  const rows: readonly (readonly [string, string | undefined])[] = [
    ["payload", name],
    ["description", description],
    ["author", author],
    ["date", date],
    ["build-id", buildId],
    ["depends", `${depends} (${depends === own ? "this hypervisor" : "another payload, or another hypervisor"})`],
    ["signed", signature === undefined ? "no" : `by key ${signature.keyId}`],
    ["again", again ? "may be applied again after a revert" : "may not be applied again after a revert"],
    ...modules.flatMap(moduleRows),
    ["hooks", hooks?.names.join(", ")],
    ...native.map(({ name, bytes }) => ["native", `${name}: ${bytes.length} bytes`] as const),
  ];
  return rows.flatMap(([key, text]) => text === undefined ? [] : [`${key.padEnd(12)}${text.replaceAll("\n", "\\n")}`]);
}

function moduleRows({ path, source, replaces, handOver, functions }: PayloadModule): [string, string][] {
  const how = replaces === null ? "new" : handOver === "reset" ? "device state is zeroed" : "device state is kept";
  return [
    ["module", `${path}: ${encoder.encode(source).length} bytes, ${how}`],
    ...functions.map((one): [string, string] => [`  ${change(one)}`, one.name]),
  ];
}

function change({ old, new: now }: PayloadFunction): string {
  return old === null ? "adds" : now === null ? "removes" : "changes";
}
