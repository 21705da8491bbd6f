/** Builds the payloads of examples/payloads as their README says. */

import { buildPayload } from "../../src/payload/build.ts";
import { encodePayload } from "../../src/payload/format.ts";
import { loadDefinition } from "../../src/payload/load_definition.ts";
import { compile } from "./native_machine.ts";

/** Where they are. */
export const EXAMPLES = new URL("../../examples/payloads/", import.meta.url);

/** The file of one; its machine code is compiled elsewhere. */
export async function buildExample(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const url = new URL(`${name}.ts`, EXAMPLES), definition = await loadDefinition(url);
  if (definition.native === undefined) return await encodePayload(await buildPayload(definition, url));
  const directory = await Deno.makeTempDir({ prefix: "xenolith-examples-" });
  await using _ = { [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }) };
  const at = new URL(`file://${directory}/${name}.ts`);
  for (const file of Object.values(definition.native)) {
    const source = await Deno.readTextFile(new URL(file.replace(/o$/, "c"), url));
    await Deno.writeFile(new URL(file, at), await compile(source, `-I${EXAMPLES.pathname}`));
  }
  return await encodePayload(await buildPayload(definition, at));
}
