/** The machine code of payloads that come by file: one arena a process, since its code is one. */

import { EBUSY } from "../linux/errno.ts";
import { MachineMemory } from "../memory/bank.ts";
import { Vmap } from "../memory/vmap.ts";
import type { Payload } from "./manifest.ts";
import type { NativePayload } from "./native_payload.ts";
import { NativePayloads } from "./native_payloads.ts";
import { PayloadError } from "./payload_error.ts";

let arena: NativePayloads | undefined;

/** Made for the first that comes, and never given up: it is empty without any. */
function nativePayloads(): NativePayloads {
  if (arena !== undefined) return arena;
  const machine = new MachineMemory();
  return arena = new NativePayloads(machine, new Vmap(machine));
}

/** The objects of one payload, which come and go together. */
export class NativeParts implements Disposable {
  readonly #parts: readonly NativePayload[];

  /** Loads them. @throws {PayloadError} what is wrong with one; then none is */
  constructor({ name, native, again }: Payload) {
    using stack = new DisposableStack();
    this.#parts = native.map((object) =>
      stack.use(nativePayloads().load(object.bytes, `${name}/${object.name}`, again))
    );
    stack.move();
  }

  /**
   * No thread runs our machine code, but those that wait in system calls.
   * @param inside vCPUs that are inside KVM_RUN for a page
   * @throws {PayloadError} EBUSY one is; what is wrong with one; then none is applied
   */
  apply(inside: number): void {
    this.#requireNobody(inside);
    using stack = new DisposableStack();
    for (const part of this.#parts) {
      part.apply();
      stack.defer(() => part.revert());
    }
    stack.move();
  }

  /** Likewise. */
  revert(inside: number): void {
    this.#requireNobody(inside);
    for (const part of this.#parts.toReversed()) part.revert();
  }

  /** @throws {PayloadError} EBUSY another payload uses one of them */
  requireUnused(): void {
    for (const part of this.#parts) part.requireUnused(this.#parts);
  }

  /** Unloads them. @throws {PayloadError} EBUSY as {@linkcode requireUnused}; then none is unloaded, and it may be tried again */
  [Symbol.dispose](): void {
    this.requireUnused();
    for (const part of this.#parts.toReversed()) part[Symbol.dispose]();
  }

  #requireNobody(inside: number): void {
    if (this.#parts.length === 0 || inside === 0) return;
    throw new PayloadError(EBUSY, `${inside} vCPUs wait for pages, inside machine code that is to change`);
  }
}

/**
 * Takes those of one stack of payloads off from the top, down to what another one has as well, and puts the rest of that
 * on; or changes nothing. What holds for {@linkcode NativeParts.apply} holds here.
 */
export function exchangeParts(stack: readonly NativeParts[], next: readonly NativeParts[], inside: number): void {
  const first = stack.findIndex((parts, index) => next[index] !== parts), kept = first < 0 ? stack.length : first;
  using undo = new DisposableStack();
  for (const parts of stack.slice(kept).toReversed()) {
    parts.revert(inside);
    undo.defer(() => parts.apply(inside));
  }
  for (const parts of next.slice(kept)) {
    parts.apply(inside);
    undo.defer(() => parts.revert(inside));
  }
  undo.move();
}
