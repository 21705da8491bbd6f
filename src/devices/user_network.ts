/** The user-mode network: ARP, DHCP, TCP, UDP and ICMP echo for one guest, made by libslirp out of ordinary sockets. */

import { PollGroup } from "../linux/poll_group.ts";
import { POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI } from "../linux/poll.ts";
import { FrameQueue } from "./frame_queue.ts";
import {
  type HostForward,
  type Network,
  NetworkError,
  NetworkUnavailable,
  type UserNetworkOptions,
} from "./network.ts";
import {
  openSlirp,
  SLIRP_CALLBACK,
  SLIRP_CALLBACKS,
  SLIRP_CONFIGURATION as CONFIGURATION,
  SLIRP_LIBRARY,
  SLIRP_NO_TIMEOUT,
  SLIRP_PACKAGE,
  SLIRP_POLL,
  SLIRP_VERSION,
  type SlirpLibrary,
} from "./slirp.ts";

/** What the guest finds: the addresses that QEMU's user network has, too. */
export const USER_NETWORK = {
  network: "10.0.2.0",
  mask: "255.255.255.0",
  /** The host, and the way to everything else. */
  host: "10.0.2.2",
  nameServer: "10.0.2.3",
  /** What the guest gets by DHCP. */
  guest: "10.0.2.15",
} as const;

/** Forwarded ports are open to this host alone. */
const LOOPBACK = "127.0.0.1";

/** Sockets that are waited for at a time; a connection beyond that waits for an end of others. */
const MOST_SOCKETS = 1024;

/** Frames that wait for the guest; from half of them on, nothing is taken from the host any more. */
const MOST_FRAMES = 256;

/** libslirp for one guest. What it calls back allocates, which FFI cannot do without. */
export class UserNetwork implements Network {
  readonly #library: SlirpLibrary;
  readonly #held: DisposableStack;
  readonly #slirp: Deno.PointerObject;
  readonly #group: PollGroup;
  readonly #frames = new FrameQueue(MOST_FRAMES);
  readonly #addPoll: Deno.PointerObject;
  readonly #getEvents: Deno.PointerObject;
  readonly #timeout = new Uint32Array(1);
  /** Its sockets may have changed. */
  #isUnsettled = true;
  /** The library has pointers to it. */
  private readonly callbacks: BigUint64Array<ArrayBuffer>;

