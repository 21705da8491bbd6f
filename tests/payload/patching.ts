/** Payloads for a guest that runs. */

import { buildPayload } from "../../src/payload/build.ts";
import { edit, type PayloadDefinition, replace } from "../../src/payload/definition.ts";
import { decodePayload, encodePayload } from "../../src/payload/format.ts";
import { LivePatching } from "../../src/payload/live_patching.ts";
import { PatchedGuest } from "../support/patched_guest.ts";

/** Long enough for a machine that does other things besides. */
export const SLOW = { limitMs: 5000 };

type Bytes = Uint8Array<ArrayBuffer>;

/** Files count from this folder. */
export async function built(definition: PayloadDefinition, on: readonly Bytes[] = []): Promise<Bytes> {
  const below = await Promise.all(on.map((bytes) => decodePayload(bytes)));
  return await encodePayload(await buildPayload(definition, new URL(import.meta.url), { on: below }));
}

/** The scratch register reads as `value`. */
export function scratch(
  name: string,
  value: string,
  now = "this.#state.getUint8(STATE.scratch)",
): PayloadDefinition {
  return { name, modules: { "src/devices/uart.ts": edit(replace(`return ${now};`, `return ${value};`)) } };
}

/** A guest, and the operations on it. */
export async function patched(cmdline = "", vcpus = 2, image = "watch") {
  const guest = await PatchedGuest.start(image, { vcpus, cmdline });
  const patching = new LivePatching(guest.succession);
  return {
    guest,
    patching,
    async [Symbol.asyncDispose]() {
      await guest[Symbol.asyncDispose]();
      await patching[Symbol.asyncDispose]();
    },
  };
}
