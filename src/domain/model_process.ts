/** The process of a device model of the program's: `model-process MODULE SOCKET CONFIGURATION`. */

import { DeviceModelFailed, serveAt } from "../dm/serve.ts";
import { loadBuiltIn } from "../devices/built_in.ts";
import { STATUS } from "./outcome.ts";
import { describe } from "./worker.ts";

/** Whoever started it listens; one that finds nobody has outlived its hypervisor. */
const PATIENCE_MS = 1000;

const [, module, socket, configuration] = Deno.args;
try {
  await serveAt(socket, (await loadBuiltIn(module))!, JSON.parse(configuration), PATIENCE_MS);
} catch (error) {
  const isModels = error instanceof DeviceModelFailed, { message } = error as Error;
  console.error(`xenolith: ${module}: ${isModels ? describe(error.cause) : message}`);
  Deno.exit(isModels ? STATUS.INTERNAL : STATUS.HOST);
}
