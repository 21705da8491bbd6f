/** `payload`: builds payloads for the running hypervisor, says what one is, and has a run apply them. */

import { STATUS } from "../domain/outcome.ts";
import { fileUrl } from "../machine/files.ts";
import { UsageError } from "../machine/options.ts";
import { buildPayload } from "../payload/build.ts";
import { decodePayload, encodePayload, MAX_PAYLOAD_BYTES, type PayloadFile } from "../payload/format.ts";
import { loadDefinition } from "../payload/load_definition.ts";
import { PayloadError } from "../payload/payload_error.ts";
import { parsePublicKey, signPayload, verifyPayload } from "../payload/signature.ts";
import { buildIdOf, PROGRAM_ROOT } from "../payload/source_tree.ts";
import { sayFailure } from "./failure.ts";
import { parsePayload, PAYLOAD_HELP, type PayloadArguments } from "./payload_arguments.ts";
import { describePayload, payloadObject } from "./payload_description.ts";

/** @returns the exit status */
export async function payload(args: string[]): Promise<number> {
  try {
    const parsed = parsePayload(args);
    if (parsed === undefined) console.error(PAYLOAD_HELP);
    else await carryOut(parsed);
    return STATUS.OK;
  } catch (error) {
    return sayFailure(error);
  }
}

async function carryOut(asked: PayloadArguments): Promise<void> {
  switch (asked.command) {
    case "build":
      return await build(asked);
    case "info": {
      const file = await readPayload(asked.file);
      if (asked.json) console.log(JSON.stringify(payloadObject(file)));
      else console.log(describePayload(file, await ownBuildId()).join("\n"));
      return;
    }
    case "verify": {
      const keys = await Promise.all(asked.keys.map(async (path) => parsePublicKey(path, await readText(path))));
      const { name, id } = await verifyPayload(await readPayload(asked.file), keys);
      console.log(`${asked.file}: signed by ${name} (key ${id})`);
      return;
    }
    default:
      console.log(await (await import("./payload_operations.ts")).operate(asked));
  }
}

/** This hypervisor's; undefined: it is a bundle, and no payload is for it. */
async function ownBuildId(): Promise<string | undefined> {
  try {
    return await buildIdOf(PROGRAM_ROOT);
  } catch (error) {
    if (error instanceof PayloadError) return undefined;
    throw error;
  }
}

async function build({ definition, output, on, key }: PayloadArguments & { command: "build" }): Promise<void> {
  const url = fileUrl(definition);
  const below = await Promise.all(on.map(readPayload));
  let bytes = await encodePayload(await buildPayload(await loadDefinition(url), url, { on: below }));
  if (key !== undefined) bytes = await signPayload(bytes, key, await readText(key));
  try {
    await Deno.writeFile(output, bytes);
  } catch (error) {
    throw new UsageError(`${output}: cannot be written: ${(error as Error).message}`);
  }
}

async function readPayload(path: string): Promise<PayloadFile> {
  return await decodePayload(await read(path), path);
}

async function readText(path: string): Promise<string> {
  return new TextDecoder().decode(await read(path));
}

/** @throws {UsageError} it cannot be read, or is longer than any payload */
async function read(path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const { isFile, size } = await Deno.stat(path);
    if (!isFile) throw new UsageError(`${path}: not a regular file`);
    if (size > MAX_PAYLOAD_BYTES) throw new UsageError(`${path}: ${size} bytes, more than a payload can have`);
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    if (error instanceof Deno.errors.NotFound) throw new UsageError(`${path}: no such file`);
    throw new UsageError(`${path}: cannot be read: ${(error as Error).message}`);
  }
}
