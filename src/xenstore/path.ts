/** Paths of nodes: which ones are valid, and how they come apart. */

import { ABS_PATH_MAX, REL_PATH_MAX } from "./abi.ts";
import { XenstoreError } from "./xenstore_error.ts";

const CHARACTERS = /^[A-Za-z0-9/_@-]*$/;
const OWN_PREFIX = /^\/local\/domain\/\d{1,5}\//;

/** The root of all nodes but the special ones. */
export const ROOT_PATH = "/";

/** Where a domain's nodes are, and what its relative paths are relative to: `/local/domain/<domid>`. */
export function domainPath(domid: number): string {
  return `/local/domain/${domid}`;
}

/** Whether a path as it was sent is taken to be below the sender's {@linkcode domainPath}. */
export function isRelative(path: string): boolean {
  return !path.startsWith("/") && !path.startsWith("@");
}

/**
 * The absolute path that `domid` means by `path`.
 *
 * For a domain other than 0 a path has at most 2048 bytes, not counting `/local/domain/<domid>/`; none has more than 3072.
 * @param special whether `@...` is allowed: what can be watched, and has permissions, but neither value nor children
 * @throws {XenstoreError} EINVAL: a character out of place, "//", a "/" at the end, too long
 */
export function canonical(path: string, domid: number, special = false): string {
  const absolute = isRelative(path) ? `${domainPath(domid)}/${path}` : path;
  const own = OWN_PREFIX.exec(absolute)?.[0].length ?? 0;
  const valid = CHARACTERS.test(path) && (special || !path.startsWith("@")) &&
    (absolute === ROOT_PATH || !absolute.endsWith("/")) && !absolute.includes("//") &&
    absolute.length <= ABS_PATH_MAX && (domid === 0 || absolute.length - own <= REL_PATH_MAX);
  if (!valid) throw new XenstoreError("EINVAL", `${JSON.stringify(path.slice(0, 80))} is no path`);
  return absolute;
}

/** The path of the parent; "/" of "/" and of special paths. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash > 0 ? path.slice(0, slash) : ROOT_PATH;
}

/** The path of a child. */
export function childPath(path: string, name: string): string {
  return path === ROOT_PATH ? `/${name}` : `${path}/${name}`;
}

/** The names from the invisible node above "/" down: "/" is [""], "/a/b" is ["", "a", "b"], "@x" is ["@x"]. */
export function namesOf(path: string): string[] {
  return path === ROOT_PATH ? [""] : path.split("/");
}

/** Whether `path` is `ancestor` or below it. */
export function isWithin(path: string, ancestor: string): boolean {
  return ancestor === ROOT_PATH || path === ancestor || path.startsWith(`${ancestor}/`);
}