  /** @throws {NetworkUnavailable} no library @throws {NetworkError} a port that is not to be had */
  constructor({ hostForwards = [], restrict = false }: Omit<UserNetworkOptions, "kind">) {
    using stack = new DisposableStack();
    this.#library = load();
    stack.defer(() => this.#library.close());
    this.#group = stack.use(new PollGroup(MOST_SOCKETS, "the user network"));
    const callback = callbacksOf(stack);
    this.#addPoll = callback(SLIRP_CALLBACK.add_poll, (fd, events) => this.#group.add(fd, toPoll(events)));
    this.#getEvents = callback(
      SLIRP_CALLBACK.get_revents,
      (index) => index < 0 ? 0 : toSlirp(this.#group.result(index)),
    );
    const nothing = callback(SLIRP_CALLBACK.nothing, () => {}); // timers are IPv6's alone
    const table: Record<typeof SLIRP_CALLBACKS[number], Deno.PointerObject> = {
      send_packet: callback(SLIRP_CALLBACK.send_packet, (frame, sizeBytes) => this.#arrived(frame, sizeBytes)),
      guest_error: callback(SLIRP_CALLBACK.guest_error, () => {}),
      clock_get_ns: callback(SLIRP_CALLBACK.clock_get_ns, () => BigInt(Math.round(performance.now() * 1e6))),
      timer_new: nothing,
      timer_free: nothing,
      timer_mod: nothing,
      register_poll_fd: nothing,
      unregister_poll_fd: nothing,
      notify: callback(SLIRP_CALLBACK.nothing, () => void (this.#isUnsettled = true)),
    };
    this.callbacks = BigUint64Array.from(SLIRP_CALLBACKS, (name) => Deno.UnsafePointer.value(table[name]));
    this.#slirp = this.#library.symbols.slirp_new(configuration(restrict), this.callbacks, null)!;
    stack.defer(() => this.#library.symbols.slirp_cleanup(this.#slirp));
    for (const forward of hostForwards) this.#forward(forward);
    this.#held = stack.move();
  }

  get descriptor(): number {
    return this.#group.descriptor.number;
  }

  interest(): number {
    return this.#frames.count < MOST_FRAMES / 2 ? POLLIN : -1;
  }

  ready(): void {
    this.settle(); // which of the sockets there are to look at
    this.#group.look();
    this.#library.symbols.slirp_pollfds_poll(this.#slirp, 0, this.#getEvents, null);
    this.#isUnsettled = true;
  }

  receive(frame: Uint8Array<ArrayBuffer>): number {
    return this.#frames.take(frame);
  }

  send(frame: Uint8Array<ArrayBuffer>, sizeBytes: number): void {
    this.#library.symbols.slirp_input(this.#slirp, frame, sizeBytes);
    this.#isUnsettled = true;
  }

  settle(): void {
    if (!this.#isUnsettled) return;
    this.#isUnsettled = false;
    this.#timeout[0] = SLIRP_NO_TIMEOUT;
    this.#group.begin();
    this.#library.symbols.slirp_pollfds_fill(this.#slirp, this.#timeout, this.#addPoll, null);
    this.#group.end(this.#timeout[0] === SLIRP_NO_TIMEOUT ? Infinity : this.#timeout[0]);
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }

  #arrived(frame: Deno.PointerValue, sizeBytes: number): bigint {
    const place = this.#frames.place(sizeBytes);
    if (place !== undefined && frame !== null) Deno.UnsafePointerView.copyInto(frame, place);
    return BigInt(sizeBytes);
  }

  #forward({ protocol, hostPort, guestPort }: HostForward): void {
    const { slirp_add_hostfwd } = this.#library.symbols, isUdp = protocol === "udp" ? 1 : 0;
    const { guest } = USER_NETWORK, [from, to] = [LOOPBACK, guest].map(address);
    if (slirp_add_hostfwd(this.#slirp, isUdp, from, hostPort, to, guestPort) === 0) return;
    throw new NetworkError("user", `hostfwd ${protocol} port ${hostPort} of ${LOOPBACK} is not to be had`);
  }
}

/** Makes functions of ours callable, until the stack is disposed. */
function callbacksOf(stack: DisposableStack) {
  return <Signature extends Deno.UnsafeCallbackDefinition>(
    signature: Signature,
    body: Deno.UnsafeCallback<Signature>["callback"],
  ): Deno.PointerObject => {
    const made = new Deno.UnsafeCallback(signature, body);
    stack.defer(() => made.close());
    return made.pointer;
  };
}

/** @throws {NetworkUnavailable} */
function load(): SlirpLibrary {
  try {
    return openSlirp();
  } catch (error) {
    if (!(error instanceof Error) || !error.message.includes(SLIRP_LIBRARY)) throw error;
    throw new NetworkUnavailable(
      "user",
      `${SLIRP_LIBRARY} cannot be loaded (Debian: apt-get install ${SLIRP_PACKAGE})`,
    );
  }
}

function configuration(restrict: boolean): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(CONFIGURATION.bytes)),
    { network, mask, host, nameServer, guest } = USER_NETWORK;
  view.setUint32(CONFIGURATION.version, SLIRP_VERSION, true);
  view.setInt32(CONFIGURATION.restricted, restrict ? 1 : 0, true);
  view.setUint8(CONFIGURATION.in_enabled, 1);
  view.setUint32(CONFIGURATION.vnetwork, address(network), true);
  view.setUint32(CONFIGURATION.vnetmask, address(mask), true);
  view.setUint32(CONFIGURATION.vhost, address(host), true);
  view.setUint32(CONFIGURATION.vnameserver, address(nameServer), true);
  view.setUint32(CONFIGURATION.vdhcp_start, address(guest), true);
  return new Uint8Array(view.buffer);
}

/** struct in_addr as a number of this machine. */
function address(text: string): number {
  return text.split(".").reduceRight((value, byte) => value * 256 + Number(byte), 0);
}

function toPoll(events: number): number {
  const { IN, OUT, PRI } = SLIRP_POLL; // the others are always waited for
  return ((events & IN) !== 0 ? POLLIN : 0) | ((events & OUT) !== 0 ? POLLOUT : 0) |
    ((events & PRI) !== 0 ? POLLPRI : 0);
}

function toSlirp(events: number): number {
  let result = 0;
  if ((events & POLLIN) !== 0) result |= SLIRP_POLL.IN;
  if ((events & POLLOUT) !== 0) result |= SLIRP_POLL.OUT;
  if ((events & POLLPRI) !== 0) result |= SLIRP_POLL.PRI;
  if ((events & POLLERR) !== 0) result |= SLIRP_POLL.ERR;
  if ((events & POLLHUP) !== 0) result |= SLIRP_POLL.HUP;
  return result;
}
