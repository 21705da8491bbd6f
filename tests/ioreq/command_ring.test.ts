/** CommandRing: commands in their order, each once, with a result; and whatever a device model writes there, it is bounded. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { COMMAND, COMMAND_ENTRIES, COMMAND_RING_BYTES, CommandRing } from "../../src/ioreq/command_ring.ts";
import { SERVER_TABLE_BYTES, ServerTable } from "../../src/ioreq/server_table.ts";
import { errnoName } from "../../src/linux/errno.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { PAGE_SIZE, roundUp } from "../../src/memory/address.ts";
import type { PhysicalMap } from "../../src/memory/physical_map.ts";
import { TRANSPORT } from "../../src/memory/stage_area.ts";
import { FIRST, SERVER, TestWindows } from "../memory/test_windows.ts";
import { BareServers } from "./bare_server.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);
const PAGES = 16, EINVAL = 22;

/** A ring between a device model and a server over a PhysicalMap that writes down what it is told. */
class TestRing implements Disposable {
  readonly #stack = new DisposableStack();
  readonly #table = this.#stack.use(Mapping.anonymous(roundUp(SERVER_TABLE_BYTES, PAGE_SIZE), "server table"));
  readonly #memory = this.#stack.use(Mapping.anonymous(roundUp(COMMAND_RING_BYTES, PAGE_SIZE), "command ring"));
  readonly server = this.#stack.use(new BareServers(new ServerTable(this.#table.address))).create(SERVER);
  readonly bytes = new Uint8Array(this.#memory.buffer, 0, COMMAND_RING_BYTES);
  readonly words = new Int32Array(this.#memory.buffer, 0, COMMAND_RING_BYTES / 4);
  /** The device model's side and the hypervisor's. */
  readonly model = new CommandRing(this.#memory.buffer, 0);
  readonly ring = new CommandRing(this.#memory.buffer, 0);
  readonly told: string[] = [];
  /** What the next ones result in. */
  results: number[] = [];
  readonly map = {
    map: (...args: unknown[]) => this.told.push(`map ${args.join(" ")}`) && (this.results.shift() ?? 0),
    revoke: (...args: unknown[]) => this.told.push(`revoke ${args.join(" ")}`) && (this.results.shift() ?? 0),
    flush: () => {},
  } as unknown as PhysicalMap;

  drain(map = this.map): void {
    this.ring.drain(this.server, map);
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

Deno.test("commands are carried out in their order, each once, and have results of their own", () => {
  using test = new TestRing();
  assertEquals([test.ring.isPending(test.server), test.model.hasRoom], [false, true]);
  const indices = [
    test.model.push(COMMAND.MAP, 2 ** 40 + 5, 7, 3, 9, false),
    test.model.push(COMMAND.REVOKE, 0xfd000, 512, 0, 0, false),
    test.model.push(COMMAND.MAP, 1, 1, 15, 2 ** 32 - 1, true),
  ];
  assert(test.ring.isPending(test.server));
  test.results = [0, 2, 22];
  test.drain();
  assertEquals(test.told, [
    `map 3 ${2 ** 40 + 5} 7 3 9 false`,
    "revoke 3 1036288 512",
    `map 3 1 1 15 ${2 ** 32 - 1} true`,
  ]);
  assertEquals(indices.map((index) => test.model.result(index)), [0, -2, -22]);
  assertEquals([test.model.taken, test.model.pushed, test.ring.isPending(test.server)], [3, 3, false]);
  test.drain();
  assertEquals(test.told.length, 3);
});

Deno.test("the ring has room for 256 commands, over the end of its memory and of its indices", () => {
  using test = new TestRing();
  test.words[0] = test.words[1] = -100; // indices run over after the next hundred
  test.server.commandsTaken = 2 ** 32 - 100;
  for (let round = 0; round < 3; round++) {
    test.told.length = 0;
    for (let count = 0; count < COMMAND_ENTRIES; count++) {
      assert(test.model.hasRoom);
      test.model.push(COMMAND.REVOKE, count, 1, 0, 0, false);
    }
    assertEquals(test.model.hasRoom, false);
    test.drain();
    assertEquals(test.told, Array.from({ length: COMMAND_ENTRIES }, (_, gfn) => `revoke 3 ${gfn} 1`));
    assertEquals([test.model.hasRoom, test.ring.isPending(test.server)], [true, false]);
  }
});

Deno.test("operations that there are not are EINVAL, and those beside them are carried out", () => {
  using test = new TestRing();
  const indices = [0, 3, 255].map((op) => test.model.push(op as 1, 1, 1, 0, 0, false));
  const good = test.model.push(COMMAND.REVOKE, 1, 1, 0, 0, false);
  test.drain();
  assertEquals(indices.map((index) => test.model.result(index)), Array(3).fill(-EINVAL));
  assertEquals([test.model.result(good), test.told], [0, ["revoke 3 1 1"]]);
});

Deno.test("an index that jumps anywhere has at most 256 commands carried out, and is believed from then on", () => {
  for (const pushed of [257, 1000, 2 ** 31, 2 ** 32 - 1]) {
    using test = new TestRing();
    test.words[0] = pushed | 0;
    test.drain();
    assertEquals([test.told.length <= COMMAND_ENTRIES, test.ring.isPending(test.server)], [true, false], `${pushed}`);
    const index = test.model.push(COMMAND.REVOKE, 4, 1, 0, 0, false);
    test.told.length = 0;
    test.drain();
    assertEquals([index, test.told], [pushed, ["revoke 3 4 1"]]);
  }
});

Deno.test("what the device model says was taken is not believed", () => {
  using test = new TestRing();
  test.model.push(COMMAND.REVOKE, 1, 1, 0, 0, false);
  test.drain();
  for (const taken of [0, 2, -1, 2 ** 31]) {
    test.words[1] = taken | 0;
    assertEquals(test.ring.isPending(test.server), false);
    test.drain();
  }
  assertEquals(test.told.length, 1);
});

Deno.test("an exception leaves no lock behind, and commands are not carried out twice for it", () => {
  using test = new TestRing();
  const throwing = {
    ...test.map,
    map: () => {
      throw new RangeError("a mistake");
    },
  } as unknown as PhysicalMap;
  test.model.push(COMMAND.MAP, 1, 1, 0, 0, false);
  try {
    test.drain(throwing);
  } catch (error) {
    assert(error instanceof RangeError);
  }
  assertEquals(test.ring.isPending(test.server), false);
  test.model.push(COMMAND.REVOKE, 1, 1, 0, 0, false);
  test.drain(); // would wait for the lock for ever
  assertEquals(test.told, ["revoke 3 1 1"]);
});

Deno.test("drop() forgets what a device model has left there", () => {
  using test = new TestRing();
  for (let count = 0; count < 5; count++) test.model.push(COMMAND.REVOKE, count, 1, 0, 0, false);
  test.ring.drop(test.server);
  assertEquals([test.ring.isPending(test.server), test.model.taken], [false, 5]);
  test.model.push(COMMAND.REVOKE, 9, 1, 0, 0, false);
  test.drain();
  assertEquals(test.told, ["revoke 3 9 1"]);
});

/** Values that a hostile device model would try. */
const count = fc.constantFrom(0, 1, PAGES, PAGES + 1, 2 ** 31, 2 ** 32 - 1);
const gfn = fc.constantFrom(
  0,
  FIRST,
  FIRST + 1,
  FIRST + PAGES - 1,
  FIRST - 1,
  FIRST + PAGES,
  2 ** 29,
  2 ** 52,
  2 ** 63,
  2 ** 64 - 2048,
);
const command = fc.record({
  op: fc.constantFrom(0, 1, 1, 1, 2, 2, 3, 255),
  gfn,
  count,
  memory: fc.constantFrom(0, 0, 1, 15, 16, 65535),
  frame: fc.constantFrom(0, 1, PAGES - 1, PAGES, 2 ** 32 - 1),
  readOnly: fc.boolean(),
});

Deno.test("whatever stands in the ring, on a real window: references are as many as pages, and nothing hangs", async () => {
  using windows = new TestWindows();
  windows.bring(PAGES, 0x10);
  const other = await windows.add(4, TRANSPORT.EXIT, FIRST + 0x1000 as typeof FIRST, SERVER + 1);
  const property = fc.asyncProperty(fc.array(command, { maxLength: 40 }), fc.integer(), async (commands, jump) => {
    using test = new TestRing();
    const area = await windows.add(PAGES, TRANSPORT.EXIT);
    for (const { op, gfn, count, memory, frame, readOnly } of commands) {
      const at = test.model.push(op as 1, gfn, count, memory, frame, readOnly) * 32 + 64;
      const view = new DataView(test.bytes.buffer, at);
      view.setBigUint64(8, BigInt(gfn), true);
      if (op === 1 && count === 1) test.model.push(COMMAND.MAP, other.first, 1, 0, 0, false);
    }
    test.drain(windows.map);
    test.words[0] = jump;
    test.drain(windows.map);
    for (let index = 0; index < commands.length; index++) {
      const result = test.model.result(index);
      assert(result <= 0 && errnoName(-result).startsWith("E") || result === 0, `${result}`);
    }
    let granted = 0;
    for (let gfn = area.first; gfn < area.first + PAGES; gfn++) if (windows.map.isMapped(gfn, false)) granted++;
    assertEquals([windows.machine.references, windows.map.isMapped(other.first, false)], [granted, false]);
    windows.map.close(area);
    windows.map.runs.sweep(windows.kvm.vm);
    await windows.stage.removeWindow(area);
    assertEquals(windows.machine.references, 0);
  });
  await fc.assert(property, { numRuns: RUNS });
  windows.map.close(other);
  await windows.stage.removeWindow(other);
});
