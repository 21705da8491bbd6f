/** `dm`: a device model in a process of its own, for the domain of another. */

import { type DeviceModel, loadModel } from "../dm/model.ts";
import { DeviceModelFailed, serveAt } from "../dm/serve.ts";
import { loadBuiltIn } from "../devices/built_in.ts";
import { STATUS } from "../domain/outcome.ts";
import { describe } from "../domain/worker.ts";
import { moduleUrl } from "../machine/files.ts";
import { UsageError } from "../machine/options.ts";
import { DM_HELP, type DmArguments, parseDm } from "./arguments.ts";
import { say, sayFailure } from "./failure.ts";

/** @returns the exit status */
export async function dm(args: string[]): Promise<number> {
  try {
    const parsed = parseDm(args);
    if (parsed === undefined) {
      console.error(DM_HELP);
      return STATUS.OK;
    }
    return await run(parsed);
  } catch (error) {
    return sayFailure(error);
  }
}

/** The module is loaded first: one that cannot be must not become the socket's device model. */
async function run({ module, socket, configuration, timeoutMs }: DmArguments): Promise<number> {
  const url = existing(module);
  let model: DeviceModel;
  try {
    model = await loadBuiltIn(url) ?? await loadModel(url);
  } catch (error) {
    return sayFailed(module, error);
  }
  try {
    await serveAt(socket, model, configuration, { ...(timeoutMs !== undefined && { timeoutMs }) });
    return STATUS.OK;
  } catch (error) {
    if (error instanceof DeviceModelFailed) return sayFailed(module, error.cause);
    throw error;
  }
}

function sayFailed(module: string, error: unknown): number {
  say(`${module} failed: ${describe(error)}`);
  return STATUS.INTERNAL;
}

/** @throws {UsageError} there is no such file */
function existing(module: string): string {
  const url = moduleUrl(module);
  if (url === module) return url;
  try {
    if (!Deno.statSync(module).isFile) throw new UsageError(`${module}: not a regular file`);
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(`${module}: no such file`);
  }
  return url;
}
