/** Eventfds of device models in other processes: what is refused, what is undone when, and that nothing stays open. */

import { assertEquals } from "@std/assert";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import type { FakeGateDomain } from "./fake_gate_domain.ts";
import { Peer } from "./gate_peer.ts";

const FIRST = 0xd000_0000n, LAST = 0xd000_01ffn, NOTIFY = 0xd000_0050n;
const MEMORY = 1, PORT = 0, PCI = 2, MATCHES = 1;

/** A device model whose server has memory and ports. */
function peerWithRanges(): { peer: Peer; id: number } {
  const peer = new Peer(), id = peer.create();
  peer.do("map_io_range_to_ioreq_server", { id, type: MEMORY, start: FIRST, end: LAST });
  peer.do("map_io_range_to_ioreq_server", { id, type: PORT, start: 0x500n, end: 0x507n });
  return { peer, id };
}

const whatWasAsked = (domain: FakeGateDomain) => domain.asked.filter(([what]) => what === "write" || what === "line");

Deno.test("connect_write has writes to what the server has claimed signal the eventfd that came along", () => {
  const { peer, id } = peerWithRanges();
  using _peer = peer;
  const write = { id, type: MEMORY, flags: MATCHES, length: 4, addr: NOTIFY, value: 1n };
  for (
    const [values, error] of [
      [write, ""],
      [{ ...write, flags: 0, value: 0n }, ""],
      [{ ...write, type: PORT, length: 1, addr: 0x507n, value: 2n ** 63n }, ""],
      [{ ...write, length: 3 }, "EINVAL"],
      [{ ...write, length: 0 }, "EINVAL"],
      [{ ...write, length: 16 }, "EINVAL"],
      [{ ...write, flags: 2 }, "EINVAL"],
      [{ ...write, flags: 0 }, "EINVAL"],
      [{ ...write, type: PCI }, "EINVAL"],
      [{ ...write, type: 7 }, "EINVAL"],
      [{ ...write, addr: LAST - 2n }, "EINVAL"],
      [{ ...write, addr: FIRST - 4n }, "EINVAL"],
      [{ ...write, type: PORT, length: 8, addr: 0x501n }, "EINVAL"],
      [{ ...write, addr: 2n ** 64n - 1n }, "EINVAL"],
    ] as const
  ) {
    peer.descriptors = [eventDescriptor("of a test")];
    assertEquals(peer.try("connect_write", values), error, JSON.stringify(values, (_, value) => String(value)));
  }
  peer.descriptors = [];
  assertEquals(peer.try("connect_write", write), "EBADF");
  assertEquals(whatWasAsked(peer.domain), [
    ["write", "memory", Number(NOTIFY), 4, 1n, true, true],
    ["write", "memory", Number(NOTIFY), 4, undefined, true, true],
    ["write", "port", 0x507, 1, 2n ** 63n, true, true],
  ]);
});

Deno.test("connect_line has one eventfd drive a line by edges, and two by level", () => {
  const { peer, id } = peerWithRanges();
  using _peer = peer;
  for (const [events, irq, error] of [[1, 5, ""], [2, 23, ""], [1, 24, "EINVAL"], [0, 5, "EBADF"]] as const) {
    peer.descriptors = Array.from({ length: events }, () => eventDescriptor("of a test"));
    assertEquals(peer.try("connect_line", { id, irq }), error, `${events} events, GSI ${irq}`);
  }
  assertEquals(whatWasAsked(peer.domain), [["line", 5, true, undefined, true], ["line", 23, true, true, true]]);
});

Deno.test("a claim that is given up, or a server that goes, takes its eventfds along, and no other's", () => {
  const { peer, id } = peerWithRanges(), others = new Peer({}, 2, peer.domain);
  using _peer = peer;
  const other = others.create();
  others.do("map_io_range_to_ioreq_server", { id: other, type: PORT, start: 0x600n, end: 0x600n });
  const write = { flags: 0, length: 1, value: 0n };
  const claimed = [
    [peer, { id, type: MEMORY, addr: NOTIFY }],
    [peer, { id, type: PORT, addr: 0x500n }],
    [others, { id: other, type: PORT, addr: 0x600n }],
  ] as const;
  for (const [who, values] of claimed) {
    who.descriptors = [eventDescriptor("of a test")];
    who.do("connect_write", { ...write, ...values });
  }
  peer.domain.asked.length = 0;
  peer.do("unmap_io_range_from_ioreq_server", { id, type: MEMORY, start: FIRST, end: LAST });
  assertEquals(whatWasAsked(peer.domain), [["write", "memory", Number(NOTIFY), 1, undefined, true, false]]);
  peer.domain.asked.length = 0;
  peer.do("destroy_ioreq_server", { id });
  assertEquals(whatWasAsked(peer.domain), [["write", "port", 0x500, 1, undefined, true, false]]);
});
