import { assert, assertEquals, assertThrows } from "@std/assert";
import { MAX_SERVERS, RANGE, STATE } from "../../src/ioreq/abi.ts";
import { SERVER_TABLE_BYTES, ServerTable } from "../../src/ioreq/server_table.ts";
import { ServerView } from "../../src/ioreq/server_view.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { spinUntil, Thread } from "../linux/threads.ts";
import { BareServers } from "./bare_server.ts";
import { FIRST, HOMES, LAST, MOVES, STOP } from "./select_threads.ts";

const THREADS = new URL("./select_threads.ts", import.meta.url).href;

/** A table in memory of its own, with a page and a doorbell for every server. */
class Table implements Disposable {
  readonly #stack = new DisposableStack();
  readonly memory = this.#stack.use(Mapping.anonymous(Math.ceil(SERVER_TABLE_BYTES / 4096) * 4096, "server table"));
  readonly servers = new ServerTable(this.memory.address);
  readonly bare = this.#stack.use(new BareServers(this.servers));

  /** Makes server `id` and claims its ranges of one type. */
  server(id: number, type: 0 | 1 | 2, ranges: [number, number][], enabled = true) {
    const server = this.bare.create(id);
    this.servers.change(() => {
      for (const [first, last] of ranges) server.ranges[type].add(first, last);
      server.setEnabled(enabled);
    });
    return server;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

Deno.test("select() finds nobody in a new table", () => {
  using table = new Table();
  for (const type of Object.values(RANGE)) assertEquals(table.servers.select(type, 0, 0), -1);
});

Deno.test("select() asks the servers from the highest id to the lowest", () => {
  using table = new Table();
  for (const id of [0, 2, 5]) table.server(id, RANGE.PORT, [[0x60 - id, 0x6f]]);
  const { servers } = table;
  assertEquals(servers.select(RANGE.PORT, 0x60, 0x60), 5);
  servers.change(() => servers.server(5).ranges[RANGE.PORT].remove(0x60, 0x60));
  assertEquals([servers.select(RANGE.PORT, 0x60, 0x60), servers.select(RANGE.PORT, 0x61, 0x61)], [2, 5]);
  servers.change(() => servers.server(2).destroy());
  assertEquals(servers.select(RANGE.PORT, 0x60, 0x60), 0);
});

Deno.test("select() knows every one of the eight servers", () => {
  using table = new Table();
  for (let id = 0; id < MAX_SERVERS; id++) table.server(id, RANGE.MEMORY, [[id * 100, id * 100 + 9]]);
  for (let id = 0; id < MAX_SERVERS; id++) assertEquals(table.servers.select(RANGE.MEMORY, id * 100, id * 100 + 9), id);
});

Deno.test("select() skips servers that are disabled or gone", () => {
  using table = new Table();
  const { servers } = table;
  table.server(1, RANGE.PORT, [[0x60, 0x6f]]);
  const upper = table.server(6, RANGE.PORT, [[0x60, 0x6f]], false);
  assertEquals(servers.select(RANGE.PORT, 0x60, 0x60), 1);
  servers.change(() => upper.setEnabled(true));
  assertEquals(servers.select(RANGE.PORT, 0x60, 0x60), 6);
  servers.change(() => upper.setEnabled(false));
  assertEquals(servers.select(RANGE.PORT, 0x60, 0x60), 1);
  servers.change(() => upper.destroy());
  assertEquals([servers.select(RANGE.PORT, 0x60, 0x60), upper.exists], [1, false]);
});

Deno.test("select() wants the whole access inside one range of one server", () => {
  using table = new Table();
  table.server(1, RANGE.MEMORY, [[100, 103], [108, 111]]);
  table.server(4, RANGE.MEMORY, [[104, 107]]);
  const { servers } = table;
  assertEquals(servers.select(RANGE.MEMORY, 100, 103), 1);
  assertEquals(servers.select(RANGE.MEMORY, 104, 107), 4);
  for (const [first, last] of [[103, 104], [100, 111], [99, 100], [111, 112]]) {
    assertEquals(servers.select(RANGE.MEMORY, first, last), -1, `${first}-${last}`);
  }
});

Deno.test("select() keeps the three types of ranges apart", () => {
  using table = new Table();
  table.server(0, RANGE.PORT, [[100, 199]]);
  table.server(1, RANGE.MEMORY, [[100, 199]]);
  table.server(2, RANGE.PCI, [[100, 199]]);
  const { servers } = table;
  assertEquals([RANGE.PORT, RANGE.MEMORY, RANGE.PCI].map((type) => servers.select(type, 150, 150)), [0, 1, 2]);
});

Deno.test("Server.create() begins anew: no ranges, disabled, nothing pending, not released, another attachment", () => {
  using table = new Table();
  const server = table.server(2, RANGE.PORT, [[1, 2]]);
  const { area } = new ServerView(server), { attachment } = server;
  area!.channels.send(3);
  area!.release();
  assertEquals([server.exists, area!.released, area!.channels.pending], [true, true, true]);
  table.bare.create(2, 40);
  const again = new ServerView(server).area!;
  assertEquals([server.exists, again.released, again.channels.pending], [true, false, false]);
  assertEquals([server.vcpus, server.ranges[RANGE.PORT].length], [40, 0]);
  assert(server.attachment > attachment);
  table.servers.change(() => server.ranges[RANGE.PORT].add(1, 2));
  assertEquals(table.servers.select(RANGE.PORT, 1, 1), -1, "not enabled yet");
});

Deno.test("a second view of the table shows the same servers, pages and event channels", () => {
  using table = new Table();
  const one = table.server(7, RANGE.PORT, [[1, 2]]);
  const other = new ServerTable(table.memory.address).server(7);
  const here = new ServerView(one), there = new ServerView(other);
  here.slots!.publish(3, STATE.READY, 0);
  here.area!.channels.send(3);
  assertEquals(there.slots!.state(3), STATE.READY);
  const ports: number[] = [];
  there.area!.channels.drain((port) => ports.push(port));
  assertEquals([ports, other.vcpus, other.ranges[RANGE.PORT].list()], [[3], 4, [[1, 2]]]);
});

Deno.test("change() lets selections go on when it throws, and the next change in", () => {
  using table = new Table();
  table.server(1, RANGE.PORT, [[1, 2]]);
  const { servers } = table;
  const fail = () => {
    throw new RangeError("in the midst");
  };
  assertThrows(() => servers.change(fail), RangeError, "in the midst");
  assertEquals(servers.select(RANGE.PORT, 1, 1), 1);
  assertEquals(servers.change(() => "result"), "result");
});

Deno.test("select() never gives a torn answer while another thread moves the claim between servers", async () => {
  using table = new Table();
  using shared = Mapping.anonymous(4096, "shared words");
  table.server(1, RANGE.MEMORY, [[0, 9999]]);
  for (const id of HOMES) table.server(id, RANGE.MEMORY, [[0, 9], [50, 59], [3000, 3009]]);
  const { servers } = table, words = new Int32Array(shared.buffer);
  servers.change(() => servers.server(HOMES[0]).ranges[RANGE.MEMORY].add(FIRST, LAST));
  using mover = new Thread(THREADS, "moveClaim", table.memory.address, shared.address);
  await mover.ready;
  const answers = new Set<number>();
  spinUntil("the claim moved often enough", () => {
    for (let round = 0; round < 100; round++) answers.add(servers.select(RANGE.MEMORY, FIRST + 10, LAST - 10));
    return Atomics.load(words, MOVES) > 20_000 && answers.size >= HOMES.length;
  });
  Atomics.store(words, STOP, 1);
  await mover.result;
  assertEquals([...answers].sort(), HOMES, "between the servers, server 1 would answer");
});

Deno.test("changes by two threads to the ranges of one server are all made", async () => {
  using table = new Table();
  using shared = Mapping.anonymous(4096, "shared words");
  table.server(0, RANGE.PORT, []);
  const rounds = 2025; // each range 40 or 41 times: half of them stay
  const threads = [0, 1].map((who) => new Thread(THREADS, "toggle", table.memory.address, shared.address, who, rounds));
  await Promise.all(threads.map((thread) => thread.result)).finally(() =>
    threads.forEach((thread) => thread[Symbol.dispose]())
  );
  const expected = Array.from({ length: 25 }, (_, round) => (round * 37) % 50 * 2)
    .flatMap((hundred) => [hundred, hundred + 1]).sort((one, other) => one - other)
    .map((hundred) => [hundred * 100, hundred * 100 + 9]);
  assertEquals(table.servers.server(0).ranges[RANGE.PORT].list(), expected as [number, number][]);
  assertEquals(new Int32Array(table.memory.buffer)[0] & 1, 0, "the generation stayed odd");
});
