import { assertEquals, assertThrows } from "@std/assert";
import { testWith } from "../support/capabilities.ts";
import { datagramsAt } from "../support/datagrams.ts";
import { LIBSLIRP } from "../support/slirp.ts";
import { checkNets, type NetOptions, parseNet } from "../../src/machine/nets.ts";
import { checkVirtio, UsageError } from "../../src/machine/options.ts";
import { virtioModels, virtioRegisters } from "../../src/machine/virtio.ts";

const USER = { kind: "user", hostForwards: [], restrict: false } as const;

Deno.test("parseNet() takes each kind with what belongs to it", () => {
  const table: [text: string, net: NetOptions][] = [
    ["socket,path=/tmp/wire", { kind: "socket", path: "/tmp/wire" }],
    ["socket,path=a=b", { kind: "socket", path: "a=b" }],
    ["socket,legacy,path=wire", { kind: "socket", path: "wire", legacy: true }],
    ["tap,ifname=tap0,mac=52:54:00:AA:bb:01", { kind: "tap", ifname: "tap0", mac: "52:54:00:AA:bb:01" }],
    ["user", USER],
    ["user,memory=0x1000-0x1fff+0x8000-0xffff", {
      ...USER,
      memory: [{ first: 0x1000, last: 0x1fff }, { first: 0x8000, last: 0xffff }],
    }],
    ["user,restrict=off,legacy", { ...USER, legacy: true }],
    ["user,restrict=on,hostfwd=tcp:8080:80,hostfwd=udp:53:53", {
      kind: "user",
      restrict: true,
      hostForwards: [
        { protocol: "tcp", hostPort: 8080, guestPort: 80 },
        { protocol: "udp", hostPort: 53, guestPort: 53 },
      ],
    }],
  ];
  for (const [text, net] of table) assertEquals(parseNet(text), net, text);
});

Deno.test("parseNet() refuses everything else in one line", () => {
  const forward = (text: string) => `net user: hostfwd ${text}: not tcp:PORT:GUESTPORT or udp:PORT:GUESTPORT`;
  const common = "mac=, irq=edge|level, memory=, legacy";
  const table: [text: string, message: string][] = [
    ["", "net : not socket, tap or user"],
    ["toString", "net toString: not socket, tap or user"],
    ["bridge,br=br0", "net bridge: not socket, tap or user"],
    ["socket", "net socket: path= is missing"],
    ["socket,path=", "net socket: path= needs a value"],
    ["socket,path", `net socket: path is not path=, ${common}`],
    ["socket,path=a,path=b", "net socket: path given twice"],
    ["socket,path=a,mac=52:54:00:00:00:01,mac=52:54:00:00:00:02", "net socket: mac given twice"],
    ["socket,path=a,ifname=b", `net socket: ifname=b is not path=, ${common}`],
    ["socket,path=a,", `net socket:  is not path=, ${common}`],
    ["tap", "net tap: ifname= is missing"],
    ["tap,tap0", `net tap: tap0 is not ifname=, ${common}`],
    ["user,restrict", `net user: restrict is not hostfwd=..., restrict=on|off, ${common}`],
    ["user,restrict=yes", "net user: restrict=yes is not restrict=on|off"],
    ["user,legacy=1", `net user: legacy=1 is not hostfwd=..., restrict=on|off, ${common}`],
    ["user,hostfwd=tcp:80", forward("tcp:80")],
    ["user,hostfwd=sctp:80:80", forward("sctp:80:80")],
    ["user,hostfwd=tcp:80:80:80", forward("tcp:80:80:80")],
    ["user,hostfwd=tcp::80-:22", forward("tcp::80-:22")],
  ];
  for (const [text, message] of table) assertEquals(assertThrows(() => parseNet(text), UsageError).message, message);
});

Deno.test("checkNets() refuses what can be no network, before anything runs", () => {
  const table: [net: NetOptions, message: RegExp][] = [
    ...["", "52:54:00:12:34", "52:54:00:12:34:5g", "52-54-00-12-34-56", "01:00:5e:00:00:01", "00:00:00:00:00:00"].map(
      (mac): [NetOptions, RegExp] => [
        { kind: "socket", path: "wire", mac },
        new RegExp(`^net socket: mac ${mac} is no address of one device, such as 52:54:00:12:34:56$`),
      ],
    ),
    [{ kind: "socket", path: "" }, /^net socket : a socket's path has 1 to 107 bytes, none of them 0$/],
    [{ kind: "socket", path: "x".repeat(108) }, /^net socket x+: a socket's path has 1 to 107 bytes/],
    [{ kind: "socket", path: "/missing/wire" }, /^net socket \/missing\/wire: there is no directory \/missing\/$/],
    [{ kind: "socket", path: "deno.json" }, /^net socket deno.json: exists, and is no socket$/],
    [
      { kind: "tap", ifname: "a-name-of-16-byt" },
      /^net tap a-name-of-16-byt: no name of a tap interface \(15 bytes at most\)$/,
    ],
  ];
  for (const [net, message] of table) {
    const error = assertThrows(() => checkNets([net]), UsageError);
    assertEquals(message.test(error.message), true, error.message);
  }
});

Deno.test("checkNets() finds what goes once, and not twice, and leaves nothing behind", async () => {
  const directory = await Deno.makeTempDir({ prefix: "xenolith-test-" });
  try {
    const path = `${directory}/datagrams`;
    using _datagrams = datagramsAt(path);
    const message = `net socket ${path}: a socket for packets, not for a stream`;
    assertEquals(assertThrows(() => checkNets([{ kind: "socket", path }]), UsageError).message, message);
    checkNets(Array(2).fill({ kind: "socket", path: `${directory}/wire` })); // a machine may have both ends
    assertEquals(Array.from(Deno.readDirSync(directory), ({ name }) => name), ["datagrams"]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

testWith([LIBSLIRP], "two networks cannot have one port of the host's", () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }), { port: hostPort } = listener.addr;
  listener.close();
  const net: NetOptions = { kind: "user", hostForwards: [{ protocol: "tcp", hostPort, guestPort: 80 }] };
  checkNets([net]);
  const { message } = assertThrows(() => checkNets([net, net]), UsageError);
  assertEquals(message, `net user: hostfwd tcp port ${hostPort} of 127.0.0.1 is not to be had`);
  checkNets([net]);
});

Deno.test("networks come behind disks and sources of entropy, and count with them", () => {
  const nets = [parseNet("socket,path=wire"), parseNet("user")], options = { disks: ["disk"], rngs: 1, nets };
  checkVirtio(options);
  const registers = virtioRegisters(virtioModels(options));
  assertEquals(registers.map(({ address, gsi }) => [address, gsi]), [
    [0xd000_0000, 5],
    [0xd000_1000, 6],
    [0xd000_2000, 7],
    [0xd000_3000, 9],
  ]);
  const error = assertThrows(() => checkVirtio({ ...options, nets: Array(6).fill(nets[0]) }), UsageError);
  assertEquals(error.message, "8 virtio devices: at most 7");
});
