/** What each type of message does, for a connection that has no privileges. */

import { MESSAGE, PAYLOAD_MAX } from "./abi.ts";
import type { XenstoreConnection } from "./connection.ts";
import { bytesOf, payloadOf, stringsOf } from "./message.ts";
import type { StoreNode } from "./node.ts";
import { mkdir, read, remove, setPermissions, write } from "./operations.ts";
import { canonical, domainPath } from "./path.ts";
import { formatPermissions } from "./permissions.ts";
import type { Transaction } from "./transaction.ts";
import type { View } from "./view.ts";
import { XenstoreError } from "./xenstore_error.ts";

/** A request as its command sees it. */
export interface Request {
  /** Whose it is. */
  readonly connection: XenstoreConnection;
  /** What it reads and changes: its transaction, or the store. */
  readonly view: View;
  /** The one that it belongs to, if any. */
  readonly transaction: Transaction | undefined;
  /** As it came. */
  readonly payload: Uint8Array;
  /** The payload's strings; what follows its last NUL is in none. */
  readonly strings: readonly string[];
}

/** How many strings a payload has to have. */
interface Strings {
  readonly least: number;
  readonly most: number;
  /** Whether nothing may follow the last one. */
  readonly closed?: boolean;
}

const ANYTHING: Strings = { least: 0, most: Infinity }, ONE: Strings = { least: 1, most: 1, closed: true };
const TWO: Strings = { least: 2, most: 2 }, AND_MORE: Strings = { least: 1, most: Infinity };
const TWO_AND_MORE: Strings = { least: 2, most: Infinity };

interface Command {
  readonly strings: Strings;
  /** The header's tx_id means nothing. */
  readonly outsideTransactions?: boolean;
  /** @returns the reply's payload: bytes, or the strings that it is to have. @throws {XenstoreError} */
  run(request: Request): Uint8Array | readonly string[];
}

/** Only the tool stack may. */
const PRIVILEGED: Command = {
  strings: ANYTHING,
  outsideTransactions: true,
  run() {
    throw new XenstoreError("EACCES", "only for domain 0");
  },
};
const OK = ["OK"];

/** By {@linkcode MESSAGE}. What is not here is unknown: WATCH_EVENT and ERROR go the other way only. */
const COMMANDS: Readonly<Record<number, Command>> = {
  [MESSAGE.CONTROL]: PRIVILEGED,
  [MESSAGE.INTRODUCE]: PRIVILEGED,
  [MESSAGE.RELEASE]: PRIVILEGED,
  [MESSAGE.IS_DOMAIN_INTRODUCED]: PRIVILEGED,
  [MESSAGE.RESUME]: PRIVILEGED,
  [MESSAGE.SET_TARGET]: PRIVILEGED,
  [MESSAGE.READ]: { strings: ONE, run: (request) => nodeOf(request).value },
  [MESSAGE.DIRECTORY]: { strings: ONE, run: (request) => [...nodeOf(request).children.keys()] },
  [MESSAGE.DIRECTORY_PART]: {
    strings: TWO,
    run: (request) => directoryPart(nodeOf(request), integer(request.strings[1])),
  },
  [MESSAGE.GET_PERMS]: { strings: ONE, run: (request) => formatPermissions(nodeOf(request, true).permissions) },
  [MESSAGE.SET_PERMS]: {
    strings: TWO_AND_MORE,
    run(request) {
      const [, ...entries] = request.strings;
      setPermissions(request.view, request.connection.domid, pathOf(request, true), entries);
      return OK;
    },
  },
  [MESSAGE.WRITE]: {
    strings: AND_MORE,
    run(request) {
      const value = request.payload.slice(request.strings[0].length + 1);
      write(request.view, request.connection.domid, pathOf(request), value);
      return OK;
    },
  },
  [MESSAGE.MKDIR]: {
    strings: ONE,
    run(request) {
      mkdir(request.view, request.connection.domid, pathOf(request));
      return OK;
    },
  },
  [MESSAGE.RM]: {
    strings: ONE,
    run(request) {
      remove(request.view, request.connection.domid, pathOf(request));
      return OK;
    },
  },
  [MESSAGE.WATCH]: {
    strings: TWO,
    outsideTransactions: true,
    run({ connection, strings: [path, token] }) {
      connection.watch(path, token);
      return OK;
    },
  },
  [MESSAGE.UNWATCH]: {
    strings: TWO,
    outsideTransactions: true,
    run({ connection, strings: [path, token] }) {
      connection.unwatch(path, token);
      return OK;
    },
  },
  [MESSAGE.RESET_WATCHES]: {
    strings: ANYTHING,
    run({ connection }) {
      connection.forget();
      return OK;
    },
  },
  [MESSAGE.TRANSACTION_START]: {
    strings: ANYTHING,
    run({ connection, transaction }) {
      if (transaction !== undefined) throw new XenstoreError("EBUSY", "a transaction within another");
      return [String(connection.startTransaction())];
    },
  },
  [MESSAGE.TRANSACTION_END]: {
    strings: ONE,
    run({ connection, transaction, strings: [how] }) {
      if (how !== "T" && how !== "F") throw new XenstoreError("EINVAL", "neither T nor F");
      if (transaction === undefined) throw new XenstoreError("ENOENT", "no transaction to end");
      connection.endTransaction(transaction);
      if (how === "T") transaction.commit();
      return OK;
    },
  },
  [MESSAGE.GET_DOMAIN_PATH]: { strings: ONE, run: ({ strings: [domid] }) => [domainPath(integer(domid))] },
};

/**
 * Carries out a request, in full or not at all.
 * @returns the reply's payload
 * @throws {XenstoreError} the refusal
 */
export function execute(connection: XenstoreConnection, type: number, txId: number, payload: Uint8Array): Uint8Array {
  const command = COMMANDS[type];
  if (command === undefined) throw new XenstoreError("ENOSYS", `message type ${type}`);
  const transaction = command.outsideTransactions ? undefined : connection.transaction(txId);
  const strings = stringsOf(payload), { least, most, closed } = command.strings;
  if (strings.length < least || strings.length > most || (closed && payload.at(-1) !== 0)) {
    throw new XenstoreError("EINVAL", `${strings.length} strings for message type ${type}`);
  }
  const view = transaction ?? connection.store;
  const reply = command.run({ connection, view, transaction, payload, strings });
  const bytes = reply instanceof Uint8Array ? reply : payloadOf(reply);
  if (bytes.length > PAYLOAD_MAX) throw new XenstoreError("E2BIG", `a reply of ${bytes.length} bytes`);
  return bytes;
}

function pathOf({ connection, strings: [path] }: Request, special = false): string {
  return canonical(path, connection.domid, special);
}

function nodeOf(request: Request, special = false): StoreNode {
  return read(request.view, request.connection.domid, pathOf(request, special));
}

/**
 * The node's generation, then as many whole names from byte `offset` of the list of children on as a payload holds, and
 * an empty one if that is all.
 */
function directoryPart(node: StoreNode, offset: number): Uint8Array {
  const generation = payloadOf([String(node.generation)]), room = PAYLOAD_MAX - generation.length - 1;
  const rest = payloadOf(node.children.keys()).subarray(offset);
  if (rest.length <= room) return join(generation, rest, bytesOf("\0"));
  return join(generation, rest.subarray(0, rest.lastIndexOf(0, room - 1) + 1));
}

function join(...parts: Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** As atoi() reads it into an unsigned int: 0 where there is no number. */
function integer(text: string): number {
  return Number.parseInt(text, 10) >>> 0;
}
