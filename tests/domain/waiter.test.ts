import { assertEquals } from "@std/assert";
import { ControlBlock, controlBlockBytes } from "../../src/domain/control_block.ts";
import { Waiter } from "../../src/domain/waiter.ts";
import { WakeBoard } from "../../src/events/wake_board.ts";
import { ServerView } from "../../src/ioreq/server_view.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import { BareServers } from "../ioreq/bare_server.ts";

const PER = 32, VCPUS = 64, FIRST = 0, LAST = 7;

/** The two waiters of a domain that has two servers. */
class Waiters implements Disposable {
  readonly #stack = new DisposableStack();
  readonly #block = this.#stack.use(Mapping.anonymous(controlBlockBytes(VCPUS, 2), "control block"));
  readonly control = new ControlBlock(this.#block.address, VCPUS);
  readonly #servers = this.#stack.use(new BareServers(this.control.servers));
  readonly #doorbells = [0, 1].map(() => this.#stack.use(eventDescriptor("a waiter")).number);

  constructor() {
    this.control.setWaiters(PER, this.#doorbells);
  }

  /** A server begins. @returns its board, as its device model sees it */
  server(id: number): WakeBoard {
    const { area } = new ServerView(this.#servers.create(id, VCPUS));
    return new WakeBoard(area!.wakeBoardAddress, PER, this.#doorbells);
  }

  /** A server is gone. */
  destroy(id: number): void {
    this.control.servers.change(() => this.control.servers.server(id).destroy());
  }

  rung(waiter: number): boolean {
    const poll = new PollSet(1);
    poll.add(this.#doorbells[waiter], POLLIN);
    return poll.look() === 1;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

function drain(waiter: Waiter): number[] {
  const vcpus: number[] = [];
  assertEquals(waiter.drain((vcpu) => vcpus.push(vcpu)), vcpus.length);
  return vcpus;
}

Deno.test("Waiter sees what is on the hypervisor's board, and on a server's from its first request until it is gone", () => {
  using all = new Waiters();
  const one = new Waiter(all.control, 1), first = all.server(FIRST), last = all.server(LAST);
  all.control.board.wake(40);
  all.control.board.wake(3);
  first.wake(41);
  assertEquals([one.attention, drain(one)], [true, [40]]);
  one.views.view(FIRST);
  one.views.view(LAST);
  last.wake(63);
  assertEquals([one.attention, drain(one), one.attention], [true, [41, 63], false]);
  all.destroy(FIRST);
  one.views.view(FIRST);
  first.wake(41);
  last.wake(32);
  assertEquals([drain(one), one.attention], [[32], false]);
  assertEquals(drain(new Waiter(all.control, 0)), [3]);
});

Deno.test("Waiter sees the board of a server that came in the place of another", () => {
  using all = new Waiters();
  const one = new Waiter(all.control, 0), before = all.server(FIRST);
  one.views.view(FIRST);
  const after = all.server(FIRST);
  one.views.view(FIRST);
  before.wake(1);
  after.wake(2);
  assertEquals(drain(one), [2]);
});

Deno.test("an armed Waiter is woken through each of its boards, and by nothing that is for another", () => {
  using all = new Waiters();
  const one = new Waiter(all.control, 1), servers = [all.server(FIRST), all.server(LAST)];
  for (const id of [FIRST, LAST]) one.views.view(id);
  for (const board of [all.control.board, ...servers]) {
    one.arm();
    board.wake(0);
    assertEquals(all.rung(1), false);
    board.wake(32);
    assertEquals(all.rung(1), true);
    one.sleep();
    for (const other of [all.control.board, ...servers]) other.wake(33);
    assertEquals(all.rung(1), false, "it is awake");
    one.arm();
    one.disarm();
    board.wake(34);
    assertEquals(all.rung(1), false, "it was disarmed");
  }
});
