/** Virtio network devices as guests drive them, with each other, with a test, with the host. */

import { assertEquals, assertMatch, assertNotEquals, assertRejects } from "@std/assert";
import { createSocket } from "node:dgram";
import { boot, type BootOptions } from "xenolith/testing";
import { type NetOptions, UsageError } from "../../mod.ts";
import { SLIRP_LIBRARY, SLIRP_PACKAGE } from "../../src/devices/slirp.ts";
import { ANY_KVM, program, testWith } from "../support/capabilities.ts";
import { LIBSLIRP } from "../support/slirp.ts";
import { assertOneLine, finish } from "../support/command.ts";
import { childProcesses, MOUNTS, OWN_NETWORK, withMounts } from "../support/host.ts";
import { arpReply, arpRequest, BROADCAST, datagram, echoReply, echoRequest, type Ends } from "../support/frames.ts";
import { WirePeer } from "../support/wire_peer.ts";

const IMAGE = "guests/virtio-net.img", TIMEOUT = { timeoutMs: 60_000 };
const MAC = "52:54:00:12:34:56", PEER = { fromMac: "02:00:00:00:00:01", from: "10.9.0.1", to: "10.9.0.2" } as const;
const TO_GUEST: Ends = { ...PEER, toMac: MAC };
const DISCARD = 9;

