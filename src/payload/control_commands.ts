/** Live patching by the control socket (docs/control-protocol.md). */

import { type ControlCommands, ControlError } from "../machine/control_server.ts";
import { MAX_PAYLOAD_BYTES } from "./format.ts";
import { DEFAULT_LIMIT_MS, type LivePatching, type OperationOptions } from "./live_patching.ts";

/** What of a request is of interest here. */
type Request = Record<string, unknown>;

/** The longest stop that can be asked for. */
const MOST_LIMIT_MS = 60_000;

/** The commands for one running domain. */
export function payloadCommands(patching: LivePatching): ControlCommands {
  return {
    "payload-upload": async (_, request) => {
      const file = text("file", request.file);
      return await patching.upload(await readPayload(file), file);
    },
    "payload-get": (_, { name }) => patching.get(text("name", name)),
    "payload-list": async () => ({ buildId: await patching.buildId, payloads: patching.list() }),
    "payload-apply": async (_, request) => await patching.apply(text("name", request.name), optionsOf(request)),
    "payload-revert": async (_, request) => await patching.revert(text("name", request.name), optionsOf(request)),
    "payload-replace": async (_, request) => await patching.replace(text("name", request.name), optionsOf(request)),
    "payload-unload": async (_, { name }) => await patching.unload(text("name", name)),
  };
}

async function readPayload(file: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const { size, isFile } = await Deno.stat(file);
    if (!isFile) throw new ControlError(`file ${file}: not a regular file`);
    if (size > MAX_PAYLOAD_BYTES) throw new ControlError(`file ${file}: ${size} bytes are more than any payload has`);
    return await Deno.readFile(file);
  } catch (error) {
    throw error instanceof Deno.errors.NotFound ? new ControlError(`file ${file}: no such file`) : error;
  }
}

function optionsOf({ nodeps = false, limit_ms: limitMs = DEFAULT_LIMIT_MS }: Request): OperationOptions {
  if (typeof nodeps !== "boolean") throw new ControlError("nodeps: true or false");
  if (typeof limitMs !== "number" || !(limitMs > 0 && limitMs <= MOST_LIMIT_MS)) {
    throw new ControlError(`limit_ms: a number of milliseconds above 0 and up to ${MOST_LIMIT_MS}`);
  }
  return { nodeps, limitMs };
}

function text(what: string, value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw new ControlError(`${what}: a text`);
}
