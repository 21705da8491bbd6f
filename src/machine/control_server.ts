/** The control socket: JSON lines that ask a running domain for things (docs/control-protocol.md). */

import { STATUS } from "../domain/outcome.ts";
import { SHUTDOWN_REQUESTS, type ShutdownRequest } from "../domain/xen_state.ts";
import { linesOf } from "./lines.ts";
import type { Machine } from "./machine.ts";
import { UsageError } from "./options.ts";

/** A request that cannot be carried out; the message goes to whoever asked. */
export class ControlError extends Error {
  static {
    this.prototype.name = "ControlError";
  }
}

/** What each command does. The value is the answer's "return". */
export type ControlCommands = Readonly<
  Record<string, (machine: Machine, request: Record<string, unknown>) => unknown>
>;

const MAX_LINE_BYTES = 64 << 10;

/** Those of every machine. */
const COMMANDS: ControlCommands = {
  status: (machine) => ({ paused: machine.paused, vcpus: machine.vcpuStates }),
  statistics: (machine) => machine.statistics,
  pause: async (machine) => {
    await machine.pause();
    return { vcpus: machine.vcpuStates };
  },
  resume: (machine) => {
    machine.resume();
    return {};
  },
  kick: (machine) => {
    machine.kick();
    return {};
  },
  shutdown: (machine) => {
    machine.end({ kind: "stopped", status: STATUS.OK, reason: "stopped through the control socket" });
    return {};
  },
  "request-shutdown": (machine, { reason = "poweroff" }) => {
    if (!isShutdownRequest(reason)) throw new ControlError(`reason: one of ${SHUTDOWN_REQUESTS.join(", ")}`);
    machine.requestShutdown(reason);
    return {};
  },
};

function isShutdownRequest(reason: unknown): reason is ShutdownRequest {
  return SHUTDOWN_REQUESTS.some((known) => known === reason);
}

/** Takes connections from the start, and serves any number of clients from {@linkcode serve} until disposed. */
export class ControlServer implements AsyncDisposable {
  readonly #listener: Deno.UnixListener;
  readonly #connections = new Set<Deno.UnixConn>();
  #serving: Promise<void> | undefined;
  #commands = COMMANDS;

  /** Closing the listener removes the socket. @throws {UsageError} the socket cannot be made: the path exists, say */
  constructor(path: string) {
    try {
      this.#listener = Deno.listen({ transport: "unix", path });
    } catch (error) {
      throw new UsageError(`--control ${path}: ${(error as Error).message}`);
    }
  }

  /** Lets the clients talk to `machine`, those that came before it too. @param more commands */
  serve(machine: Machine, more: ControlCommands = {}): void {
    this.#commands = { ...COMMANDS, ...more };
    this.#serving = this.#accept(machine);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const connection of this.#connections) close(connection);
    await this.#serving;
  }

  async #accept(machine: Machine): Promise<void> {
    const clients: Promise<void>[] = [];
    try {
      for await (const connection of this.#listener) clients.push(this.#converse(connection, machine));
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted)) throw error;
    }
    await Promise.all(clients);
  }

  async #converse(connection: Deno.UnixConn, machine: Machine): Promise<void> {
    this.#connections.add(connection);
    const writer = connection.writable.getWriter();
    const send = (message: unknown) => writer.write(new TextEncoder().encode(JSON.stringify(message) + "\n"));
    try {
      for await (const line of linesOf(connection.readable, requireShort)) {
        if (line.trim() !== "") await send(await this.#answer(line, machine));
      }
    } catch (error) {
      await send({ error: error instanceof Error ? error.message : String(error) }).catch(() => {});
    } finally {
      this.#connections.delete(connection);
      close(connection);
    }
  }

  async #answer(line: string, machine: Machine): Promise<unknown> {
    let id: unknown;
    try {
      const request: unknown = JSON.parse(line);
      if (typeof request !== "object" || request === null) throw new ControlError("a request is a JSON object");
      const { execute, ...others } = request as Record<string, unknown>;
      id = others.id;
      if (typeof execute !== "string" || !Object.hasOwn(this.#commands, execute)) {
        throw new ControlError(`execute: one of ${Object.keys(this.#commands).join(", ")}`);
      }
      return { id, return: await this.#commands[execute](machine, others) };
    } catch (error) {
      const errno = error instanceof Error && "errno" in error ? { errno: error.errno } : {};
      return { id, error: error instanceof Error ? error.message : String(error), ...errno };
    }
  }
}

/** Unless its end was seen before: a stream of the client's, or our own disposal, closes it as well. */
function close(connection: Deno.UnixConn): void {
  try {
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** @throws {ControlError} a line that never ends */
function requireShort(unfinished: string): void {
  if (unfinished.length > MAX_LINE_BYTES) throw new ControlError(`a line of more than ${MAX_LINE_BYTES} bytes`);
}
