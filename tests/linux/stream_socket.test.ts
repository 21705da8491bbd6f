/** Stream sockets, and descriptors that come and go as one. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { pipe } from "../../src/linux/descriptor.ts";
import { EAGAIN, EPIPE } from "../../src/linux/errno.ts";
import { bytesAddress } from "../../src/linux/mapping.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { PollGroup } from "../../src/linux/poll_group.ts";
import { directoryOf, SocketPathError, takeName } from "../../src/linux/socket_path.ts";
import { meet, StreamListener, StreamSocket } from "../../src/linux/stream_socket.ts";
import * as calls from "../../src/linux/calls.ts";

/** A directory for one test's sockets. */
class Directory implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "xenolith-test-" });

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

const memory = new Uint8Array(2 ** 20), address = Number(bytesAddress(memory));

Deno.test("of two who meet, one listens and one connects; bytes go both ways; an end is seen behind the last byte", () => {
  using directory = new Directory();
  const path = `${directory.path}/wire`;
  using listener = meet(path), client = meet(path);
  assert(listener instanceof StreamListener && client instanceof StreamSocket);
  const server = listener.accept()!;
  assertEquals(listener.accept(), undefined);
  memory.set([1, 2, 3]);
  assertEquals(client.send(address, 3), 3);
  assertEquals(server.receive(address + 100, 1000), 3);
  assertEquals([...memory.subarray(100, 104)], [1, 2, 3, 0]);
  assertEquals([server.receive(address, 10), client.receive(address, 10)], [-EAGAIN, -EAGAIN]);
  let sent = 0;
  for (let size = server.send(address, memory.length); size > 0; size = server.send(address, memory.length)) {
    sent += size;
  }
  assertEquals(server.send(address, 1), -EAGAIN);
  server[Symbol.dispose]();
  let received = 0;
  for (let size = client.receive(address, 4096); size > 0; size = client.receive(address, 4096)) received += size;
  assertEquals([received, client.receive(address, 10), client.send(address, 1)], [sent, 0, -EPIPE]);
});

Deno.test("what somebody has left is replaced, and goes with its listener; what is no socket stays", () => {
  using directory = new Directory();
  const path = `${directory.path}/wire`;
  const stale = StreamListener.create(path);
  calls.close(stale.release());
  const listener = meet(path);
  assert(listener instanceof StreamListener);
  listener[Symbol.dispose]();
  assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);
  Deno.writeTextFileSync(path, "");
  assertThrows(() => meet(path), SocketPathError, "exists, and is no socket");
});

Deno.test("who meets waits for nobody who has locked the directory, and for another who is about to listen", async () => {
  using directory = new Directory();
  const path = `${directory.path}/wire`;
  await using _holder = await holdingLock(directory.path);
  const { dev, ino } = directoryOf(path), name = `xenolith: a wire in ${dev}:${ino}`;
  {
    using _turn = takeName(name)!;
    assertEquals(takeName(name), undefined);
    assertThrows(() => meet(path), SocketPathError, "somebody else is about to listen there, and does not");
    using other = StreamListener.create(path);
    using met = meet(other.path);
    assert(met instanceof StreamSocket);
  }
  using listener = meet(path);
  assert(listener instanceof StreamListener);
});

Deno.test("of many who come at once to a socket that somebody has left one listens", async () => {
  using directory = new Directory();
  const path = `${directory.path}/wire`, module = import.meta.resolve("../../src/linux/stream_socket.ts");
  calls.close(StreamListener.create(path).release());
  const workers = Array.from({ length: 6 }, () => meeting(module));
  const found = await Promise.all(workers.map((worker) => worker.meet(path)));
  for (const worker of workers) worker.end();
  assertEquals(found.filter((what) => what === "StreamListener").length, 1, found.join(" "));
});

Deno.test("a group is ready when one of its descriptors is, or its time has come; what is not in it any more is not", () => {
  using group = new PollGroup(2, "a test");
  const poll = new Ready(group);
  const one = pipe("one", false), other = pipe("other", false);
  using stack = new DisposableStack();
  for (const end of [one.reader, one.writer, other.reader, other.writer]) stack.use(end);
  const round = (timeoutMs: number, ...readers: typeof one.reader[]) => {
    group.begin();
    const indices = readers.map((reader) => group.add(reader.number, POLLIN));
    group.end(timeoutMs);
    return indices;
  };
  assertEquals(round(Infinity, one.reader, other.reader), [0, 1]);
  assertEquals(poll.now, false);
  calls.write(other.writer.number, memory, 1n);
  assertEquals(poll.now, true);
  group.look();
  assertEquals([group.result(0), group.result(1)], [0, POLLIN]);
  assertEquals(round(Infinity, one.reader), [0]);
  assertEquals(poll.now, false);
  // Another descriptor of the same number: nobody has said so.
  const number = one.reader.number;
  calls.close(one.reader.release());
  using again = other.reader.duplicate();
  assertEquals(again.number, number);
  round(Infinity, again);
  assertEquals(poll.now, true);
  assertEquals(round(Infinity, again, other.reader, other.writer), [0, 1, -1]);
  round(0);
  poll.wait();
  round(Infinity);
  assertEquals(poll.now, false);
});

/** Somebody else has a lock on a file (flock). */
async function holdingLock(path: string): Promise<AsyncDisposable> {
  const args = ["-x", path, "sh", "-c", "echo; cat"];
  const child = new Deno.Command("flock", { args, stdin: "piped", stdout: "piped" }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  return {
    async [Symbol.asyncDispose]() {
      await child.stdin.close();
      await reader.cancel();
      await child.status;
    },
  };
}

/** A thread that meets whoever comes, and stays. */
function meeting(module: string) {
  const source = `const { meet } = await import(${JSON.stringify(module)});
    self.onmessage = ({ data }) => { self.met = meet(data); self.postMessage(self.met.constructor.name); };
    self.postMessage("ready");`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(source)}`, { type: "module" });
  const next = () => new Promise<string>((resolve) => worker.onmessage = ({ data }) => resolve(data));
  const ready = next();
  return {
    async meet(path: string): Promise<string> {
      await ready;
      const met = next();
      worker.postMessage(path);
      return await met;
    },
    end: () => worker.terminate(),
  };
}

/** Waits for a group. */
class Ready {
  readonly #poll = new PollSet(1);

  constructor(private readonly group: PollGroup) {}

  get now(): boolean {
    this.#add();
    return this.#poll.look() === 1;
  }

  wait(): void {
    this.#add();
    assertEquals(this.#poll.wait(), 1);
  }

  #add(): void {
    this.#poll.clear();
    this.#poll.add(this.group.descriptor.number, POLLIN);
  }
}
