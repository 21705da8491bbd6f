/** A store that is handed over to another thread, with all that is under way: the guest cannot tell. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { MESSAGE } from "../../src/xenstore/abi.ts";
import { bytesOf, encode } from "../../src/xenstore/message.ts";
import { Xenstore } from "../../src/xenstore/store.ts";
import { ToolStack } from "../../src/xenstore/tool_stack.ts";
import { type Guest, type MessageName, storeWith } from "./guest.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);

/** A guest's request, or less: a few bytes that it sends or takes, and what is done on the other side meanwhile. */
type Step =
  | { readonly name: MessageName; readonly payload: string; readonly txId: number }
  | { readonly sends: number }
  | { readonly takes: number }
  | { readonly tools: string }
  | "hand over"
  | "reconnect";

const path = fc.constantFrom("a", "a/b", "a/b/c", "/local/domain/1", "@releaseDomain");
const txId = fc.constantFrom(0, 0, 1, 2);
const request = (name: MessageName, payload: fc.Arbitrary<string>) =>
  fc.record({ name: fc.constant(name), payload, txId });
const step: fc.Arbitrary<Step> = fc.oneof(
  request("READ", path.map((path) => `${path}\0`)),
  request("DIRECTORY_PART", path.map((path) => `${path}\0${0}\0`)),
  request("WRITE", fc.tuple(path, fc.constantFrom("", "1", "x".repeat(900))).map((both) => both.join("\0"))),
  request("RM", path.map((path) => `${path}\0`)),
  request("WATCH", fc.tuple(path, fc.constantFrom("t", "u")).map((both) => both.join("\0") + "\0")),
  request("UNWATCH", fc.tuple(path, fc.constantFrom("t", "u")).map((both) => both.join("\0") + "\0")),
  request("TRANSACTION_START", fc.constant("\0")),
  request("TRANSACTION_END", fc.constantFrom("T\0", "F\0")),
  fc.record({ sends: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ sends: fc.constant(2000) }),
  fc.record({ takes: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ takes: fc.constant(2000) }),
  fc.record({ tools: fc.constantFrom("a", "a/b", "z") }),
  fc.constant("hand over" as const),
  fc.constant("reconnect" as const),
);

/** One side of the comparison: a store, its only guest, and what that guest has yet to send. */
class Side {
  #store: Xenstore;
  #tools: ToolStack;
  readonly #guest: Guest;
  #unsent = new Uint8Array();

  /** @param isHandedOver or it does without */
  constructor(private readonly isHandedOver: boolean) {
    const { store, tools, guests: [guest] } = storeWith([1], () => 0);
    [this.#store, this.#tools, this.#guest] = [store, tools, guest];
  }

  /** @returns all that the guest can see of it */
  take(step: Step): unknown {
    if (step === "hand over") this.#handOver();
    else if (step === "reconnect") this.#guest.words[517] = 1;
    else if ("name" in step) {
      const { name, payload, txId } = step;
      const message = encode({ type: MESSAGE[name], reqId: 7, txId }, bytesOf(payload));
      this.#unsent = Uint8Array.from([...this.#unsent, ...message]);
    } else if ("sends" in step) {
      this.#unsent = this.#unsent.slice(this.#guest.send(this.#unsent.subarray(0, step.sends)));
    } else if ("tools" in step) this.#tools.write(`/local/domain/1/${step.tools}`, "tools");
    const notified = this.#guest.ring.service();
    const received = typeof step === "object" && "takes" in step ? this.#guest.receive(step.takes) : [];
    return { notified, received, words: [...this.#guest.words.subarray(512, 519)], error: this.#guest.ring.error };
  }

  #handOver(): void {
    if (!this.isHandedOver) return;
    this.#store = new Xenstore(structuredClone(this.#store.state));
    this.#tools = new ToolStack(this.#store);
    this.#guest.handOver(this.#store);
  }
}

Deno.test("a store that is handed over at any moment answers as one that is not", () => {
  let answers = 0, handOvers = 0;
  const property = fc.property(fc.array(step, { minLength: 20, maxLength: 120, size: "max" }), (steps) => {
    const stays = new Side(false), goes = new Side(true);
    for (const step of [...steps, { sends: 2000 }, { takes: 2000 }]) {
      const expected = stays.take(step) as { received: unknown[] };
      assertEquals(goes.take(step), expected, JSON.stringify(step));
      answers += expected.received.length;
      handOvers += step === "hand over" ? 1 : 0;
    }
  });
  fc.assert(property, { numRuns: RUNS });
  assert(answers > RUNS && handOvers > RUNS, `${answers} answers, ${handOvers} hand-overs`);
});
