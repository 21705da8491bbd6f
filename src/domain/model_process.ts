/** The process of a device model of the program's: `model-process MODULE SOCKET CONFIGURATION [in-turn]`. */

import { DeviceModelFailed, serveAt } from "../dm/serve.ts";
import { loadBuiltIn } from "../devices/built_in.ts";
import { DiskError } from "../devices/disk_file.ts";
import { VhostUserError } from "../virtio/vhost_user_connection.ts";
import { STATUS } from "./outcome.ts";
import { describe } from "./worker.ts";
import { IN_TURN } from "./process_words.ts";

/** Whoever started it listens; one that finds nobody has outlived its hypervisor. */
const PATIENCE_MS = 1000;

/** What a model throws for the lack of what it was told to use: nothing is wrong with it. */
const MISSING = [DiskError, VhostUserError];

const [, module, socket, configuration, turn] = Deno.args;
try {
  const model = (await loadBuiltIn(module))!, inTurn = turn === IN_TURN;
  if (inTurn) console.log("loaded"); // to whoever is about to have it take over
  await serveAt(socket, model, JSON.parse(configuration), { timeoutMs: PATIENCE_MS, inTurn });
} catch (error) {
  const cause = error instanceof DeviceModelFailed ? error.cause : error, { message } = cause as Error;
  const isMissing = MISSING.some((kind) => cause instanceof kind), isOurs = cause !== error && !isMissing;
  console.error(`xenolith: ${isMissing ? message : `${module}: ${isOurs ? describe(cause) : message}`}`);
  Deno.exit(isOurs ? STATUS.INTERNAL : STATUS.HOST);
}
