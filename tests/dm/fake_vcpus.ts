/** vCPUs of a fake domain: they send requests as VcpuMachine does, and are woken as its carriers are. */

import { assert, assertEquals } from "@std/assert";
import { WakeBoard } from "../../src/events/wake_board.ts";
import { DIR_READ, DIR_WRITE, RANGE, STATE, TYPE } from "../../src/ioreq/abi.ts";
import { vcpuPort } from "../../src/ioreq/notification.ts";
import { ServerViews } from "../../src/ioreq/server_view.ts";
import { awaitEvent } from "../../src/linux/event_descriptor.ts";
import { POLLIN, PollSet } from "../../src/linux/poll.ts";
import type { FakeGateDomain } from "../domain/fake_gate_domain.ts";
import type { Request } from "./fake_domain.ts";

const LOST_MS = 30_000;

export class FakeVcpus {
  readonly #views: ServerViews;

  constructor(private readonly domain: FakeGateDomain) {
    this.#views = new ServerViews(domain.table);
  }

  /** Sends a request to whoever claims it. @returns the server's id */
  send(request: Request): number {
    const { type, address, size, value, vcpu = 0 } = request, id = this.#select(request);
    const [range, kind] = type === "port" ? [RANGE.PORT, TYPE.PIO] : [RANGE.MEMORY, TYPE.COPY];
    const { slots, area, ring, server } = this.#views.view(id), data = value ?? 0n;
    const low = Number(data & 0xffff_ffffn), high = Number(data >> 32n);
    if (value !== undefined && server.buffers(range, address, address + size - 1)) {
      assert(ring!.push(kind, address, size, low, high, true));
      area!.channels.send(area!.bufferedPort);
      return id;
    }
    assertEquals([slots!.state(vcpu), slots!.port(vcpu)], [STATE.NONE, vcpuPort(vcpu)]);
    slots!.fill(vcpu, kind, address >>> 0, Math.floor(address / 2 ** 32), size);
    slots!.setData(vcpu, low, high);
    slots!.publish(vcpu, STATE.READY, value === undefined ? DIR_READ : DIR_WRITE);
    area!.channels.send(vcpuPort(vcpu));
    return id;
  }

  /** Sends a request and sleeps, as a carrier does, until its waiter's eventfd is rung. @returns the slot's data */
  async ask(request: Request): Promise<bigint> {
    const { vcpu = 0 } = request, { vcpusPerWaiter, waiterDoorbells } = this.domain;
    const waiter = Math.floor(vcpu / vcpusPerWaiter), id = this.#select(request);
    const board = new WakeBoard(this.#views.view(id).area!.wakeBoardAddress, vcpusPerWaiter, waiterDoorbells);
    board.arm(waiter);
    this.send(request);
    await readable(waiterDoorbells[waiter]);
    awaitEvent(waiterDoorbells[waiter]);
    const woken: number[] = [];
    board.drain(waiter, (vcpu) => woken.push(vcpu));
    const slots = this.#views.view(id).slots!;
    assertEquals([woken, slots.state(vcpu)], [[vcpu], STATE.IORESP_READY]);
    slots.setState(vcpu, STATE.NONE);
    return BigInt(slots.dataLow(vcpu)) | BigInt(slots.dataHigh(vcpu)) << 32n;
  }

  /** A byte from a port. */
  async inb(port: number, vcpu = 0): Promise<number> {
    return Number(await this.ask({ type: "port", address: port, size: 1, vcpu }));
  }

  /** Writes to a port. */
  async out(port: number, value: number, size = 1, vcpu = 0): Promise<void> {
    await this.ask({ type: "port", address: port, size, value: BigInt(value), vcpu });
  }

  #select({ type, address, size }: Request): number {
    const id = this.domain.table.select(type === "port" ? RANGE.PORT : RANGE.MEMORY, address, address + size - 1);
    assert(id >= 0, `nobody claims ${type} 0x${address.toString(16)}`);
    return id;
  }
}

/** Waits for a descriptor without giving this isolate's loop away. */
async function readable(descriptor: number): Promise<void> {
  const poll = new PollSet(1);
  for (const end = performance.now() + LOST_MS; performance.now() < end;) {
    poll.clear();
    poll.add(descriptor, POLLIN);
    if (poll.look() > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  throw new Error("no answer");
}
