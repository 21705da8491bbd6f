/** Whether the sources under a payload are those that it was built for. */

import { EEXIST, EINVAL, ENOENT } from "../linux/errno.ts";
import { sha256 } from "./digest.ts";
import type { Payload, PayloadFunction, PayloadModule } from "./manifest.ts";
import { PayloadError } from "./payload_error.ts";
import type { SourceTree } from "./source_tree.ts";

/**
 * Holds a payload against what it is to be put over. A module that is what the payload replaces needs no more than a
 * digest; of another one the functions are compared: those that the payload names must be as it expects, and the others
 * as it has them itself, or it would undo what somebody else changed.
 *
 * @param tree with the payloads that lie below
 * @throws {PayloadError} EINVAL: an expectation fails; ENOENT: a module or function that is not there; EEXIST: one that
 * is to be new; EOPNOTSUPP: functions would have to be compared, and there is no parser
 */
export async function checkExpectations({ name, modules }: Payload, tree: SourceTree): Promise<void> {
  for (const module of modules) {
    const { path, replaces } = module, current = await tree.read(path);
    if (replaces === null) {
      if (current !== undefined) throw new PayloadError(EEXIST, `${name}: adds ${path}, which is there already`);
    } else if (current === undefined) {
      throw new PayloadError(ENOENT, `${name}: replaces ${path}, which is not there`);
    } else if (await sha256(current) !== replaces) {
      await compareFunctions(name, module, current);
    }
  }
}

async function compareFunctions(payload: string, { path, source, functions }: PayloadModule, current: string) {
  const { differences, functionsOf } = await import("./functions.ts");
  const now = await functionsOf(path, current);
  for (const expected of functions) checkFunction(`${payload}: ${path}`, expected, now.get(expected.name) ?? null);
  const named = new Set(functions.map(({ name }) => name));
  const undone = differences(now, await functionsOf(path, source)).find(({ name }) => !named.has(name));
  if (undone === undefined) return;
  throw new PayloadError(EINVAL, `${payload}: ${path}: would undo a change of ${undone.name}, which it does not name`);
}

function checkFunction(where: string, { name, old }: PayloadFunction, found: string | null): void {
  if (found === old) return;
  if (old === null) throw new PayloadError(EEXIST, `${where}: adds ${name}, which is there already`);
  if (found === null) throw new PayloadError(ENOENT, `${where}: has no ${name}`);
  throw new PayloadError(EINVAL, `${where}: ${name} is not as expected: SHA-256 ${found}, expected ${old}`);
}
