/** `payload upload` and its like: operations on the payloads of a run, as xen-livepatch(8) has them. */

import { errnoName } from "../linux/errno.ts";
import type { PayloadStatus } from "../payload/live_patching.ts";
import { type Aftermath, describeAftermath, describePause, type Pause } from "../payload/pause.ts";
import { ControlClient, ControlRefusal, RunUnavailable } from "./control_client.ts";
import type { OperationArguments, OperationLimits } from "./payload_arguments.ts";

/**
 * Carries out an operation.
 * @returns what there is to say about it
 * @throws {ControlRefusal} @throws {RunUnavailable} with the socket's name before what is wrong
 */
export async function operate(asked: OperationArguments): Promise<string> {
  try {
    using client = await ControlClient.connect(asked.socket);
    return await carryOut(client, asked);
  } catch (error) {
    if (error instanceof RunUnavailable) throw new RunUnavailable(`${asked.socket}: ${error.message}`);
    if (!(error instanceof ControlRefusal)) throw error;
    const number = error.errno === undefined ? "" : ` (${errnoName(error.errno)})`;
    throw new ControlRefusal(`${asked.command}: ${error.message}${number}`, error.errno);
  }
}

async function carryOut(client: ControlClient, asked: OperationArguments): Promise<string> {
  switch (asked.command) {
    case "upload": {
      const { name, buildId } = await upload(client, asked.file);
      return `${name}: uploaded, build-id ${buildId}`;
    }
    case "list": {
      const { buildId, payloads } = await client.execute("payload-list") as unknown as List;
      if (asked.json) return JSON.stringify({ schema: 1, buildId, payloads });
      return [`hypervisor, build-id ${buildId}`, ...payloads.map(describe)].join("\n");
    }
    case "get":
      return describe(await client.execute("payload-get", { name: asked.name }) as unknown as PayloadStatus);
    case "apply":
    case "revert":
    case "replace":
      return `${asked.name}: ${DONE[asked.command]}, ${await act(client, asked.command, asked.name, asked)}`;
    case "unload":
      return `${asked.name}: unloaded${
        describeAftermath(await client.execute("payload-unload", { name: asked.name }) as unknown as Aftermath)
      }`;
    case "load":
      return await load(client, asked);
  }
}

/** What `payload-list` returns. */
interface List {
  readonly buildId: string;
  readonly payloads: readonly PayloadStatus[];
}

const DONE = { apply: "applied", revert: "reverted", replace: "applied in place of all others" } as const;

/** The run may have another current directory. */
async function upload(client: ControlClient, file: string): Promise<PayloadStatus> {
  const path = file.startsWith("/") ? file : `${Deno.cwd()}/${file}`;
  return await client.execute("payload-upload", { file: path }) as unknown as PayloadStatus;
}

/** One that cannot be applied does not stay. */
async function load(client: ControlClient, { file, ...limits }: OperationLimits & { readonly file: string }) {
  const { name } = await upload(client, file);
  try {
    return `${name}: applied, ${await act(client, "apply", name, limits)}`;
  } catch (error) {
    if (error instanceof ControlRefusal) await client.execute("payload-unload", { name }).catch(() => {});
    throw error;
  }
}

async function act(
  client: ControlClient,
  command: "apply" | "revert" | "replace",
  name: string,
  { nodeps, limitMs }: OperationLimits,
): Promise<string> {
  const members = { name, ...(nodeps && { nodeps }), ...(limitMs !== undefined && { limit_ms: limitMs }) };
  return describePause(await client.execute(`payload-${command}`, members) as unknown as Pause);
}

function describe({ name, state, rc, buildId }: PayloadStatus): string {
  return `${name}: ${state}, rc ${rc === 0 ? "0" : `-${errnoName(-rc)}`}, build-id ${buildId}`;
}