async function withWire(body: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-net-" });
  try {
    await body(`${directory}/wire`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function start(cmdline: string, net: NetOptions, more: BootOptions = {}) {
  return boot(IMAGE, { ...TIMEOUT, ...more, nets: [net], cmdline });
}

async function ended(vm: Awaited<ReturnType<typeof boot>>, said: string | RegExp): Promise<void> {
  const { status, reason } = await vm.exited;
  assertEquals(status, 0, `${reason}\n${vm.console.text}`);
  if (typeof said === "string") assertEquals(vm.console.text, said);
  else assertMatch(vm.console.text, said);
}

for (const legacy of [false, true]) {
  testWith(
    [ANY_KVM],
    `two guests on one wire ping each other (${legacy ? "legacy" : "version 1"})`,
    () =>
      withWire(async (path) => {
        const net = { kind: "socket", path, legacy } as const;
        // At once: whoever is first listens.
        const [answering, pinging] = await Promise.all([
          start("role=answer ip=10.9.0.2", net),
          start("role=ping ip=10.9.0.1 peer=10.9.0.2 count=8", net),
        ]);
        await using _answering = answering;
        await using _pinging = pinging;
        await ended(pinging, "virtio-net: 8 echoes\n");
        await ended(answering, "virtio-net: answered 8\n");
      }),
  );
}

/** An echo of the guest's, by ARP and ICMP. @param pieceBytes the size in which a request is written */
async function ping(peer: WirePeer, sequence: number, pieceBytes = Infinity): Promise<void> {
  await peer.send(arpRequest(PEER), pieceBytes);
  assertEquals(await peer.find(arpReply), `10.9.0.2 is at ${MAC}`);
  const data = Array.from({ length: 100 }, (_, index) => index * sequence % 256);
  await peer.send(echoRequest(TO_GUEST, sequence, data), pieceBytes);
  assertEquals(await peer.find(echoReply), { sequence, data });
}

testWith(
  [ANY_KVM],
  "a guest's wire outlives peers that write bytes one by one, that make no sense, that leave",
  () =>
    withWire(async (path) => {
      using listener = Deno.listen({ transport: "unix", path });
      const come = async () => new WirePeer(await listener.accept());
      await using vm = await start("role=answer ip=10.9.0.2", { kind: "socket", path, mac: MAC });
      {
        using peer = await come();
        await ping(peer, 1, 1);
        await peer.send(new Uint8Array(13)); // shorter than its header
        await peer.send(new Uint8Array(65_536)); // longer than any that the guest takes
        await ping(peer, 2, 1000);
        await peer.sendBytes(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1, 2, 3));
        await peer.closed();
      }
      {
        using peer = await come();
        await ping(peer, 3);
        await peer.sendBytes(Uint8Array.of(0, 0, 0, 60, 1, 2, 3)); // and the rest never comes
      }
      {
        using peer = await come();
        await ping(peer, 4);
        await peer.sendBytes(new Uint8Array(4));
        await peer.closed();
      }
      using peer = await come();
      await peer.send(datagram(TO_GUEST, DISCARD));
      await ended(vm, "virtio-net: answered 4\n");
    }),
);

testWith(
  [ANY_KVM],
  "a guest that is there first listens; the next peer is let in when the one before has left",
  () =>
    withWire(async (path) => {
      await using vm = await start("role=answer ip=10.9.0.2", { kind: "socket", path, mac: MAC });
      const connect = async () => new WirePeer(await Deno.connect({ transport: "unix", path }));
      using next = await connect().then(async (first) => {
        using _first = first;
        await ping(first, 1);
        const second = await connect();
        await second.send(arpRequest(PEER)); // it waits
        await ping(first, 2);
        return second;
      });
      await ping(next, 3);
      // A peer that does not read: what there is no room for is lost, and the guest goes on.
      for (let n = 0; n < 200; n++) await next.send(echoRequest(TO_GUEST, n, Array(1000).fill(n % 256)));
      await next.send(datagram(TO_GUEST, DISCARD));
      await ended(vm, /^virtio-net: answered \d+\n$/);
      assertEquals(await Deno.stat(path).catch((error) => error.name), "NotFound");
    }),
);

testWith(
  [ANY_KVM],
  "devices that are there at the same time have addresses of their own",
  () =>
    withWire(async (path) => {
      await using stack = new AsyncDisposableStack();
      const guests = await Promise.all([1, 2].map(async (n) => {
        const place = `${path}${n}`,
          vm = stack.use(await start("role=answer ip=10.9.0.2", { kind: "socket", path: place }));
        return { vm, peer: stack.use(new WirePeer(await Deno.connect({ transport: "unix", path: place }))) };
      }));
      const found = await Promise.all(guests.map(async ({ peer }) => {
        await peer.send(arpRequest(PEER));
        return await peer.find(arpReply);
      }));
      for (const reply of found) assertMatch(reply, /^10\.9\.0\.2 is at 52:54:00(:[\da-f]{2}){3}$/);
      assertNotEquals(found[0], found[1]);
      for (const { vm, peer } of guests) {
        await peer.send(datagram({ ...TO_GUEST, toMac: BROADCAST }, DISCARD));
        await ended(vm, "virtio-net: answered 0\n");
      }
    }),
);

testWith(
  [ANY_KVM],
  "a device whose model is killed goes on with another, to which the peer has to come again",
  () =>
    withWire(async (path) => {
      using listener = Deno.listen({ transport: "unix", path });
      const come = async () => new WirePeer(await listener.accept());
      await using vm = await start("role=answer ip=10.9.0.2", { kind: "socket", path, mac: MAC }, { hold: true });
      {
        using peer = await come();
        await ping(peer, 1);
        const [{ pid }] = childProcesses().filter(({ command }) => command.includes("model-process"));
        Deno.kill(pid, "SIGKILL");
        await peer.closed();
      }
      using peer = await come();
      await ping(peer, 2);
      await peer.send(datagram(TO_GUEST, DISCARD));
      await ended(vm, "virtio-net: answered 2\n");
    }),
);

/** A port that nobody has at the moment. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

for (const virtioIn of ["process", "worker"] as const) {
  testWith(
    [ANY_KVM, LIBSLIRP],
    `by the user network a guest gets an address, reaches the host, and is reached (${virtioIn})`,
    async () => {
      const udp = createSocket("udp4");
      udp.on("message", (message, from) => udp.send(message, from.port, from.address));
      await new Promise<void>((bound) => udp.bind(0, "127.0.0.1", bound));
      using tcp = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const echo = tcp.accept().then((connection) => connection.readable.pipeTo(connection.writable));
      const hostPort = freePort();
      const net: NetOptions = { kind: "user", hostForwards: [{ protocol: "tcp", hostPort, guestPort: 80 }] };
      await using vm = await start(`role=dhcp udp=${udp.address().port} tcp=${tcp.addr.port} listen=80`, net, {
        virtioIn,
      });
      await vm.console.expect("virtio-net: listening\n");
      const connection = await Deno.connect({ hostname: "127.0.0.1", port: hostPort });
      const data = crypto.getRandomValues(new Uint8Array(30_000)), writer = connection.writable.getWriter();
      await writer.write(data);
      await connection.closeWrite();
      assertEquals(new Uint8Array(await new Response(connection.readable).arrayBuffer()), data);
      await ended(
        vm,
        "virtio-net: address 10.0.2.15, router 10.0.2.2, name server 10.0.2.3\n" +
          "virtio-net: a datagram of 1000 bytes came back\nvirtio-net: 4000 bytes came back\n" +
          "virtio-net: listening\nvirtio-net: 30000 bytes given back\n",
      );
      await echo;
      await new Promise<void>((closed) => udp.close(closed));
    },
  );
}

testWith([ANY_KVM, OWN_NETWORK], "by a tap interface a guest pings the host", async () => {
  const script = "ip tuntap add dev tap0 mode tap; ip addr add 198.18.0.1/24 dev tap0; ip link set tap0 up";
  const args = ["--net", "tap,ifname=tap0", "--cmdline", "role=ping ip=198.18.0.2 peer=198.18.0.1", IMAGE];
  const prefix = ["unshare", "-n", "sh", "-c", `set -e; ${script}; exec "$@"`, "sh"];
  const { status, stdout, stderr } = await finish("run", args, { prefix });
  assertEquals([status, stdout, stderr], [0, "virtio-net: 8 echoes\n", ""]);
});

testWith([OWN_NETWORK], "one tap interface is one device's, which is said before anything runs", async () => {
  const args = ["--net", "tap,ifname=tap0", "--net", "tap,ifname=tap0", "guests/null.img"];
  const finished = await finish("run", args, { prefix: ["unshare", "-n"] });
  assertOneLine(finished, 64, /^xenolith: net tap tap0: somebody else has it$/);
});

testWith(
  [ANY_KVM, LIBSLIRP],
  "a port that somebody has cannot be forwarded, which is said before anything runs",
  async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const forward = { protocol: "tcp", hostPort: listener.addr.port, guestPort: 80 } as const;
    const refused = () => boot("guests/null.img", { nets: [{ kind: "user", hostForwards: [forward] }] });
    const { message } = await assertRejects(refused, UsageError);
    assertEquals(message, `net user: hostfwd tcp port ${listener.addr.port} of 127.0.0.1 is not to be had`);
  },
);

testWith(
  [program("setpriv", "util-linux")],
  "without CAP_NET_ADMIN a tap interface is refused, with what to do",
  async () => {
    const prefix = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
    const { status, stderr } = await finish("run", ["--net", "tap,ifname=tap7", "guests/null.img"], { prefix });
    const how = "it takes CAP_NET_ADMIN, or an interface of your own: sudo ip tuntap add tap7 mode tap user $USER";
    assertEquals([status, stderr], [69, `xenolith: net tap tap7: EPERM: ${how}\n`]);
  },
);

testWith([LIBSLIRP, MOUNTS], "without libslirp the user network is refused, with the package that has it", async () => {
  const prefix = withMounts(`for file in /lib/*/${SLIRP_LIBRARY}; do mount --bind /dev/null "$file"; done`);
  const { status, stderr } = await finish("run", ["--net", "user", "guests/null.img"], { prefix });
  const line = `xenolith: net user: ${SLIRP_LIBRARY} cannot be loaded (Debian: apt-get install ${SLIRP_PACKAGE})\n`;
  assertEquals([status, stderr], [69, line]);
});
