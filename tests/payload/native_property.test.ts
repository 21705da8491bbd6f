/** Native payloads against a naive model of their stack, whatever is asked of them (XENOLITH_PROPERTY_RUNS). */

import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import * as calls from "../../src/linux/calls.ts";
import { EBUSY, EEXIST, EINVAL } from "../../src/linux/errno.ts";
import { viewAt } from "../../src/linux/mapping.ts";
import { nativeCode } from "../../src/linux/native_symbols.ts";
import type { NativePayload } from "../../src/payload/native_payload.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";
import { program, testWith } from "../support/capabilities.ts";
import { compile, LIVEPATCH_H, NativeMachine } from "./native_machine.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 100);
const GCC = program("gcc", "gcc");

/** What each payload has xl_clock answer; the last one can be applied once, because it has data. */
const VALUES = [11, 22, 33], STATEFUL = 2;

function source(index: number): string {
  const data = index === STATEFUL ? "int count; int counted(void) { return ++count; }" : "";
  return `${LIVEPATCH_H}
${data}
double clock${index}(void) { return ${VALUES[index]}; }
REPLACE(clock, "xl_clock", 16, .new_addr = clock${index});`;
}

/** Payloads, and which of them the model has loaded, applied, and applied ever since they were loaded. */
class Pair extends NativeMachine {
  readonly #handles: (NativePayload | undefined)[] = [];
  readonly #loaded = new Set<number>();
  readonly #applied: number[] = [];
  readonly #wasApplied = new Set<number>();

  constructor(private readonly objects: readonly Uint8Array[]) {
    super();
  }

  load(index: number): void {
    this.#expect(this.#loaded.has(index) ? EEXIST : 0, () => {
      this.#handles[index] = this.payloads.load(this.objects[index], `payload ${index}`);
      this.#loaded.add(index);
      this.#wasApplied.delete(index);
    });
  }

  apply(index: number): void {
    const isSpent = index === STATEFUL && this.#wasApplied.has(index);
    const mayBe = this.#loaded.has(index) && !this.#applied.includes(index) && !isSpent;
    this.#expect(mayBe ? 0 : EINVAL, () => {
      this.#handles[index]?.apply();
      this.#applied.push(index);
      this.#wasApplied.add(index);
    }, index);
  }

  revert(index: number): void {
    const isApplied = this.#applied.includes(index);
    this.#expect(!isApplied ? EINVAL : this.#applied.at(-1) === index ? 0 : EBUSY, () => {
      this.#handles[index]?.revert();
      this.#applied.pop();
    }, index);
  }

  unload(index: number): void {
    this.#expect(this.#applied.includes(index) ? EINVAL : 0, () => {
      this.#handles[index]?.[Symbol.dispose]();
      this.#loaded.delete(index);
    }, index);
  }

  check(): void {
    const top = this.#applied.at(-1), isOurs = VALUES.includes(calls.clock());
    assertEquals(isOurs ? calls.clock() : undefined, top === undefined ? undefined : VALUES[top]);
    for (const [index, payload] of this.#handles.entries()) {
      if (!this.#loaded.has(index)) continue;
      assertEquals(payload?.state, this.#applied.includes(index) ? "APPLIED" : "CHECKED");
    }
    assertEquals(this.payloads.payloads.length, this.#loaded.size);
  }

  /** @param index of a payload that must have been loaded once, or nothing is done */
  #expect(errno: number, body: () => void, index?: number): void {
    if (index !== undefined && this.#handles[index] === undefined) return;
    if (errno === 0) return body();
    assertEquals(assertThrows(body, PayloadError).errno, errno);
  }
}

testWith([GCC], "payloads do what the naive model does, and leave our code as it was", async () => {
  const objects = await Promise.all(VALUES.map((_, index) => compile(source(index))));
  const { first, end } = nativeCode();
  const code = () => new Uint8Array(viewAt(first, Number(end - first))).slice();
  const before = code();
  const step = fc.record({
    do: fc.constantFrom("load" as const, "apply" as const, "apply" as const, "revert" as const, "unload" as const),
    index: fc.nat(VALUES.length - 1),
  });
  const property = fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
    using pair = new Pair(objects);
    const none = pair.holdings;
    for (const step of steps) {
      pair[step.do](step.index);
      pair.check();
    }
    pair.payloads[Symbol.dispose]();
    assertEquals([code(), pair.holdings], [before, none]);
  });
  fc.assert(property, { numRuns: RUNS });
});
