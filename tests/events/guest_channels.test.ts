import { assertEquals, assertThrows } from "@std/assert";
import type { PortStatus } from "../../src/events/guest_channels.ts";
import { PORT, PortTable } from "../../src/events/port_table.ts";
import { MAX_VIRQS } from "../../src/events/event_vcpus.ts";
import { NR_VIRQS } from "../../src/hypercall/abi/xen.ts";
import { EAGAIN, EBUSY, EEXIST, EINVAL, ENOENT, ENOSPC } from "../../src/linux/errno.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { DOMID, GuestScene, SCENE_BYTES } from "./guest_scene.ts";

function statusOf(guest: GuestScene, port: number): PortStatus | number {
  const status = { state: -1, vcpu: -1, remoteDomid: -1, remotePort: -1, line: -1 };
  return guest.channels.status(port, status) || status;
}

function stateOf(guest: GuestScene, port: number): number {
  const status = statusOf(guest, port);
  return typeof status === "number" ? status : status.state;
}

Deno.test("a vCPU has a place for each of Xen's virtual interrupts", () => {
  assertEquals(MAX_VIRQS, NR_VIRQS);
});

Deno.test("PortTable.initialise() takes as many vCPUs as there is room for", () => {
  using memory = Mapping.anonymous(SCENE_BYTES, "ports of a test");
  for (const vcpus of [0, -1, 4097, NaN]) {
    assertThrows(() => new PortTable(memory.address).initialise({ domid: 1, vcpus, sharedInfo: 0 }), RangeError);
  }
  new PortTable(memory.address).initialise({ domid: 1, vcpus: 4096, sharedInfo: 2 });
  const { domid, vcpus, sharedInfo, bits } = new PortTable(memory.address);
  assertEquals({ domid, vcpus, sharedInfo, bits }, { domid: 1, vcpus: 4096, sharedInfo: 2, bits: 64 });
});

Deno.test("port 0 is reserved, and the lowest free port is the next", () => {
  using guest = GuestScene.create();
  const { channels } = guest;
  assertEquals(stateOf(guest, 0), PORT.RESERVED);
  assertEquals([channels.allocUnbound(0), channels.bindIpi(1), channels.bindVirq(2, 0, true)], [1, 2, 3]);
  assertEquals([channels.close(2), channels.close(1)], [0, 0]);
  assertEquals([channels.bindPirq(3), channels.bindIpi(0), channels.bindIpi(0)], [1, 2, 4]);
});

for (const [bits, limit] of [[64, 4096], [32, 1024]] as const) {
  Deno.test(`a guest with ${bits}-bit longs has ${limit} ports`, () => {
    using guest = GuestScene.create();
    guest.table.bits = bits;
    for (let port = 1; port < limit; port++) assertEquals(guest.channels.allocUnbound(0), port);
    assertEquals(guest.channels.bindIpi(0), -ENOSPC);
    assertEquals(guest.channels.bindVirq(0, 0, false), -ENOSPC);
    assertEquals(guest.channels.bindInterdomain(DOMID, 5), -ENOSPC, "before it looks at the other port");
    guest.channels.close(limit - 1);
    assertEquals(guest.channels.bindIpi(3), limit - 1);
    assertEquals(guest.channels.send(limit - 1), 0);
    assertEquals(guest.pending(), [limit - 1]);
  });
}

Deno.test("ports are valid 64 at a time, from the first that is used on", () => {
  using guest = GuestScene.create();
  const { channels } = guest, ends = () => [63, 64, 127, 128].map((port) => stateOf(guest, port));
  assertEquals(ends(), [PORT.FREE, -EINVAL, -EINVAL, -EINVAL]);
  assertEquals([channels.unmask(63), channels.unmask(64)], [0, -EINVAL]);
  for (let port = 1; port < 64; port++) channels.bindIpi(0);
  assertEquals(ends(), [PORT.IPI, -EINVAL, -EINVAL, -EINVAL]);
  assertEquals(channels.bindInterdomain(DOMID, 64), -EINVAL);
  assertEquals(ends(), [PORT.IPI, PORT.FREE, PORT.FREE, -EINVAL], "it had looked for a port");
  assertEquals(channels.bindIpi(0), 64);
  for (const port of [128, 4096, 2 ** 31, 2 ** 32 - 1]) {
    const results = [channels.send(port), channels.close(port), channels.bindVcpu(port, 0), channels.poll(port)];
    assertEquals(results, [-EINVAL, -EINVAL, -EINVAL, -EINVAL]);
  }
});

