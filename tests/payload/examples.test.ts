/** The examples: each builds against this tree and names what it changes. */

import { assertEquals } from "@std/assert";
import { buildPayload } from "../../src/payload/build.ts";
import { decodePayload, encodePayload } from "../../src/payload/format.ts";
import { loadDefinition } from "../../src/payload/load_definition.ts";

const FOLDER = new URL("../../examples/payloads/", import.meta.url);

/** What each changes. */
const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  "add-port": ["debugConsole"],
  "count-exits": ["VcpuMachine.#portAccess"],
  "fix-uart": ["Uart.readByte"],
  "selection-rule": ["ServerTable.select"],
  "veto": ["post", "preApply"],
};

Deno.test("every example is tested", () => {
  const files = [...Deno.readDirSync(FOLDER)].map(({ name }) => name).filter((name) => /^[^_]+\.ts$/.test(name));
  assertEquals(files.sort(), Object.keys(EXAMPLES).map((name) => `${name}.ts`));
});

for (const [name, changes] of Object.entries(EXAMPLES)) {
  Deno.test(`examples/payloads/${name}.ts builds and changes ${changes.join(", ")}`, async () => {
    const url = new URL(`${name}.ts`, FOLDER);
    const { payload } = await decodePayload(await encodePayload(await buildPayload(await loadDefinition(url), url)));
    assertEquals(payload.name, name);
    const functions = payload.modules.flatMap(({ functions }) => functions.map((one) => one.name));
    assertEquals([...functions, ...payload.hooks?.names ?? []], changes);
  });
}
