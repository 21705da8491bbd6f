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
  | { readonly command: "verify"; readonly file: string; readonly keys: readonly string[] };

/** What `payload --help` says. */
export const PAYLOAD_HELP = `usage: payload build DEFINITION.ts -o FILE.xpl [--on BELOW.xpl]... [--sign KEY.pem]
       payload info FILE.xpl [--json]
       payload verify FILE.xpl --key KEY.pem...

Builds a payload for the running hypervisor, says what one is, or whether it is signed (docs/live-patching.md).

  -o FILE, --output FILE  where the payload goes
  --on FILE               a payload that will lie under it; repeated, the lowest first
  --sign FILE             sign it with an Ed25519 private key: openssl genpkey -algorithm ed25519
  --key FILE              a public key whose signature is taken: openssl pkey -pubout; may be repeated
  --json                  one JSON object on stdout

Exit status: 0 done; 64 bad usage, definition, payload, key or signature.`;

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
    default: {
      const what = command === undefined ? "nothing to do" : `unknown command ${command}`;
      throw new UsageError(`payload: ${what}: build, info or verify; --help says how`);
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

function one(command: string, what: string, positional: readonly string[]): string {
  if (positional.length === 1) return positional[0];
  throw new UsageError(`payload ${command} takes one ${what}, not ${positional.length}; --help says how`);
}