Deno.test("every kind of port says what it is", () => {
  using guest = GuestScene.create();
  const { channels } = guest, [backEnd, own] = [3, 9];
  guest.addBackEnd(backEnd);
  channels.allocUnbound(17);
  channels.allocUnbound(DOMID);
  channels.bindInterdomain(DOMID, 2);
  channels.bindVirq(1, 2, false);
  channels.bindVirq(5, 0, true);
  channels.bindIpi(3);
  channels.bindPirq(11);
  channels.allocUnbound(0);
  channels.backEndPorts.attach(8, backEnd, own);
  const told = Array.from({ length: 9 }, (_, port) => {
    const { state, vcpu, remoteDomid, remotePort, line } = statusOf(guest, port) as PortStatus;
    switch (state) {
      case PORT.UNBOUND:
        return [state, vcpu, remoteDomid];
      case PORT.INTERDOMAIN:
        return [state, vcpu, remoteDomid, remotePort];
      case PORT.PIRQ:
      case PORT.VIRQ:
        return [state, vcpu, line];
      default:
        return [state, vcpu];
    }
  });
  assertEquals(told, [
    [PORT.RESERVED, 0],
    [PORT.UNBOUND, 0, 17],
    [PORT.INTERDOMAIN, 0, DOMID, 3],
    [PORT.INTERDOMAIN, 0, DOMID, 2],
    [PORT.VIRQ, 2, 1],
    [PORT.VIRQ, 0, 5],
    [PORT.IPI, 3],
    [PORT.PIRQ, 0, 11],
    [PORT.INTERDOMAIN, 0, 0, own],
  ]);
  assertEquals([0, 1, 2, 4, 7].map((port) => channels.send(port)), [-EINVAL, 0, 0, -EINVAL, -EINVAL]);
  assertEquals([0, 1, 2, 3, 4, 5, 6, 7, 8].map((port) => channels.bindVcpu(port, 1)), [
    -EINVAL,
    0,
    0,
    0,
    -EINVAL,
    0,
    -EINVAL,
    0,
    0,
  ]);
  assertEquals([0, 9].map((port) => channels.close(port)), [-EINVAL, -EINVAL]);
});

Deno.test("both ends of a loop within the domain send to each other, and the one that stays waits again", () => {
  using guest = GuestScene.create();
  const { channels } = guest;
  assertEquals([channels.allocUnbound(0), channels.allocUnbound(DOMID)], [1, 2]);
  assertEquals(channels.bindInterdomain(DOMID, 1), -EINVAL, "offered to somebody else");
  assertEquals(channels.bindInterdomain(DOMID, 3), -EINVAL, "free");
  assertEquals(channels.bindInterdomain(DOMID, 0), -EINVAL, "reserved");
  assertEquals(channels.bindInterdomain(0, 2), -EINVAL, "not domain 0's");
  channels.bindVcpu(2, 1);
  assertEquals(channels.bindInterdomain(DOMID, 2), 3);
  assertEquals(channels.bindInterdomain(DOMID, 2), -EINVAL, "bound already");
  assertEquals([guest.pending(), guest.take()], [[3], ["upcall 0"]], "the end that came has an event");
  guest.takePending(3);
  assertEquals((statusOf(guest, 2) as PortStatus).vcpu, 1);
  channels.bindVcpu(3, 2);
  assertEquals([channels.send(2), guest.pending(), guest.take()], [0, [3], ["upcall 2"]]);
  assertEquals([channels.send(3), guest.pending(), guest.take()], [0, [2, 3], ["upcall 1"]]);
  assertEquals(channels.close(2), 0);
  assertEquals(guest.pending(), [3], "a closed port has no event; the other keeps its own");
  assertEquals(statusOf(guest, 3), { state: PORT.UNBOUND, vcpu: 2, remoteDomid: DOMID, remotePort: 0, line: 0 });
  assertEquals([channels.send(3), channels.send(2), guest.pending()], [0, -EINVAL, [3]]);
  assertEquals([channels.bindInterdomain(DOMID, 3), channels.send(2)], [2, 0]);
  assertEquals(guest.pending(), [2, 3]);
});

