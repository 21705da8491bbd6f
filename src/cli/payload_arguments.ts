/** The command line of `payload`. */

import { UsageError } from "../machine/options.ts";
import { given, parse, single } from "./arguments.ts";

/** What `payload` was asked for. */
export type PayloadArguments =
  | {
    readonly command: "build";
    readonly definition: string;
    readonly output: string;
    readonly on: readonly string[];
    readonly key: string | undefined;
  }
  | { readonly command: "info"; readonly file: string; readonly json: boolean }
  | { readonly command: "verify"; readonly file: string; readonly keys: readonly string[] }
  | OperationArguments;

/** An operation on the payloads of a running domain, by its control socket. */
export type OperationArguments =
  & { readonly socket: string }
  & (
    | { readonly command: "upload"; readonly file: string }
    | { readonly command: "list"; readonly json: boolean }
    | { readonly command: "get" | "unload"; readonly name: string }
    | ({ readonly command: "apply" | "revert" | "replace"; readonly name: string } & OperationLimits)
    | ({ readonly command: "load"; readonly file: string } & OperationLimits)
  );

/** As the control protocol has them; undefined: as the run decides. */
export interface OperationLimits {
  readonly nodeps: boolean;
  readonly limitMs: number | undefined;
}

const COMMANDS = "build, info, verify, upload, list, get, apply, revert, replace, unload or load";

/** What `payload --help` says. */
export const PAYLOAD_HELP = `usage: payload build DEFINITION.ts -o FILE.xpl [--on BELOW.xpl]... [--sign KEY.pem]
       payload info FILE.xpl [--json]
       payload verify FILE.xpl --key KEY.pem...
       payload upload SOCKET FILE.xpl
       payload list SOCKET [--json]
       payload get SOCKET NAME
       payload apply|revert|replace SOCKET NAME [--nodeps] [--limit MS]
       payload unload SOCKET NAME
       payload load SOCKET FILE.xpl [--nodeps] [--limit MS]

Builds a payload for the running hypervisor, says what one is, or whether it is signed; and carries out operations on
the payloads of a run by its control socket (run --control SOCKET). load is upload and apply (docs/live-patching.md).

  -o FILE, --output FILE  where the payload goes
  --on FILE               a payload that will lie under it; repeated, the lowest first
  --sign FILE             sign it with an Ed25519 private key: openssl genpkey -algorithm ed25519
  --key FILE              a public key whose signature is taken: openssl pkey -pubout; may be repeated
  --json                  one JSON object on stdout
  --nodeps                whatever lies under it, as long as its functions are those that it expects
  --limit MS              how long vCPUs and device models may take to come to rest (30)

Exit status: 0 done; 64 bad usage, definition, payload, key or signature, or the run refuses the operation;
69 there is no such run, it is over, or it could not do it now: a vCPU or a device model did not come to rest in time,
another payload lies on it, another operation runs.`;

/** Parses the arguments after "payload". @returns undefined for --help. @throws {UsageError} */
export function parsePayload(args: string[]): PayloadArguments | undefined {
  const [command, ...rest] = args;
  if (command === "--help") return undefined;
  switch (command) {
    case "build":
      return parseBuild(rest);
    case "info":
      return parseInfo(rest);
    case "verify":
      return parseVerify(rest);
    case "upload":
    case "load":
    case "list":
    case "get":
    case "unload":
    case "apply":
    case "revert":
    case "replace":
      return parseOperation(command, rest);
    default: {
      const what = command === undefined ? "nothing to do" : `unknown command ${command}`;
      throw new UsageError(`payload: ${what}: ${COMMANDS}; --help says how`);
    }
  }
}

function parseBuild(args: string[]): PayloadArguments | undefined {
  const long = args.map((word) => word === "-o" ? "--output" : word);
  const { options, positional } = parse(long, ["output", "on", "sign"] as const, ["help"] as const);
  if (options.help) return undefined;
  if (!given(options, "output")) throw new UsageError("payload build: -o is missing; --help says how");
  return {
    command: "build",
    definition: one("build", "definition", positional),
    output: single(options, "output"),
    on: options.on,
    key: given(options, "sign") ? single(options, "sign") : undefined,
  };
}

function parseInfo(args: string[]): PayloadArguments | undefined {
  const { options, positional } = parse(args, [] as const, ["json", "help"] as const);
  if (options.help) return undefined;
  return { command: "info", file: one("info", "payload", positional), json: options.json };
}

function parseVerify(args: string[]): PayloadArguments | undefined {
  const { options, positional } = parse(args, ["key"] as const, ["help"] as const);
  if (options.help) return undefined;
  if (!given(options, "key")) throw new UsageError("payload verify: --key is missing; --help says how");
  return { command: "verify", file: one("verify", "payload", positional), keys: options.key };
}

function parseOperation(command: OperationArguments["command"], args: string[]): PayloadArguments | undefined {
  switch (command) {
    case "list": {
      const { options, positional } = parse(args, [] as const, ["json", "help"] as const);
      if (options.help) return undefined;
      if (positional.length !== 1) throw new UsageError(`payload list takes a socket; --help says how`);
      return { command, socket: positional[0], json: options.json };
    }
    case "get":
    case "unload":
    case "upload": {
      const { options, positional } = parse(args, [] as const, ["help"] as const);
      if (options.help) return undefined;
      const [socket, what] = two(command, positional);
      return command === "upload" ? { command, socket, file: what } : { command, socket, name: what };
    }
    default: {
      const { options, positional } = parse(args, ["limit"] as const, ["nodeps", "help"] as const);
      if (options.help) return undefined;
      const [socket, what] = two(command, positional),
        { nodeps } = options,
        limits = { nodeps, limitMs: limit(options) };
      if (command === "revert" && nodeps) {
        throw new UsageError("payload revert takes no --nodeps: nothing lies under it");
      }
      return command === "load"
        ? { command, socket, file: what, ...limits }
        : { command, socket, name: what, ...limits };
    }
  }
}

/** The run says which limits it takes. */
function limit(options: Record<"limit", string[]>): number | undefined {
  if (!given(options, "limit")) return undefined;
  const text = single(options, "limit");
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  throw new UsageError(`--limit ${text}: not a number of milliseconds`);
}

function two(command: OperationArguments["command"], positional: readonly string[]): readonly string[] {
  if (positional.length === 2) return positional;
  const what = command === "upload" || command === "load" ? "file" : "payload's name";
  throw new UsageError(`payload ${command} takes a socket and a ${what}; --help says how`);
}

function one(command: string, what: string, positional: readonly string[]): string {
  if (positional.length === 1) return positional[0];
  throw new UsageError(`payload ${command} takes one ${what}, not ${positional.length}; --help says how`);
}
