/** Virtio consoles as a guest drives them, and as its peers see them. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { boot, type BootOptions, type TestMachine } from "xenolith/testing";
import { UsageError } from "../../mod.ts";
import { KVM, testWith } from "../support/capabilities.ts";

const IMAGE = "guests/virtio-console.img", PATIENCE_MS = 60_000;

const encoder = new TextEncoder(), decoder = new TextDecoder();

async function withSocket(body: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-console-" });
  try {
    await body(`${directory}/port`);
    // The socket goes with the run.
    assertEquals([...Deno.readDirSync(directory)], []);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Somebody at a port's socket. */
class Peer implements Disposable {
  private constructor(private readonly connection: Deno.UnixConn) {}

  static async connect(path: string): Promise<Peer> {
    return new Peer(await Deno.connect({ transport: "unix", path }));
  }

  async say(text: string | Uint8Array): Promise<void> {
    const bytes = typeof text === "string" ? encoder.encode(text) : text;
    for (let sent = 0; sent < bytes.length;) sent += await this.connection.write(bytes.subarray(sent));
  }

  /** What comes next, so many bytes, or all up to the end. */
  async hear(sizeBytes = Infinity): Promise<Uint8Array> {
    const chunks: Uint8Array<ArrayBuffer>[] = [], buffer = new Uint8Array(1 << 16);
    for (let heard = 0; heard < sizeBytes;) {
      const count = await this.connection.read(buffer.subarray(0, Math.min(buffer.length, sizeBytes - heard)));
      if (count === null) break;
      chunks.push(buffer.slice(0, count));
      heard += count;
    }
    return await new Blob(chunks).bytes();
  }

  closeWrite(): Promise<void> {
    return this.connection.closeWrite();
  }

  [Symbol.dispose](): void {
    this.connection.close();
  }
}

async function finish(vm: TestMachine): Promise<string> {
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, `${reason}\n${vm.console.text}`);
  return vm.console.text;
}

const start = (options: BootOptions) => boot(IMAGE, { timeoutMs: PATIENCE_MS, ...options });

testWith(
  [KVM],
  "a console alone is the guest's: it prints there, and has the input that the UART would have",
  async () => {
    await using vm = await start({ consoles: [["stdio"]] });
    await vm.console.expect("virtio-console: this is the console\n");
    vm.console.send("hello\nbye\n");
    const said = await finish(vm);
    assertMatch(said, /this is the console\nhello\nbye\n/);
    assertMatch(said, /has heard bye\n[^]*10 bytes echoed\n/);
  },
);

for (const virtioIn of ["process", "worker"] as const) {
  testWith(
    [KVM],
    `a named port echoes, whoever comes there, one after another (${virtioIn})`,
    () =>
      withSocket(async (socket) => {
        await using vm = await start({ consoles: [[{ name: "echo", socket }]], virtioIn });
        await vm.console.expect("virtio-console: port 0 is named echo\n");
        {
          using one = await Peer.connect(socket);
          await vm.console.expect("somebody has come\n");
          await one.say("first\n");
          assertEquals(decoder.decode(await one.hear(6)), "first\n");
        }
        await vm.console.expect("somebody has gone\n");
        using other = await Peer.connect(socket);
        await vm.console.expect("somebody has come\n");
        await other.say("second\nbye\n");
        await other.closeWrite();
        // All is heard, though it says no more; the run's end ends the connection.
        assertEquals(decoder.decode(await other.hear()), "second\nbye\n");
        assertMatch(await finish(vm), /virtio-console: 17 bytes echoed\n$/);
      }),
  );
}

testWith(
  [KVM],
  "bytes pass a port both ways unchanged, though its peer takes none before it has sent all; the console stays itself",
  () =>
    withSocket(async (socket) => {
      // More than a socket has room for in one direction, less than in both.
      const sizeBytes = 192 << 10;
      await using vm = await start({ consoles: [["stdio", { name: "echo", socket }]] });
      await vm.console.expect("this is the console port\n");
      using peer = await Peer.connect(socket);
      const sent = Uint8Array.from({ length: sizeBytes }, (_, at) => at % 8 === 7 ? 0x0a : at * 7 + (at >> 12));
      sent.set(encoder.encode("\nbye\n"), sizeBytes - 5);
      // Nothing is heard before all that finds room was said: the guest has to wait with its answers.
      const saying = peer.say(sent), heard = peer.hear(sizeBytes);
      await saying;
      assertEquals(await heard, sent);
      const said = await finish(vm); // by each port as soon as it has it
      assertMatch(said, /the console port has heard bye\n/);
      assertMatch(said, /196608 bytes echoed\n/);
    }),
);

testWith([], "ports that cannot be are refused in one line, before anything runs", async () => {
  const port = { name: "a", socket: "/tmp/xenolith-no-such-directory/s" };
  const table: [BootOptions["consoles"], RegExp][] = [
    [[["stdio"], ["stdio"]], /^virtio-console: stdio is but one port$/],
    [[[]], /^virtio-console: 0 ports; it has 1 to 8$/],
    [[[port, { ...port, socket: "/tmp/b" }]], /^virtio-console: two ports are named a$/],
    [
      [[{ ...port, socket: "/tmp/xenolith-a" }], [{ ...port, socket: "/tmp/../tmp/xenolith-a" }]],
      /^virtio-console \S+: somebody listens there already$/,
    ],
    [[[{ ...port, name: "" }]], /^virtio-console: a port's name has 1 to 64 bytes, not 0$/],
    [[[port]], /^virtio-console \/tmp\/xenolith-no-such-directory\/s: ENOENT$/],
    [[[{ ...port, socket: "" }]], /^virtio-console : a socket's path has 1 to 107 bytes, none of them 0$/],
    [[[{ ...port, socket: "guests" }]], /^virtio-console guests: exists, and is no socket$/],
    [Array(8).fill(["stdio"]), /^8 virtio devices: at most 7$/],
  ];
  for (const [consoles, why] of table) {
    const error = await assertRejects(() => boot("guests/null.img", { consoles }), UsageError);
    assertMatch(error.message, why);
  }
});
