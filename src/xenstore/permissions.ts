/** Who may do what with a node. */

import { XenstoreError } from "./xenstore_error.ts";

/** Bits of access. Only the owner, and domid 0, have OWNER. */
export const ACCESS = { NONE: 0, READ: 1, WRITE: 2, OWNER: 4 } as const;

const ALL = ACCESS.READ | ACCESS.WRITE | ACCESS.OWNER;

/** Letters by their bits: n none, r read, w write, b both. */
const LETTERS = "nrwb";

/** One entry. */
export interface Permission {
  /** Whom it is about. */
  readonly domid: number;
  /** {@linkcode ACCESS}.READ and WRITE. */
  readonly access: number;
}

/**
 * A node's permissions. The first entry names the owner, and what everybody gets who is not named; each further one a
 * domain. Of two entries for one domain the first holds.
 */
export type Permissions = readonly [Permission, ...Permission[]];

/** What a domain may do. */
export function accessOf(permissions: Permissions, domid: number): number {
  const [owner, ...named] = permissions;
  if (domid === 0 || domid === owner.domid) return ALL;
  return (named.find((entry) => entry.domid === domid) ?? owner).access;
}

/** Permissions in Xen's notation, a letter and a domid each: `n0`, `r5`. */
export function formatPermissions(permissions: Permissions): string[] {
  return permissions.map(({ domid, access }) => `${LETTERS[access]}${domid}`);
}

/** The reverse of {@linkcode formatPermissions}. @throws {XenstoreError} EINVAL: no entry, or one that reads otherwise */
export function parsePermissions(entries: readonly string[]): Permissions {
  const [owner, ...named] = entries.map((entry): Permission => {
    const match = /^(?<letter>[nrwb])(?<domid>\d{1,5})$/.exec(entry)?.groups;
    if (match === undefined || Number(match.domid) > 0xffff) {
      throw new XenstoreError("EINVAL", `${JSON.stringify(entry.slice(0, 20))} is no permission`);
    }
    return { domid: Number(match.domid), access: LETTERS.indexOf(match.letter) };
  });
  if (owner === undefined) throw new XenstoreError("EINVAL", "permissions without an owner");
  return [owner, ...named];
}

/** The same permissions with another owner. */
export function ownedBy([owner, ...named]: Permissions, domid: number): Permissions {
  return [{ ...owner, domid }, ...named];
}