Deno.test("a virtual interrupt has one port a vCPU, or one in all, and none once that is closed", () => {
  using guest = GuestScene.create();
  const { channels } = guest;
  assertEquals(channels.raiseVirq(0, 1), false);
  assertEquals([channels.bindVirq(0, 1, false), channels.bindVirq(0, 2, false)], [1, 2]);
  assertEquals([channels.bindVirq(0, 1, false), channels.bindVirq(0, 4, false)], [-EEXIST, -ENOENT]);
  assertEquals([channels.bindVirq(3, 0, true), channels.bindVirq(3, 0, true)], [3, -EEXIST]);
  assertEquals(channels.bindVcpu(3, 2), 0);
  assertEquals([channels.raiseVirq(0, 2), channels.raiseVirq(0, 3), channels.raiseVirq(3)], [true, false, true]);
  assertEquals([guest.pending(), guest.take()], [[2, 3], ["upcall 2"]]);
  assertEquals([1, 2, 3].map((port) => channels.close(port)), [0, 0, 0]);
  assertEquals([channels.raiseVirq(0, 2), channels.raiseVirq(3), guest.pending()], [false, false, []]);
  assertEquals([channels.bindVirq(3, 0, true), channels.bindVirq(0, 2, false)], [1, 2]);
});

Deno.test("a port that is bound again notifies vCPU 0", () => {
  using guest = GuestScene.create();
  const { channels } = guest, port = channels.allocUnbound(0);
  assertEquals([channels.bindVcpu(port, 3), channels.bindVcpu(port, 4), channels.bindVcpu(5, 4)], [
    0,
    -ENOENT,
    -ENOENT,
  ]);
  channels.close(port);
  assertEquals(channels.allocUnbound(0), port);
  assertEquals((statusOf(guest, port) as PortStatus).vcpu, 0);
});

Deno.test("a physical interrupt has one port, on which nothing comes", () => {
  using guest = GuestScene.create();
  const { channels } = guest;
  assertEquals([channels.bindPirq(5), channels.bindPirq(5), channels.bindPirq(6)], [1, -EEXIST, 2]);
  assertEquals([channels.close(1), channels.bindPirq(5)], [0, 1]);
});

Deno.test("a back end finds an event, is sent events, sends some, and goes", () => {
  using guest = GuestScene.create();
  const { channels } = guest, { backEndPorts } = channels, drained: number[] = [];
  const backEnd = guest.addBackEnd(2), drain = () => (backEnd.drain((port) => drained.push(port)), drained.splice(0));
  assertEquals([channels.allocUnbound(0), channels.allocUnbound(DOMID), channels.bindIpi(0)], [1, 2, 3]);
  assertEquals([0, 2, 3, 4, 200].map((port) => backEndPorts.attach(port, 2, 30)), new Array(5).fill(-EINVAL));
  assertEquals(backEndPorts.notify(1, 2), -EINVAL, "it is not there yet");
  assertEquals([backEndPorts.attach(1, 2, 30), drain()], [0, [30]]);
  assertEquals(backEndPorts.attach(1, 2, 30), -EINVAL, "it is there already");
  assertEquals([channels.send(1), channels.send(1), drain()], [0, 0, [30]]);
  channels.bindVcpu(1, 3);
  assertEquals([backEndPorts.notify(1, 2), guest.pending(), guest.take()], [0, [1], ["upcall 3"]]);
  assertEquals([backEndPorts.notify(1, 1), backEndPorts.detach(1, 1)], [-EINVAL, -EINVAL], "another's");
  assertEquals([backEndPorts.notify(200, 2), backEndPorts.detach(200, 2)], [-EINVAL, -EINVAL]);
  assertEquals([backEndPorts.detach(1, 2), backEndPorts.detach(1, 2)], [0, -EINVAL]);
  assertEquals(statusOf(guest, 1), { state: PORT.UNBOUND, vcpu: 3, remoteDomid: 0, remotePort: 0, line: 0 });
  assertEquals([channels.send(1), drain(), backEndPorts.notify(1, 2)], [0, [], -EINVAL]);
  assertEquals([backEndPorts.attach(1, 2, 4), drain()], [0, [4]]);
  assertEquals([channels.close(1), drain(), backEndPorts.notify(1, 2)], [0, [], -EINVAL]);
  assertEquals(channels.bindIpi(1), 1);
  assertEquals([backEndPorts.notify(1, 2), backEndPorts.detach(1, 2)], [-EINVAL, -EINVAL], "the number is used again");
  channels.allocUnbound(0);
  assertEquals([backEndPorts.attach(4, 7, 1), channels.send(4)], [0, 0], "a back end that cannot be found misses it");
});

Deno.test("unmasking delivers what is pending, to the vCPU that the port notifies now", () => {
  using guest = GuestScene.create();
  const { channels } = guest, port = channels.allocUnbound(0);
  guest.addBackEnd(0);
  channels.backEndPorts.attach(port, 0, 0);
  guest.mask(port);
  channels.backEndPorts.notify(port, 0);
  channels.bindVcpu(port, 2);
  assertEquals([guest.take(), channels.unmask(port), guest.take()], [[], 0, ["upcall 2"]]);
  guest.mask(9);
  guest.frames[guest.pendingIndex(9)] |= 1 << 9;
  assertEquals([channels.unmask(9), channels.unmask(0), guest.masked()], [0, 0, [9]], "free and reserved: nothing");
  assertEquals(guest.take(), []);
});

