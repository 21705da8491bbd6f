/** Virtio devices as guests drive them. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { boot, type BootOptions } from "xenolith/testing";
import { UsageError } from "../../mod.ts";
import { ANY_KVM, KVM, testWith } from "../support/capabilities.ts";
import { finish } from "../support/command.ts";
import { MOUNTS, withMounts } from "../support/host.ts";

const SECTORS = 2048, SECTOR = 512;

async function withDisk(body: (file: string) => Promise<void>, bytes = SECTORS * SECTOR): Promise<void> {
  const file = await Deno.makeTempFile({ prefix: "xenolith-disk-" });
  try {
    await Deno.truncate(file, bytes);
    await body(file);
  } finally {
    await Deno.remove(file);
  }
}

async function run(image: string, options: BootOptions): Promise<string> {
  await using vm = await boot(`guests/${image}.img`, { timeoutMs: 60_000, ...options });
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, `${reason}\n${vm.console.text}`);
  return vm.console.text;
}

const NAMED = `^virtio-blk: ${SECTORS} sectors of "xenolith-disk-`;

for (const carrier of ["worker", "native"] as const) {
  testWith(
    [KVM],
    `what a guest writes to a virtio disk it reads again, and the file has it (${carrier})`,
    () =>
      withDisk(async (file) => {
        assertMatch(
          await run("virtio-blk", { disks: [file], carrier, ...(carrier === "native" && { virtioIn: "worker" }) }),
          new RegExp(`${NAMED}.*"\nvirtio-blk: all that was written was read\n$`),
        );
        const words = new Uint32Array((await Deno.readFile(file)).buffer);
        assertEquals(
          [words[0], words[127], words[8 * 128], words[9 * 128]],
          [17, 17, 17 + 8 * 2654435761 % 2 ** 32, 0].map((word) => word % 2 ** 32),
        );
      }),
  );
}

testWith([ANY_KVM], "a driver that does not know the event index is served as well", () =>
  withDisk(async (file) => {
    assertMatch(
      await run("virtio-blk", { disks: [file], cmdline: "no-event-index" }),
      /all that was written was read\n$/,
    );
  }));

testWith(
  [KVM],
  "virtio-bench reads as often as it is told, and says how long that took",
  () =>
    withDisk(async (file) => {
      await using vm = await boot("guests/virtio-bench.img", {
        disks: [file],
        cmdline: "qd1=9 qd32=2000 seq=8 rounds=2",
      });
      await vm.exited;
      const round = "qd1 9 \\d+\nqd32 2000 \\d+\nseq 8 \\d+\n";
      assertMatch(
        vm.console.text,
        new RegExp(`^virtio-bench: ${SECTORS} sectors over MMIO\n${round}${round}virtio-bench: done\n$`),
      );
    }),
);

testWith([ANY_KVM, MOUNTS], "on a file system without holes zeroes are written, and a discard is nothing", async () => {
  const disk = "/mnt/disk", prefix = withMounts(`mount -t ramfs none /mnt; truncate -s ${SECTORS * SECTOR} ${disk}`);
  const { status, stdout, stderr } = await finish("run", ["guests/virtio-blk.img", "--disk", disk], { prefix });
  assertEquals([status, stdout.split("\n").at(-2)], [0, "virtio-blk: all that was written was read"], stderr);
});

for (const trigger of ["edge", "level"] as const) {
  testWith(
    [KVM],
    `a driver that sleeps until the disk interrupts never sleeps too long (${trigger})`,
    () =>
      withDisk(async (file) => {
        const options = { disks: [{ file, trigger }], cmdline: `interrupts=${trigger}`, virtioIn: "worker" } as const;
        assertMatch(await run("virtio-blk", options), /all that was written was read\n$/);
      }),
  );
}

testWith([ANY_KVM], "a disk has as many queues as it is asked for", () =>
  withDisk(async (file) => {
    const disks = [{ file, queues: 3 }];
    assertMatch(await run("virtio-blk", { disks, cmdline: "queue=2" }), /all that was written was read\n$/);
  }));

const POOL = 0x200_0000, POOL_BYTES = 0x20_0000, cmdline = `pool=${POOL}`;

for (const virtioIn of ["process", "worker"] as const) {
  const only = (sizeBytes: number) => [{ first: POOL, last: POOL + sizeBytes - 1 }];

  testWith(
    [KVM],
    `a disk whose model sees one pool of memory serves a driver that keeps to it (${virtioIn})`,
    () =>
      withDisk(async (file) => {
        const disks = [{ file, memory: only(POOL_BYTES) }];
        assertMatch(await run("virtio-blk", { disks, cmdline, virtioIn }), /all that was written was read\n$/);
      }),
  );

  testWith(
    [KVM],
    `what lies outside is an error of the request, and is counted (${virtioIn})`,
    () =>
      withDisk(async (file) => {
        const disks = [{ file, memory: only(0x1_1000) }];
        await using vm = await boot("guests/virtio-blk.img", { disks, cmdline, virtioIn, timeoutMs: 60_000 });
        assertEquals((await vm.exited).status, 1);
        assertMatch(vm.console.text, /virtio-blk: a write gives 0x1, not 0x0\n$/);
        const { outside } = vm.statistics.servers.find(({ id }) => id === 1)!;
        assertEquals(outside?.last, POOL + 0x1_1000);
        assertEquals(outside!.count >= 1, true);
      }),
  );
}

testWith(
  [ANY_KVM],
  "a driver that does not know that a device's memory is restricted is not taken",
  () =>
    withDisk(async (file) => {
      await using vm = await boot("guests/virtio-blk.img", { disks: [{ file, memory: [] }], timeoutMs: 60_000 });
      assertEquals((await vm.exited).status, 1);
      assertEquals(vm.console.text, "virtio: the device does not take its own features\n");
    }),
);

testWith(
  [ANY_KVM],
  "what a file has lost is an error of the request",
  async () => {
    await withDisk(async (file) => {
      await using vm = await boot("guests/virtio-held.img", { disks: [file], timeoutMs: 60_000 });
      await vm.console.expect(/virtio-held: \d+\n/);
      await Deno.truncate(file, 0);
      assertEquals((await vm.exited).status, 1);
      // A write may have made it longer again: then what lies before that reads as zeroes.
      assertMatch(vm.console.text, /virtio-held: (status 1|sector \d+ reads 0x0, not 0x[\da-f]+)\n$/);
    });
  },
);

testWith([ANY_KVM, MOUNTS], "a write for which the host has no room is an error of the request", async () => {
  const disk = "/mnt/disk", prefix = withMounts(`mount -t tmpfs -o size=64k none /mnt; truncate -s 1M ${disk}`);
  const { status, stdout } = await finish("run", ["guests/virtio-blk.img", "--disk", disk], { prefix });
  assertEquals([status, stdout.split("\n").at(-2)], [1, "virtio-blk: a write gives 0x1, not 0x0"]);
});

testWith([ANY_KVM], "a disk that is to be read only is", () =>
  withDisk(async (file) => {
    const before = await Deno.readFile(file);
    before.set([0x78, 0x56, 0x34, 0x12]);
    await Deno.writeFile(file, before);
    const said = await run("virtio-blk", { disks: [{ file, readOnly: true }] });
    assertMatch(said, /to be read only; its first word is 0x12345678\n$/);
    assertEquals(await Deno.readFile(file), before);
  }));

testWith(
  [ANY_KVM],
  "several disks and a source of entropy have each their place",
  () =>
    withDisk((one) =>
      withDisk(async (other) => {
        const disks = [{ file: one, readOnly: true }, other];
        assertMatch(await run("virtio-blk", { disks, rngs: 1, cmdline: "disk=1" }), /all that was written was read\n$/);
        assertEquals((await Deno.readFile(one)).every((byte) => byte === 0), true);
      })
    ),
);

testWith([KVM], "a source of entropy fills what it is given, and is what a disk can be", async () => {
  const all = { rngs: 1 }, table: BootOptions[] = [all, { rngs: [{ legacy: true, trigger: "level" }] }];
  for (const options of table) {
    assertMatch(await run("virtio-rng", options), /^virtio-rng: 7680 bytes, no two rounds alike\n$/);
  }
  await using vm = await boot("guests/virtio-rng.img", { rngs: [{ memory: [] }], timeoutMs: 60_000 });
  await vm.exited;
  assertEquals(vm.console.text, "virtio: the device does not take its own features\n");
});

for (const virtioIn of ["process", "worker"] as const) {
  testWith([ANY_KVM], `what virtio forbids a device it does not do (${virtioIn})`, () =>
    withDisk(async (file) => {
      const said = await run("virtio-rules", { disks: [{ file, queues: 2 }], rngs: 1, virtioIn });
      assertEquals(said, "virtio-rules: all of them hold\n");
    }));
}

testWith([], "what cannot be a disk is refused in one line, before anything runs", async () => {
  const refused = async (file: string, why: RegExp) => {
    const error = await assertRejects(() => boot("guests/null.img", { disks: [file] }), UsageError);
    assertMatch(error.message, why);
  };
  await refused("missing.img", /^disk missing\.img: ENOENT$/);
  await refused("guests", /^disk guests: EISDIR$/);
  await withDisk((file) => refused(file, /: empty$/), 0);
  await withDisk((file) => refused(file, /: 1000 bytes are no whole sectors of 512$/), 1000);
  const error = await assertRejects(() => boot("guests/null.img", { disks: Array(8).fill("x") }), UsageError);
  assertEquals(error.message, "8 virtio devices: at most 7");
});

testWith(
  [],
  "a disk that somebody writes to is one device's, which is said before anything runs",
  () =>
    withDisk(async (file) => {
      const link = `${file}-link`, why = "somebody else has it, and writes to it or would be written to";
      await Deno.symlink(file, link);
      await using _ = { [Symbol.asyncDispose]: () => Deno.remove(link) };
      const reader = { file, readOnly: true };
      for (const disks of [[file, file], [reader, file], [file, reader], [reader, link]]) {
        for (const virtioIn of ["process", "worker"] as const) {
          const error = await assertRejects(() => boot("guests/null.img", { disks, virtioIn }), UsageError);
          assertMatch(error.message, new RegExp(`^disk ${file}(-link)?: ${why}$`));
        }
      }
    }),
);

for (const virtioIn of ["process", "worker"] as const) {
  testWith([ANY_KVM], `a disk that two readers have is two devices' (${virtioIn})`, () =>
    withDisk(async (file) => {
      const disks = Array(2).fill({ file, readOnly: true });
      assertMatch(await run("virtio-blk", { disks, virtioIn, cmdline: "disk=1" }), /virtio-blk/);
    }));
}
