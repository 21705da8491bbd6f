/** `dm`: a device model in a process of its own, for the domain of another. */

import { HypervisorConnection, HypervisorUnavailable } from "../dm/connection.ts";
import { type DeviceModel, loadModel } from "../dm/model.ts";
import { RemoteServer } from "../dm/remote_server.ts";
import { DeviceModelRuntime } from "../dm/runtime.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import { STATUS } from "../domain/outcome.ts";
import { describe } from "../domain/worker.ts";
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
  const url = moduleUrl(module);
  let model: DeviceModel;
  try {
    model = await loadModel(url);
  } catch (error) {
    return sayFailed(module, error);
  }
  using connection = await HypervisorConnection.open(socket, timeoutMs);
  using server = attach(connection, socket);
  try {
    await serve(model, server, configuration);
  } catch (error) {
    if (!(error instanceof HypervisorUnavailable)) return sayFailed(module, error);
    // What is asked for after the domain's end finds nobody.
    if (!server.area.released) throw error;
  }
  if (server.lost) throw new HypervisorUnavailable(socket, "the hypervisor is gone");
  return STATUS.OK;
}

/** @throws {HypervisorUnavailable} it has no room for another server, say */
function attach(connection: HypervisorConnection, socket: string): RemoteServer {
  try {
    return new RemoteServer(connection);
  } catch (error) {
    throw error instanceof DmOpError ? new HypervisorUnavailable(socket, error.message) : error;
  }
}

async function serve(model: DeviceModel, server: RemoteServer, configuration: unknown): Promise<void> {
  using runtime = new DeviceModelRuntime(server);
  runtime.watch(server.hangUp);
  await model(runtime, configuration);
  server.enable();
  runtime.serve();
}

function sayFailed(module: string, error: unknown): number {
  say(`${module} failed: ${describe(error)}`);
  return STATUS.INTERNAL;
}

/** A path is relative to the current directory. @throws {UsageError} there is no such file */
function moduleUrl(module: string): string {
  if (/^[a-z]+:/.test(module)) return module;
  try {
    if (!Deno.statSync(module).isFile) throw new UsageError(`${module}: not a regular file`);
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(`${module}: no such file`);
  }
  return new URL(module, `file://${Deno.cwd()}/`).href;
}
