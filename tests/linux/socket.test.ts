import { assert, assertEquals, assertThrows } from "@std/assert";
import * as calls from "../../src/linux/calls.ts";
import { Descriptor, pipe } from "../../src/linux/descriptor.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { MemoryFile } from "../../src/linux/memory_file.ts";
import {
  DescriptorsLostError,
  MAX_DESCRIPTORS,
  MAX_PACKET_BYTES,
  type Packet,
  PacketListener,
  PacketSocket,
} from "../../src/linux/socket.ts";
import { SocketPathError } from "../../src/linux/socket_path.ts";
import { openDescriptors } from "../support/holdings.ts";

const F_GETFD = 1, FD_CLOEXEC = 1;
const bytes = (...values: number[]) => new Uint8Array(values);

/** A directory for one test's sockets. */
class Directory implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "xenolith-test-" });

  file(name: string): string {
    return `${this.path}/${name}`;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Both ends of a connection; the accepted one does not wait. */
function connected(stack: DisposableStack): { client: PacketSocket; server: PacketSocket } {
  const directory = stack.use(new Directory());
  const listener = stack.use(PacketListener.create(directory.file("socket")));
  const client = stack.use(PacketSocket.connect(listener.path));
  return { client, server: stack.use(listener.accept()!) };
}

function received(socket: PacketSocket, expected = 0): Packet {
  const packet = socket.receive(expected);
  assert(typeof packet === "object", `no packet but "${packet}"`);
  return packet;
}

Deno.test("packets arrive whole and one by one, in both directions", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  assertEquals(server.receive(), "nothing");
  client.send(bytes(1, 2, 3));
  client.send(bytes(4));
  assertEquals(received(server).bytes, bytes(1, 2, 3));
  assertEquals(received(server).bytes, bytes(4));
  server.send(new Uint8Array(MAX_PACKET_BYTES).fill(7));
  const { bytes: large, sizeBytes } = received(client);
  assertEquals([large.length, sizeBytes, large.every((byte) => byte === 7)], [
    MAX_PACKET_BYTES,
    MAX_PACKET_BYTES,
    true,
  ]);
  assertThrows(() => client.send(new Uint8Array(MAX_PACKET_BYTES + 1)), RangeError, "a packet of 16385 bytes");
});

Deno.test("of a packet that is too long the beginning is received, and how long it was", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  // sendmsg() by hand: send() makes no such packet.
  const packet = new Uint8Array(MAX_PACKET_BYTES + 5).fill(9), vector = new BigUint64Array(2);
  vector[0] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(packet));
  vector[1] = BigInt(packet.length);
  const header = new BigUint64Array(7);
  header[2] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(vector));
  header[3] = 1n;
  assertEquals(calls.sendmsg(client.number, header, 0), packet.length);
  const { bytes: beginning, sizeBytes } = received(server);
  assertEquals([beginning.length, sizeBytes], [MAX_PACKET_BYTES, MAX_PACKET_BYTES + 5]);
});

Deno.test("descriptors go along, and are the same files", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  const file = stack.use(MemoryFile.create("passed", 4096));
  const ours = stack.use(Mapping.file(file, 4096));
  server.send(bytes(1), [file.number]);
  const { descriptors } = received(client, 1);
  assertEquals(descriptors.length, 1);
  using theirs = Mapping.file(descriptors[0], 4096);
  descriptors[0][Symbol.dispose]();
  new Uint8Array(theirs.buffer)[5] = 77;
  assertEquals(new Uint8Array(ours.buffer)[5], 77);
});

Deno.test("a packet carries up to 253 descriptors, and each has CLOEXEC", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  const event = stack.use(eventDescriptor("passed"));
  server.send(bytes(1), new Array(MAX_DESCRIPTORS).fill(event.number));
  const { descriptors } = received(client, MAX_DESCRIPTORS);
  assertEquals(descriptors.length, MAX_DESCRIPTORS);
  assert(descriptors.every(({ number }) => calls.fcntl(number, F_GETFD, 0) === FD_CLOEXEC));
  for (const descriptor of descriptors) descriptor[Symbol.dispose]();
  const tooMany = new Array(MAX_DESCRIPTORS + 1).fill(event.number);
  assertThrows(() => server.send(bytes(1), tooMany), RangeError, "254 descriptors in one packet: at most 253");
});

Deno.test("descriptors that are not expected never become this process's", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  const event = stack.use(eventDescriptor("passed"));
  const before = openDescriptors();
  client.send(bytes(1, 2), new Array(200).fill(event.number));
  assertEquals(received(server), { bytes: bytes(1, 2), sizeBytes: 2, descriptors: [] });
  assertEquals(openDescriptors(), before);
});

Deno.test("more descriptors than expected are an error, and none of them stays open", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  const event = stack.use(eventDescriptor("passed"));
  const before = openDescriptors();
  server.send(bytes(1), new Array(5).fill(event.number));
  assertThrows(() => client.receive(2), DescriptorsLostError, "not all descriptors of a packet could be received");
  assertEquals(openDescriptors(), before);
  server.send(bytes(2));
  assertEquals(received(client).bytes, bytes(2), "the connection goes on");
});

Deno.test("fewer descriptors than expected are what they are", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  server.send(bytes(1));
  assertEquals(received(client, 10).descriptors, []);
});

