/** How many mappings vmap may make: so many that the host's limit is not reached, which the engine does not survive. */

import * as calls from "../linux/calls.ts";
import { Descriptor } from "../linux/descriptor.ts";
import { check } from "../linux/linux_error.ts";
import { MappingLimitError } from "../linux/mapping.ts";

/**
 * One mapping in so many is left to the rest of the process, heaps and threads mostly: 2 047 with Linux's usual limit. V8
 * ends the process when the host refuses it one; a heap of some hundred MiB beside 300 buffers and four new Workers took
 * 1 700.
 */
const HEADROOM_DIVISOR = 32;

const LINE_FEED = 10;

/**
 * Counts mappings as they are taken. When those that it was granted are used up, it looks how many the host still has:
 * it reads /proc/self/maps, which takes 50 us with a few mappings, and 20 ms close to the limit.
 */
class MappingBudget {
  #taken = 0;
  #granted = 0;

  /** Mappings that were taken and not given back. */
  get taken(): number {
    return this.#taken;
  }

  /** Takes `count` mappings, before they are made. @throws {MappingLimitError} nothing was taken */
  take(count: number, subject: string): void {
    if (this.#taken + count > this.#granted) this.#granted = this.#taken + Math.max(0, mappingsLeft());
    if (this.#taken + count > this.#granted) throw new MappingLimitError(subject);
    this.#taken += count;
  }

  /** Gives back what was taken, when they are gone. */
  give(count: number): void {
    this.#taken -= count;
  }
}

/** The limit is the process's, and so is the budget. */
export const mappingBudget = new MappingBudget();

/** Mappings that a process can have (vm.max_map_count): 65 530, unless somebody has changed it. */
export function mappingLimit(): number {
  const [limit] = Array.from(
    chunksOf("/proc/sys/vm/max_map_count"),
    (chunk) => Number(new TextDecoder().decode(chunk)),
  );
  return limit;
}

function mappingsLeft(): number {
  const limit = mappingLimit();
  let lines = 0;
  for (const chunk of chunksOf("/proc/self/maps")) {
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, at + 1)) lines++;
  }
  return Math.floor(limit - limit / HEADROOM_DIVISOR) - lines;
}

/** A file's bytes, each chunk in the same buffer. Deno.readFile asks for all permissions where the file is in /proc. */
function* chunksOf(path: string): Generator<Uint8Array> {
  const buffer = new Uint8Array(4096);
  using file = Descriptor.open(path, true);
  for (;;) {
    const size = check(calls.read(file.number, buffer, BigInt(buffer.length)), "read", path);
    if (size === 0) return;
    yield buffer.subarray(0, size);
  }
}
