/** Disks that somebody else's vhost-user backend serves, as our own guests drive them. Linux does in tests/lane/machine/linux_root.test.ts. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import { UsageError } from "../../mod.ts";
import { WORKER_URLS } from "../../src/domain/worker_urls.ts";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { assertOneLine, finish } from "../support/command.ts";
import { datagramsAt } from "../support/datagrams.ts";
import { childProcesses } from "../support/host.ts";
import { PatchedGuest } from "../support/patched_guest.ts";
import { QEMU_IMG, STORAGE_DAEMON, StorageDaemon } from "../support/storage_daemon.ts";

const IMAGE_BYTES = 1 << 20;
/** How often a backend is killed. */
const KILLS = Number(Deno.env.get("XENOLITH_KILLS") ?? 3);

/** An image, and where its backend listens. */
async function withImage(body: (image: string, socket: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-vhost-" }), image = `${directory}/image`;
  try {
    await Deno.writeFile(image, new Uint8Array(IMAGE_BYTES));
    await body(image, `${directory}/socket`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function qemuImg(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("qemu-img", { args, stdout: "null" }).output();
  assertEquals(success, true, new TextDecoder().decode(stderr));
}

async function run(options: BootOptions): Promise<void> {
  await using vm = await boot("guests/virtio-blk.img", { timeoutMs: 60_000, ...options });
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, `${reason}\n${vm.console.text}`);
  const said = /^virtio-blk: 2048 sectors of "vhost_user_blk"\nvirtio-blk: all that was written was read\n$/;
  assertMatch(vm.console.text, said);
}

/** What the guest leaves there. */
async function assertWritten(image: string): Promise<void> {
  const words = new Uint32Array((await Deno.readFile(image)).buffer);
  const expected = [17, 17, 17 + 8 * 2654435761 % 2 ** 32, 0].map((word) => word % 2 ** 32);
  assertEquals([words[0], words[127], words[8 * 128], words[9 * 128]], expected);
}

testWith(
  [ANY_KVM, STORAGE_DAEMON],
  "what a guest writes to a backend's disk it reads again, and the image has it",
  () =>
    withImage(async (image, socket) => {
      await using _ = await StorageDaemon.start(image, socket);
      await run({ vhostUserBlks: [socket] });
      await assertWritten(image);
    }),
);

testWith(
  [ANY_KVM, STORAGE_DAEMON, QEMU_IMG],
  "a backend may know formats that we do not, and see one pool of memory",
  () =>
    withImage(async (image, socket) => {
      const qcow2 = `${image}.qcow2`, pool = 0x200_0000, memory = [{ first: pool, last: pool + 0x1f_ffff }];
      await qemuImg("create", "-q", "-f", "qcow2", qcow2, String(IMAGE_BYTES));
      {
        await using _ = await StorageDaemon.start(qcow2, socket, { format: "qcow2" });
        await run({ vhostUserBlks: [{ socket, memory }], virtioIn: "worker", cmdline: `pool=${pool}` });
      }
      await qemuImg("convert", "-f", "qcow2", "-O", "raw", qcow2, image);
      await assertWritten(image);
    }),
);

testWith(
  [ANY_KVM, STORAGE_DAEMON],
  "a backend is killed and comes back, and so is our model: each request is done once",
  () =>
    withImage(async (image, socket) => {
      // It does not keep what is under way, and its successor takes it to be what was offered last (docs/virtio.md).
      const start = () => StorageDaemon.start(image, socket, { isSerial: true });
      let daemon = await start();
      await using _ = { [Symbol.asyncDispose]: () => daemon[Symbol.asyncDispose]() };
      await using vm = await boot("guests/virtio-held.img", { vhostUserBlks: [socket], hold: true, timeoutMs: 60_000 });
      const model = () => childProcesses().find(({ command }) => command.includes("model-process"))?.pid;
      for (let kill = 0; kill < KILLS; kill++) {
        await vm.console.expect(/virtio-held: \d+\n/);
        await daemon[Symbol.asyncDispose]();
        daemon = await start();
      }
      const first = model()!;
      await vm.console.expect(/virtio-held: \d+\n/);
      Deno.kill(first, "SIGKILL");
      while (model() === first || model() === undefined) await vm.console.expect(/virtio-held: \d+\n/);
      await vm.console.expect(/virtio-held: \d+\n/);
      vm.console.send("\n");
      const { status, reason } = await vm.exited;
      assertEquals(status, 0, `${reason}\n${vm.console.text}`);
      assertMatch(vm.console.text, /virtio-held: \d+ requests, each done once\n$/);
    }),
);

testWith([], "where no backend listens is said in one line, before anything runs", async () => {
  const refused = async (vhostUserBlks: string[], why: RegExp) => {
    const error = await assertRejects(() => boot("guests/null.img", { vhostUserBlks }), UsageError);
    assertMatch(error.message, why);
  };
  await refused(["missing"], /^vhost-user-blk missing: no backend listens there \(ENOENT\)$/);
  await refused(["deno.json"], /^vhost-user-blk deno\.json: no backend listens there \(ECONNREFUSED\)$/);
  await withImage(async (_, path) => {
    {
      using _listener = Deno.listen({ transport: "unix", path });
      await refused([path, path.replace("/", "//")], /^vhost-user-blk \S+: a backend serves one device$/);
    }
    await Deno.remove(path).catch(() => {});
    using _datagrams = datagramsAt(path);
    await refused([path], /^vhost-user-blk \S+: a socket for packets, not for a stream$/);
  });
});

for (const virtioIn of ["process", "worker"]) {
  testWith(
    [ANY_KVM],
    `who listens, and is no backend, ends the run with a status and one line that say so (${virtioIn})`,
    () =>
      withImage(async (_, socket) => {
        using listener = Deno.listen({ transport: "unix", path: socket });
        const served = listener.accept().then(async (connection) => {
          await connection.read(new Uint8Array(12));
          await connection.write(new TextEncoder().encode("220 mail.example ESMTP\r\n"));
          return connection;
        });
        const args = ["guests/virtio-blk.img", "--vhost-user-blk", socket, "--virtio-in", virtioIn];
        const finished = await finish("run", args);
        (await served).close();
        assertOneLine(
          finished,
          69,
          new RegExp(`: vhost-user ${socket}: the backend sends a message of 1635280174 bytes$`),
        );
      }),
  );
}

testWith(
  [ANY_KVM],
  "what a backend had under way when it died is done by the next one, in whatever order it was",
  () =>
    withImage(async (image, socket) => {
      const backend = async (requests: number) => {
        const script = new URL("../support/dying_backend.ts", import.meta.url).pathname;
        const args = ["run", "--allow-all", "--no-check", script, socket, image, String(requests)];
        const child = new Deno.Command(Deno.execPath(), { args, stdout: "piped" }).spawn();
        await child.stdout.getReader().read();
        return child;
      };
      let child = await backend(100);
      await using _ = { [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
      await using vm = await boot("guests/virtio-held.img", { vhostUserBlks: [socket], timeoutMs: 60_000 });
      for (const requests of [50, 0, 1_000_000]) {
        assertEquals((await child.status).signal, "SIGKILL");
        await Deno.remove(socket);
        child = await backend(requests);
      }
      await vm.console.expect(/virtio-held: \d+\n/);
      vm.console.send("\n");
      const { status, reason } = await vm.exited;
      assertEquals([status, (await child.status).code], [0, 0], `${reason}\n${vm.console.text}`);
      assertMatch(vm.console.text, /virtio-held: \d+ requests, each done once\n$/);
    }),
);

testWith(
  [ANY_KVM, STORAGE_DAEMON],
  "a backend goes over to the next generation of our model's Worker",
  () =>
    withImage(async (image, socket) => {
      await using _ = await StorageDaemon.start(image, socket);
      const options = { vhostUserBlks: [socket], virtioIn: "worker" } as const;
      await using guest = await PatchedGuest.start("virtio-held", options);
      for (let round = 0; round < 3; round++) {
        await guest.succession.take(await guest.succession.prepare(WORKER_URLS), { limitMs: 5000 });
      }
      await guest.end();
    }),
);
