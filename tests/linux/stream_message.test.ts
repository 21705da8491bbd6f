import { assertEquals, assertThrows } from "@std/assert";
import { eventDescriptor, signalEvent } from "../../src/linux/event_descriptor.ts";
import type { Descriptor } from "../../src/linux/descriptor.ts";
import { LinuxError } from "../../src/linux/linux_error.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { PacketListener } from "../../src/linux/socket.ts";
import { SocketPathError } from "../../src/linux/socket_path.ts";
import { connectedPair, receiveMessage, requireStream, sendMessage } from "../../src/linux/stream_message.ts";
import { StreamSocket } from "../../src/linux/stream_socket.ts";
import { datagramsAt } from "../support/datagrams.ts";
import { openDescriptors } from "../support/holdings.ts";

Deno.test("bytes and descriptors come over, piece by piece, and then the end", () => {
  const before = openDescriptors();
  {
    const [one, other] = connectedPair("test");
    using _one = one, _other = other, event = eventDescriptor("event", false);
    const target = new Uint8Array(3), descriptors: Descriptor[] = [];
    assertEquals(receiveMessage(other, target), 0);
    sendMessage(one, Uint8Array.of(1, 2, 3, 4), [event.number]);
    assertEquals([receiveMessage(other, target, descriptors, 1), ...target, descriptors.length], [3, 1, 2, 3, 1]);
    using received = descriptors[0];
    signalEvent(received.number);
    const poll = new PollSet(1);
    poll.add(event.number, POLLIN);
    assertEquals(poll.look(), 1);
    assertEquals([receiveMessage(other, target), target[0]], [1, 4]);
    one[Symbol.dispose]();
    assertEquals(receiveMessage(other, target), -1);
    assertEquals(assertThrows(() => sendMessage(other, target), LinuxError).errnoName, "EPIPE");
  }
  assertEquals(openDescriptors(), before);
});

Deno.test("descriptors that nobody expects never become this process's", () => {
  const [one, other] = connectedPair("test");
  using _one = one, _other = other, event = eventDescriptor("event", false);
  sendMessage(one, Uint8Array.of(1), [event.number]);
  const before = openDescriptors();
  assertEquals([receiveMessage(other, new Uint8Array(8)), openDescriptors()], [1, before]);
});

Deno.test("requireStream() says what is at a path, and whoever listens there notices nothing", async () => {
  const directory = Deno.makeTempDirSync({ prefix: "xenolith-test-" }), path = `${directory}/socket`;
  try {
    assertEquals(assertThrows(() => requireStream(path), LinuxError).errnoName, "ENOENT");
    const listener = Deno.listen({ transport: "unix", path });
    requireStream(path);
    using client = StreamSocket.connect(path)!;
    sendMessage(client, Uint8Array.of(42));
    using first = await listener.accept();
    const bytes = new Uint8Array(1);
    assertEquals([await first.read(bytes), bytes[0]], [1, 42]);
    using packets = PacketListener.create(`${directory}/packets`);
    using datagrams = datagramsAt(`${directory}/datagrams`);
    for (const { subject } of [packets, datagrams]) {
      assertThrows(() => requireStream(subject), SocketPathError, "not for a stream");
    }
    Deno.renameSync(path, `${directory}/stale`);
    listener.close();
    assertEquals(assertThrows(() => requireStream(`${directory}/stale`), LinuxError).errnoName, "ECONNREFUSED");
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
});