Deno.test("the end of the other side is no packet, is seen without receiving, and ends sending with EPIPE", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  assertEquals([client.hungUp, server.hungUp], [false, false]);
  client.send(bytes(1));
  client[Symbol.dispose]();
  assertEquals(server.hungUp, true);
  assertEquals(received(server).bytes, bytes(1), "what was sent before the end");
  assertEquals(server.receive(), "end");
  assertThrows(() => server.send(bytes(1)), LinuxError, "EPIPE");
});

Deno.test("shutDown() ends both ends; an end with unread packets is an end", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  server.shutDown();
  assertEquals([client.receive(), server.receive()], ["end", "end"]);
  using other = new DisposableStack();
  const second = connected(other);
  second.client.send(bytes(1));
  second.server[Symbol.dispose]();
  assertEquals(second.client.receive(), "end");
});

Deno.test("who does not wait gets EAGAIN when the other end does not receive", () => {
  using stack = new DisposableStack();
  const { server } = connected(stack);
  const fill = () => {
    for (;;) server.send(new Uint8Array(1024));
  };
  assertThrows(fill, LinuxError, "EAGAIN");
});

Deno.test("connecting where nobody listens says so", () => {
  using directory = new Directory();
  assertThrows(() => PacketSocket.connect(directory.file("none")), LinuxError, "ENOENT");
  calls.close(PacketListener.create(directory.file("stale")).release());
  assertThrows(() => PacketSocket.connect(directory.file("stale")), LinuxError, "ECONNREFUSED");
});

Deno.test("the socket's file is the user's alone, and goes with the listener", () => {
  using directory = new Directory();
  const listener = PacketListener.create(directory.file("socket"));
  assertEquals((Deno.statSync(listener.path).mode ?? 0) & 0o077, 0);
  listener[Symbol.dispose]();
  assertEquals([...Deno.readDirSync(directory.path)], []);
});

Deno.test("a listener does not remove what is at its path by then", () => {
  using directory = new Directory();
  const listener = PacketListener.create(directory.file("socket"));
  Deno.removeSync(listener.path);
  Deno.writeTextFileSync(listener.path, "somebody else's");
  listener[Symbol.dispose]();
  assertEquals(Deno.readTextFileSync(listener.path), "somebody else's");
});

Deno.test("a stale socket is replaced; a live one and any other file are refused and stay", () => {
  using directory = new Directory();
  const path = directory.file("socket");
  const stale = PacketListener.create(path);
  calls.close(stale.release()); // as a killed process leaves it
  assertEquals(Deno.lstatSync(path).isSocket, true);
  assertThrows(() => PacketSocket.connect(path), LinuxError, "ECONNREFUSED");
  {
    using live = PacketListener.create(path);
    const before = openDescriptors();
    assertThrows(() => PacketListener.create(path), SocketPathError, `${path}: somebody listens there already`);
    assertEquals(openDescriptors(), before);
    live.accept()?.[Symbol.dispose](); // the question whether anybody listens
    using _client = PacketSocket.connect(path);
  }
  {
    using _stream = Deno.listen({ transport: "unix", path });
    assertThrows(() => PacketListener.create(path), SocketPathError, "somebody listens there already");
  }
  for (
    const [name, make] of Object.entries({
      file: (path: string) => Deno.writeTextFileSync(path, ""),
      directory: (path: string) => Deno.mkdirSync(path),
      link: (path: string) => Deno.symlinkSync("nowhere", path),
    })
  ) {
    make(directory.file(name));
    assertThrows(() => PacketListener.create(directory.file(name)), SocketPathError, "exists, and is no socket");
    assert(Deno.lstatSync(directory.file(name)));
  }
});

Deno.test("paths that cannot be are refused, and nothing stays open", () => {
  using directory = new Directory();
  const before = openDescriptors();
  for (const path of ["", "a\0b", "x".repeat(108)]) {
    assertThrows(() => PacketListener.create(path), SocketPathError, "1 to 107 bytes", path);
    assertThrows(() => PacketSocket.connect(path), SocketPathError, "1 to 107 bytes", path);
  }
  const missing = directory.file("no/such/directory");
  assertThrows(() => PacketListener.create(missing), LinuxError, "ENOENT");
  assertThrows(() => PacketSocket.connect(missing), LinuxError, "ENOENT");
  assertEquals(openDescriptors(), before);
});

Deno.test("accept() has nobody while nobody connects, and accepted sockets have CLOEXEC", () => {
  using directory = new Directory();
  using listener = PacketListener.create(directory.file("socket"));
  assertEquals(listener.accept(), undefined);
  using client = PacketSocket.connect(listener.path);
  using server = listener.accept();
  for (const { number } of [listener, client, server!]) assertEquals(calls.fcntl(number, F_GETFD, 0), FD_CLOEXEC);
});

Deno.test("what a descriptor cannot be passed for is said, and the socket stays usable", () => {
  using stack = new DisposableStack();
  const { client, server } = connected(stack);
  assertThrows(() => server.send(bytes(1), [-1]), LinuxError, "EBADF");
  const { reader, writer } = pipe("passed");
  server.send(bytes(2), [stack.use(reader).number, stack.use(writer).number]);
  const { descriptors } = received(client, 2);
  assertEquals(descriptors.map((descriptor) => descriptor instanceof Descriptor), [true, true]);
  for (const descriptor of descriptors) descriptor[Symbol.dispose]();
});
