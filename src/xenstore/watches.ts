/** Watches: who hears of which changes. */

import { isRelative, isWithin } from "./path.ts";

/** A watch that a connection, or the tool stack, has set. */
export interface Watch {
  /** Canonical. */
  readonly path: string;
  /** The path as it was set. */
  readonly asked: string;
  /** Handed back with each event, byte by byte. */
  readonly token: string;
}

/** Who has watches. */
export interface Watcher {
  /** By whose rights it watches. */
  readonly domid: number;
  /** Those set now. */
  readonly watches: readonly Watch[];
  /** One of them fires. @param path as {@linkcode eventPath} gives it; @param cause the request that made the change, of another domain maybe */
  notify(watch: Watch, path: string, cause?: Cause): void;
}

/** A request of a domain that changed something: it counts as outstanding until the last of its events is sent. */
export interface Cause {
  /** Another event of it waits. */
  wait(): void;
  /** One that waited was sent, or never will be. */
  sent(): void;
}

/** Whether a watch hears of a change. @param exact see {@linkcode View.changed} */
export function hears(watch: Watch, path: string, exact: boolean): boolean {
  return exact ? path === watch.path : isWithin(path, watch.path);
}

/** How an event names the path that changed: relative if the watch's path was. */
export function eventPath(watch: Watch, path: string): string {
  return isRelative(watch.asked) ? path.slice(watch.path.length - watch.asked.length) : path;
}
