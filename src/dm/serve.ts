/** A device model in a process of its own, from its connection to the domain's end. */

import { DmOpError } from "../ioreq/dm_op_error.ts";
import { HypervisorConnection, HypervisorUnavailable } from "./connection.ts";
import type { DeviceModel } from "./model.ts";
import { RemoteServer } from "./remote_server.ts";
import { DeviceModelRuntime } from "./runtime.ts";

/** What a device model has thrown is its cause. */
export class DeviceModelFailed extends Error {
  static {
    this.prototype.name = "DeviceModelFailed";
  }
}

/**
 * Serves the domain behind a socket until it has ended.
 * @param timeoutMs how long the socket may take to be there
 * @throws {HypervisorUnavailable} there is none, it has no room for another server, or it is gone @throws {DeviceModelFailed}
 */
export async function serveAt(socket: string, model: DeviceModel, configuration: unknown, timeoutMs?: number) {
  using connection = await HypervisorConnection.open(socket, timeoutMs);
  using server = attach(connection, socket);
  try {
    await serve(model, server, configuration);
  } catch (error) {
    if (!(error instanceof HypervisorUnavailable)) throw new DeviceModelFailed("", { cause: error });
    // What is asked for after the domain's end finds nobody.
    if (!server.area.released) throw error;
  }
  if (server.lost) throw new HypervisorUnavailable(socket, "the hypervisor is gone");
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
