/** NativePayload when writing code fails, which the host does not do by itself: each step in turn. */

import { assertEquals, assertThrows } from "@std/assert";
import { EBUSY, EIO } from "../../src/linux/errno.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import type { NativeImage } from "../../src/payload/native_image.ts";
import { NativePayload } from "../../src/payload/native_payload.ts";
import { PayloadError } from "../../src/payload/payload_error.ts";

const FUNCTIONS = 3, CODE = Uint8Array.of(1, 2, 3, 4, 5);

/** A payload whose functions are in plain memory, with steps that fail when they are told to. */
class Fake implements Disposable {
  readonly #memory = Mapping.anonymous(4096, "functions");
  readonly bytes = new Uint8Array(this.#memory.buffer);
  /** Steps until one fails: writes, and the barrier after them. */
  stepsLeft = Infinity;
  readonly payload: NativePayload;

  constructor() {
    this.bytes.forEach((_, index) => this.bytes[index] = index % 251);
    const step = () => {
      if (this.stepsLeft-- === 0) throw new LinuxError("pwrite64", EIO, "code");
    };
    const stack = {
      loaded: new Map<number, NativePayload>(),
      applied: [],
      write: (address: bigint, code: Uint8Array) => {
        step();
        this.bytes.set(code, Number(address - this.#memory.address));
      },
      synchronize: step,
    };
    const functions = Array.from({ length: FUNCTIONS }, (_, index) => ({
      name: `function ${index}`,
      oldAddress: this.#memory.address + BigInt(index * 16),
      newAddress: 1n,
      code: CODE,
      expected: this.bytes.slice(index * 16, index * 16 + index),
    }));
    const image = { [Symbol.dispose]() {} } as NativeImage;
    const parts = { image, functions, symbols: new Map(), uses: new Set<NativePayload>(), keepsState: false };
    this.payload = new NativePayload("fake", 1, parts, stack);
    stack.loaded.set(1, this.payload);
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}

Deno.test("an apply that fails at any step has changed nothing, and may be tried again", () => {
  for (let steps = 0; steps <= FUNCTIONS; steps++) {
    using fake = new Fake();
    const before = fake.bytes.slice();
    fake.stepsLeft = steps;
    assertThrows(() => fake.payload.apply(), LinuxError, "pwrite64");
    assertEquals([fake.payload.state, fake.bytes.slice()], ["CHECKED", before], `${steps} steps`);
    fake.payload.apply();
    assertEquals([fake.payload.state, fake.bytes.slice(16, 21)], ["APPLIED", CODE]);
    fake.payload.revert();
    assertEquals([fake.payload.state, fake.bytes.slice()], ["CHECKED", before]);
  }
});

Deno.test("a revert that fails at any step may be tried again", () => {
  for (let steps = 0; steps <= FUNCTIONS; steps++) {
    using fake = new Fake();
    const before = fake.bytes.slice();
    fake.payload.apply();
    fake.stepsLeft = steps;
    assertThrows(() => fake.payload.revert(), LinuxError, "pwrite64");
    assertEquals(fake.payload.state, "APPLIED");
    fake.payload.revert();
    assertEquals([fake.payload.state, fake.bytes.slice()], ["CHECKED", before], `${steps} steps`);
  }
});

Deno.test("a payload whose jumps somebody else has changed does not revert, and touches nothing", () => {
  using fake = new Fake();
  fake.payload.apply();
  fake.bytes[16] = 99;
  const changed = fake.bytes.slice();
  const error = assertThrows(() => fake.payload.revert(), PayloadError, "fake: function 1: somebody else has changed");
  assertEquals([error.errno, fake.payload.state, fake.bytes.slice()], [EBUSY, "APPLIED", changed]);
});
