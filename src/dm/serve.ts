/** A device model in a process of its own, from its connection to the domain's end. */

import { DmOpError } from "../ioreq/dm_op_error.ts";
import { HypervisorConnection, HypervisorUnavailable, SocketOccupied } from "./connection.ts";
import type { DeviceModel } from "./model.ts";
import { RemoteServer } from "./remote_server.ts";
import { DeviceModelRuntime } from "./runtime.ts";

/** What a device model has thrown is its cause. */
export class DeviceModelFailed extends Error {
  static {
    this.prototype.name = "DeviceModelFailed";
  }
}

/** How often one that is to take over looks whether its place is free. */
const TURN_MS = 2;

/**
 * Waits until nobody is connected to a socket, and takes the place.
 * @throws {HypervisorUnavailable} nobody listens there any more
 */
async function takeTurn(socket: string, timeoutMs: number | undefined): Promise<HypervisorConnection> {
  for (;;) {
    try {
      return await HypervisorConnection.open(socket, timeoutMs);
    } catch (error) {
      if (!(error instanceof SocketOccupied)) throw error;
      await new Promise((resolve) => setTimeout(resolve, TURN_MS));
    }
  }
}

/** How a socket is served. */
export interface ServeOptions {
  /** How long it may take to be there; default: for ever. */
  readonly timeoutMs?: number;
  /** Whether it may be somebody else's yet. */
  readonly inTurn?: boolean;
}

/**
 * Serves the domain behind a socket until it has ended.
 * @throws {HypervisorUnavailable} there is none, it has no room for another server, or it is gone @throws {DeviceModelFailed}
 */
export async function serveAt(socket: string, model: DeviceModel, configuration: unknown, options: ServeOptions = {}) {
  const open = options.inTurn ? takeTurn : HypervisorConnection.open;
  using connection = await open(socket, options.timeoutMs);
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