Deno.test("reset closes everything, and only one is under way", () => {
  using guest = GuestScene.create();
  const { channels } = guest;
  guest.addBackEnd(0);
  channels.allocUnbound(0);
  channels.backEndPorts.attach(1, 0, 0);
  channels.allocUnbound(DOMID);
  channels.bindInterdomain(DOMID, 2);
  channels.bindVirq(0, 3, false);
  for (let port = 5; port < 130; port++) channels.bindIpi(1);
  channels.send(100);
  assertEquals(channels.reset(true), -EBUSY, "none is under way");
  assertEquals(channels.reset(), 0);
  assertEquals([guest.pending(), channels.raiseVirq(0, 3), channels.bindIpi(0)], [[], false, 1]);
  assertEquals(stateOf(guest, 0), PORT.RESERVED);
  guest.table.resetting = 64;
  assertEquals(channels.reset(), -EBUSY);
  assertEquals(channels.reset(true), -EAGAIN, "a port below where it goes on");
  assertEquals([guest.table.resetting, channels.reset()], [0, 0]);
});

Deno.test("who waits for ports is woken by the one, or by any, once", () => {
  using guest = GuestScene.create(70);
  const { channels } = guest, { delivery } = channels;
  for (let port = 1; port <= 3; port++) channels.bindIpi(port);
  assertEquals([channels.poll(1), channels.poll(0), channels.poll(4), channels.poll(64)], [0, -22, -22, -22]);
  for (const port of [1, 2, 3]) guest.mask(port);
  delivery.beginPoll(0);
  delivery.beginPoll(69);
  delivery.narrowPoll(69, 2);
  delivery.beginPoll(33);
  delivery.narrowPoll(33, 1);
  assertEquals([channels.send(1), guest.take()], [0, ["unblock 0", "unblock 33"]], "masked or not");
  assertEquals([channels.poll(1), channels.send(1), guest.take()], [1, 0, []], "pending already");
  assertEquals([channels.send(3), guest.take()], [0, []]);
  assertEquals([delivery.endPoll(0), delivery.endPoll(69), delivery.endPoll(69)], [false, true, false]);
  assertEquals([channels.send(2), guest.take(), guest.table.ofVcpus.hasPollers], [0, [], false]);
});

Deno.test("a guest's width changes at any moment, and its ports stay", () => {
  using guest = GuestScene.create();
  const { channels } = guest;
  for (let port = 1; port < 1100; port++) channels.bindIpi(port % 4);
  guest.table.bits = 32;
  assertEquals([channels.send(3), channels.send(1099), guest.pending(), guest.selected(3)], [0, 0, [3], [0]]);
  assertEquals([channels.bindIpi(0), channels.close(1099), channels.close(1)], [-ENOSPC, 0, 0]);
  guest.table.bits = 64;
  assertEquals([channels.bindIpi(0), channels.bindIpi(2), channels.send(1099)], [1, 1099, 0]);
  assertEquals(guest.pending(), [3, 1099]);
});

Deno.test("whatever the guest writes into its pages, calls end, and nothing but its pages changes", () => {
  using guest = GuestScene.create();
  const { channels } = guest;
  guest.addBackEnd(1);
  for (let port = 1; port <= 8; port++) channels.bindIpi(port % 4);
  channels.allocUnbound(0);
  channels.backEndPorts.attach(9, 1, 3);
  for (const fill of [0xff, 0x00, 0xaa, 0x01]) {
    guest.bytes.fill(fill, guest.sharedByte(0), guest.sharedByte(4096));
    const outside = guest.bytes.slice(guest.sharedByte(4096));
    const results = [1, 2, 3, 4].flatMap((port) => [
      channels.send(port),
      channels.unmask(port),
      channels.backEndPorts.notify(9, 1),
    ]);
    assertEquals(results, new Array(12).fill(0));
    assertEquals([stateOf(guest, 1), stateOf(guest, 9), stateOf(guest, 10)], [PORT.IPI, PORT.INTERDOMAIN, PORT.FREE]);
    assertEquals(guest.bytes.slice(guest.sharedByte(4096)), outside);
    assertEquals([...guest.bytes.subarray(0, guest.sharedByte(0))].some((byte) => byte !== 0), false);
  }
  assertEquals([channels.reset(), channels.bindIpi(0)], [0, 1]);
});
