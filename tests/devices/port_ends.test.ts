/** What is at the other end of a console's port: Unix sockets whose peers come and go, and the program's descriptors. */

import { assert, assertEquals } from "@std/assert";
import { Console } from "../../src/devices/console.ts";
import { TransferBuffer } from "../../src/devices/console_port.ts";
import { DESCRIPTOR_CALLS } from "../../src/devices/descriptor_calls.ts";
import { PortConsole, terminalSize } from "../../src/devices/port_console.ts";
import { PortSocket } from "../../src/devices/port_socket.ts";
import { pipe } from "../../src/linux/descriptor.ts";
import { EAGAIN } from "../../src/linux/errno.ts";
import { StreamSocket } from "../../src/linux/stream_socket.ts";
import {
  CONSOLE_EVENT as EVENT,
  CONSOLE_FEATURE as FEATURE,
  CONSOLE_QUEUE as QUEUE,
} from "../../src/virtio/console_abi.ts";
import { BUFFER_BYTES, ConsoleScene, ENTRIES } from "./console_scene.ts";

/** Somebody at the socket. */
class Client implements Disposable {
  readonly #socket: StreamSocket;
  readonly #buffer = new TransferBuffer(1 << 16);

  constructor(path: string) {
    this.#socket = StreamSocket.connect(path)!;
  }

  /** @returns how much of it there was room for */
  say(bytes: readonly number[]): number {
    this.#buffer.bytes.set(bytes);
    return this.#socket.send(this.#buffer.address, bytes.length);
  }

  /** @returns what has come; undefined at the end */
  hear(): number[] | undefined {
    const count = this.#socket.receive(this.#buffer.address, this.#buffer.bytes.length);
    if (count === -EAGAIN) return [];
    return count <= 0 ? undefined : [...this.#buffer.bytes.subarray(0, count)];
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** A port "echo" at a socket, which the driver has open if it is told. */
function atSocket(body: (scene: ConsoleScene, path: string) => void): void {
  const directory = Deno.makeTempDirSync({ prefix: "xenolith-port-" }), path = `${directory}/socket`;
  try {
    const scene = new ConsoleScene(["echo"], undefined, (host, port) => new PortSocket(host, path, port));
    scene.begin(FEATURE.MULTIPORT);
    for (let n = 0; n < ENTRIES; n++) scene.offer(QUEUE.CONTROL_RECEIVE, "writable");
    scene.tell(0, "DEVICE_READY", 1);
    scene.tell(0, "PORT_READY", 1);
    scene.messages();
    body(scene, path);
    scene.stop();
    assertEquals([...Deno.readDirSync(directory)], []);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Whether somebody is there, as often as the driver was told. */
function opened(scene: ConsoleScene): number[] {
  return scene.messages().map(({ event, value }) => {
    assertEquals(event, EVENT.PORT_OPEN);
    return value;
  });
}

Deno.test("one at a time is let in; who has said something and gone is heard to the end before", () =>
  atSocket((scene, path) => {
    scene.settle();
    {
      using one = new Client(path);
      one.say([1, 2, 3]);
    }
    using other = new Client(path);
    other.say([4]);
    // The hang-up is there for as long as the guest has no room; the host sleeps nevertheless.
    scene.settle();
    assertEquals(opened(scene), [1]);
    scene.tell(0, "PORT_OPEN", 1);
    scene.settle();
    for (let n = 0; n < 3; n++) scene.offer(QUEUE.RECEIVE, "writable");
    scene.settle();
    assertEquals([scene.taken(QUEUE.RECEIVE), opened(scene)], [[[1, 2, 3], [4]], [0, 1]]);
    scene.offer(QUEUE.TRANSMIT, [5]);
    assertEquals(other.hear(), [5]);
  }));

Deno.test("who takes nothing has the guest wait; then all comes", () =>
  atSocket((scene, path) => {
    using client = new Client(path);
    scene.settle();
    const heard: number[] = [], sent: number[] = [];
    for (let byte = 0; scene.held(QUEUE.TRANSMIT) === 0; byte = (byte + 1) & 0xff) {
      scene.offer(QUEUE.TRANSMIT, Array(BUFFER_BYTES).fill(byte));
      sent.push(...Array(BUFFER_BYTES).fill(byte));
    }
    scene.settle();
    assertEquals(scene.held(QUEUE.TRANSMIT), 1);
    for (let bytes = client.hear()!; bytes.length > 0; bytes = client.hear()!) {
      heard.push(...bytes);
      scene.settle();
    }
    assertEquals([heard.length, scene.held(QUEUE.TRANSMIT)], [sent.length, 0]);
    assert(heard.every((byte, at) => byte === sent[at]));
  }));

Deno.test("who has gone without taking all leaves nothing that waits", () =>
  atSocket((scene, path) => {
    {
      using _client = new Client(path);
      scene.settle();
      while (scene.held(QUEUE.TRANSMIT) === 0) scene.offer(QUEUE.TRANSMIT, Array(BUFFER_BYTES).fill(1));
    }
    scene.tell(0, "PORT_OPEN", 1);
    scene.offer(QUEUE.RECEIVE, "writable");
    scene.settle();
    assertEquals([scene.held(QUEUE.TRANSMIT), scene.held(QUEUE.RECEIVE), opened(scene)], [0, 1, [1, 0]]);
  }));

Deno.test("what the guest prints on a console port is on its output, and its input comes as far as there is room", () => {
  const output = pipe("output"), input = pipe("input");
  using stack = new DisposableStack();
  for (const end of [output.reader, output.writer, input.reader, input.writer]) stack.use(end);
  const write = (bytes: number[]) => DESCRIPTOR_CALLS.write(input.writer.number, Uint8Array.from(bytes));
  const scene = new ConsoleScene([undefined], undefined, (host, port) => {
    const descriptors = { input: input.reader.number, output: output.writer.number, escape: null };
    return new PortConsole(new Console(host, DESCRIPTOR_CALLS, descriptors), port);
  });
  scene.begin();
  write([7, 8, 9]);
  scene.offer(QUEUE.RECEIVE, "writable", 2);
  // More than the console keeps and a pipe has room for.
  let sent = 0;
  for (; scene.held(QUEUE.TRANSMIT) === 0; sent++) {
    scene.offer(QUEUE.TRANSMIT, Array(BUFFER_BYTES).fill(sent & 0xff));
    scene.settle();
  }
  assertEquals(scene.taken(QUEUE.RECEIVE), [[7, 8]]);
  const heard: number[] = [], buffer = new Uint8Array(1 << 16);
  while (heard.length < sent * BUFFER_BYTES) {
    heard.push(...buffer.subarray(0, DESCRIPTOR_CALLS.read(output.reader.number, buffer)));
    scene.settle();
  }
  assertEquals(scene.held(QUEUE.TRANSMIT), 0);
  assert(heard.every((byte, at) => byte === (Math.floor(at / BUFFER_BYTES) & 0xff)));
  scene.offer(QUEUE.RECEIVE, "writable");
  assertEquals(scene.taken(QUEUE.RECEIVE), [[9]]);
  assertEquals(terminalSize(output.writer.number), undefined);
});
