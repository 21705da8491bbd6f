/** The process of a device model of the program's: `model-process MODULE SOCKET CONFIGURATION [in-turn]`. */

import { HypervisorUnavailable } from "../dm/connection.ts";
import { DeviceModelFailed, serveAt } from "../dm/serve.ts";
import { loadBuiltIn } from "../devices/built_in.ts";
import { isMissing } from "../devices/missing.ts";
import { PacketListener } from "../linux/socket.ts";
import { SocketPathError } from "../linux/socket_path.ts";
import { STATUS } from "./outcome.ts";
import { describe } from "./worker.ts";
import { IN_TURN, LOADED } from "./process_words.ts";

/** Whoever started it listens; one that finds nobody has outlived its hypervisor. */
const PATIENCE_MS = 1000;

/** How often, and how far apart, it is looked whether one that is gone has gone altogether. */
const LOOKS = 100, LOOK_MS = 10;

const [, module, socket, configuration, turn] = Deno.args;

/** To whoever has started it, if that is still there. */
function say(text: string): void {
  try {
    Deno.stdout.writeSync(new TextEncoder().encode(text));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/**
 * What a hypervisor that was killed has left, goes: the socket, and by the last model the sockets' directory. It closes
 * what it has open one by one: somebody may seem to listen there for a moment.
 */
async function removeLeft(): Promise<void> {
  for (let look = 0; look < LOOKS; look++) {
    try {
      PacketListener.create(socket)[Symbol.dispose]();
      return Deno.removeSync(socket.slice(0, socket.lastIndexOf("/")));
    } catch (error) {
      if (!(error instanceof SocketPathError)) return; // others have still to come, or all was removed
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

try {
  const model = (await loadBuiltIn(module))!, inTurn = turn === IN_TURN;
  if (inTurn) say(LOADED);
  await serveAt(socket, model, JSON.parse(configuration), { timeoutMs: PATIENCE_MS, inTurn });
} catch (error) {
  const cause = error instanceof DeviceModelFailed ? error.cause : error;
  const isOurs = cause !== error && !isMissing(cause);
  say(isOurs ? describe(cause) : (cause as Error).message);
  if (error instanceof HypervisorUnavailable) await removeLeft();
  Deno.exit(isOurs ? STATUS.INTERNAL : STATUS.HOST);
}
