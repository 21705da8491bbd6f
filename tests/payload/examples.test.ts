/** The examples: each builds against this tree and names what it changes. */

import { assertEquals } from "@std/assert";
import { decodePayload } from "../../src/payload/format.ts";
import { program, testWith } from "../support/capabilities.ts";
import { buildExample, EXAMPLES } from "./build_example.ts";

/** What each changes. */
const CHANGES: Readonly<Record<string, readonly string[]>> = {
  "add-port": ["debugConsole"],
  "count-exits": ["VcpuMachine.#portAccess"],
  "fix-uart": ["Uart.readByte"],
  "selection-rule": ["ServerTable.select"],
  "vcpu-loop": ["loop"],
  "veto": ["post", "preApply"],
};

Deno.test("every example is tested", () => {
  const files = [...Deno.readDirSync(EXAMPLES)].map(({ name }) => name).filter((name) => /^[^_]+\.ts$/.test(name));
  assertEquals(files.sort(), Object.keys(CHANGES).map((name) => `${name}.ts`));
});

for (const [name, changes] of Object.entries(CHANGES)) {
  testWith(
    name === "vcpu-loop" ? [program("gcc", "gcc")] : [],
    `examples/payloads/${name}.ts builds and changes ${changes.join(", ")}`,
    async () => {
      const { payload } = await decodePayload(await buildExample(name));
      assertEquals(payload.name, name);
      const functions = payload.modules.flatMap(({ functions }) => functions.map((one) => one.name));
      assertEquals([...functions, ...payload.hooks?.names ?? [], ...payload.native.map(({ name }) => name)], changes);
    },
  );
}
