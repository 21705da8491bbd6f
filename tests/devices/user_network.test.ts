/** The user network, frame by frame: what it answers to a guest, and what not. */

import { assertEquals } from "@std/assert";
import type { Network } from "../../src/devices/network.ts";
import { USER_NETWORK, UserNetwork } from "../../src/devices/user_network.ts";
import { PollSet } from "../../src/linux/poll.ts";
import { MOST_FRAME_BYTES } from "../../src/virtio/net_abi.ts";
import { testWith } from "../support/capabilities.ts";
import { LIBSLIRP } from "../support/slirp.ts";
import {
  arpReply,
  arpRequest,
  connectionRequest,
  datagram,
  echoReply,
  echoRequest,
  tcpFlags,
} from "../support/frames.ts";
import { openDescriptors } from "../support/holdings.ts";

const MAC = "52:54:00:00:00:01", HOST_MAC = "52:55:0a:00:02:02";
const ENDS = { fromMac: MAC, toMac: HOST_MAC, from: USER_NETWORK.guest, to: USER_NETWORK.host } as const;
const SYN_ACK = 0x12, RST_ACK = 0x14;

/** Sends a frame, and waits for one of which `what` makes something. */
function ask<Found>(network: Network, frame: Uint8Array<ArrayBuffer>, what: (frame: Uint8Array) => Found | undefined) {
  const poll = new PollSet(1), received = new Uint8Array(MOST_FRAME_BYTES);
  network.send(frame, frame.length);
  for (;;) {
    for (let size = network.receive(received); size > 0; size = network.receive(received)) {
      const found = what(received.subarray(0, size));
      if (found !== undefined) return found;
    }
    network.settle!();
    poll.clear();
    poll.add(network.descriptor, network.interest(true));
    poll.wait();
    network.ready(poll.result(0));
  }
}

testWith([LIBSLIRP], "the host answers ARP and pings, and lets connections out, unless the guest is restricted", () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  for (const [restrict, flags] of [[false, SYN_ACK], [true, RST_ACK]] as const) {
    using network = new UserNetwork({ restrict });
    assertEquals(ask(network, arpRequest(ENDS), arpReply), `${USER_NETWORK.host} is at ${HOST_MAC}`);
    assertEquals(ask(network, echoRequest(ENDS, 5, [1, 2, 3]), echoReply), { sequence: 5, data: [1, 2, 3] });
    assertEquals(ask(network, connectionRequest(ENDS, listener.addr.port), tcpFlags), flags, `restrict ${restrict}`);
  }
});

testWith([LIBSLIRP], "networks come and go, and leave no descriptor behind", () => {
  using _first = new UserNetwork({}); // the library keeps some of its own
  const before = openDescriptors();
  for (let n = 0; n < 20; n++) {
    using network = new UserNetwork({ hostForwards: [] });
    ask(network, arpRequest(ENDS), arpReply);
    const frame = datagram(ENDS, 9);
    network.send(frame, frame.length);
    network.settle();
  }
  assertEquals(openDescriptors(), before);
});

testWith([LIBSLIRP], "when the guest takes nothing, frames wait up to a number, and the rest is lost", () => {
  using network = new UserNetwork({});
  const request = arpRequest(ENDS), frame = new Uint8Array(MOST_FRAME_BYTES);
  for (let n = 0; n < 1000; n++) network.send(request, request.length);
  assertEquals(network.interest(), -1);
  let count = 0;
  while (network.receive(frame) > 0) count++;
  assertEquals(count, 256);
  assertEquals(ask(network, request, arpReply), `${USER_NETWORK.host} is at ${HOST_MAC}`);
});
