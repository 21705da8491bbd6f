/** Any sequence of accesses and input, against a naive model and across generations. XENOLITH_PROPERTY_RUNS runs. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Console } from "../../src/devices/console.ts";
import { Uart } from "../../src/devices/uart.ts";
import { FakeMachine, INPUT, OUTPUT } from "./fake_host.ts";
import { NaiveUart } from "./naive_uart.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 2000);
const PORT = 0x3f8, IRQ = 4;

type Step =
  | { readonly kind: "read"; readonly offset: number; readonly size: number }
  | { readonly kind: "write"; readonly offset: number; readonly size: number; readonly value: number }
  | { readonly kind: "type"; readonly bytes: readonly number[] }
  | { readonly kind: "sleep" }
  | { readonly kind: "restart" };

const sizes = fc.oneof({ weight: 8, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.constantFrom(2, 4) });
const bytes = fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 2, 3, 7, 8, 0x0b, 0x18, 0x41, 0x80, 0x81, 0xc7));
const values = fc.oneof({ weight: 8, arbitrary: bytes }, { weight: 1, arbitrary: fc.nat(0xffff_ffff) });
const offsets = fc.nat(7);

const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("read" as const), offset: offsets, size: sizes }) },
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("write" as const), offset: offsets, size: sizes, value: values }),
  },
  // What drivers do most: poll, read and write data, and enable interrupts with the gate open.
  { weight: 3, arbitrary: fc.constantFrom<Step>({ kind: "read", offset: 5, size: 1 }) },
  { weight: 3, arbitrary: fc.constantFrom<Step>({ kind: "read", offset: 0, size: 1 }) },
  { weight: 2, arbitrary: fc.constantFrom<Step>({ kind: "write", offset: 4, size: 1, value: 0x0b }) },
  { weight: 2, arbitrary: fc.constantFrom<Step>({ kind: "write", offset: 3, size: 1, value: 0x03 }) },
  { weight: 2, arbitrary: fc.constantFrom<Step>({ kind: "write", offset: 1, size: 1, value: 0x07 }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("type" as const), bytes: fc.array(fc.nat(255), { maxLength: 40 }) }),
  },
  { weight: 4, arbitrary: fc.constant<Step>({ kind: "sleep" }) },
  { weight: 3, arbitrary: fc.constant<Step>({ kind: "restart" }) },
);

function machine(): FakeMachine {
  return new FakeMachine((host, { descriptors }) => {
    new Uart(host, new Console(host, descriptors, { input: INPUT, output: OUTPUT, escape: null }));
  });
}

/** @returns what the guest sees of it: the value read */
function step(subject: FakeMachine, action: Step): number {
  switch (action.kind) {
    case "read":
      return subject.in(PORT + Math.min(action.offset, 8 - action.size), action.size);
    case "write": {
      const value = action.value % 2 ** (8 * action.size);
      subject.out(PORT + Math.min(action.offset, 8 - action.size), value, action.size);
      return 0;
    }
    case "type":
      subject.descriptors.typed.push(...action.bytes);
      return 0;
    case "sleep":
      subject.sleep();
      return 0;
    case "restart":
      subject.restart();
      return 0;
  }
}

function naiveStep(model: NaiveUart, action: Step): number {
  if (action.kind === "type") model.typed.push(...action.bytes);
  if (action.kind === "sleep") model.sleep();
  let value = 0;
  if (action.kind === "read" || action.kind === "write") {
    const offset = Math.min(action.offset, 8 - action.size);
    for (let byte = 0; byte < action.size; byte++) {
      if (action.kind === "read") value += model.read(offset + byte) * 256 ** byte;
      else model.write(offset + byte, Math.floor(action.value / 256 ** byte) % 256);
    }
  }
  return value;
}

/** Takes the gate, the loop-back and the latch away and reads until there is nothing more. */
const DRAIN: Step[] = [
  { kind: "write", offset: 3, size: 1, value: 3 },
  { kind: "write", offset: 4, size: 1, value: 0x0b },
  { kind: "write", offset: 1, size: 1, value: 1 },
];
const DRAIN_BYTE: Step[] = [{ kind: "sleep" }, { kind: "read", offset: 5, size: 1 }, {
  kind: "read",
  offset: 0,
  size: 1,
}];

Deno.test("Uart behaves as the naive model, whatever is done to it, and loses or swaps no input", () => {
  const property = fc.property(fc.array(steps, { maxLength: 120 }), (actions) => {
    const subject = machine(), model = new NaiveUart();
    const typed = actions.flatMap((action) => action.kind === "type" ? [...action.bytes] : []);
    const drain = [...DRAIN, ...Array.from({ length: typed.length + 32 }, () => DRAIN_BYTE).flat()];
    for (const action of [...actions, ...drain]) {
      assertEquals(step(subject, action), naiveStep(model, action), JSON.stringify(action));
      assertEquals(subject.level(IRQ), model.level, `level after ${JSON.stringify(action)}`);
    }
    assertEquals(model.delivered, typed);
    assertEquals(subject.descriptors.printed, model.printed);
    assertEquals(subject.shutdowns, []);
  });
  fc.assert(property, { numRuns: RUNS });
});

Deno.test("a new generation of Uart shows no difference, not even in the edges of its line", () => {
  const property = fc.property(fc.array(steps, { maxLength: 120 }), (actions) => {
    const replaced = machine(), kept = machine();
    for (const action of actions) {
      const other = action.kind === "restart" ? 0 : step(kept, action);
      assertEquals(step(replaced, action), other, JSON.stringify(action));
    }
    replaced.sleep();
    kept.sleep();
    assertEquals(replaced.edges, kept.edges);
    assertEquals(replaced.descriptors.printed, kept.descriptors.printed);
    assertEquals(new Uint8Array(replaced.state), new Uint8Array(kept.state));
  });
  fc.assert(property, { numRuns: RUNS });
});
