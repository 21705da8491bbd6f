/** The process of a device model of the program's: `model-process MODULE SOCKET CONFIGURATION`. */

import { DeviceModelFailed, serveAt } from "../dm/serve.ts";
import { loadBuiltIn } from "../devices/built_in.ts";
import { DiskError } from "../devices/disk_file.ts";
import { VhostUserError } from "../virtio/vhost_user_connection.ts";
import { STATUS } from "./outcome.ts";
import { describe } from "./worker.ts";

/** Whoever started it listens; one that finds nobody has outlived its hypervisor. */
const PATIENCE_MS = 1000;

/** What a model throws for the lack of what it was told to use: nothing is wrong with it. */
const MISSING = [DiskError, VhostUserError];

const [, module, socket, configuration] = Deno.args;
try {
  await serveAt(socket, (await loadBuiltIn(module))!, JSON.parse(configuration), PATIENCE_MS);
} catch (error) {
  const cause = error instanceof DeviceModelFailed ? error.cause : error, { message } = cause as Error;
  const isMissing = MISSING.some((kind) => cause instanceof kind), isOurs = cause !== error && !isMissing;
  console.error(`xenolith: ${isMissing ? message : `${module}: ${isOurs ? describe(cause) : message}`}`);
  Deno.exit(isOurs ? STATUS.INTERNAL : STATUS.HOST);
}
