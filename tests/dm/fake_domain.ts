/** A domain without vCPUs for testing DeviceModelRuntime: a server, its page, and a script of requests. */

import { assertEquals } from "@std/assert";
import type { RangeHandler, ShutdownReason } from "../../src/dm/host.ts";
import { DeviceModelRuntime } from "../../src/dm/runtime.ts";
import type { Attachment } from "../../src/dm/attachment.ts";
import { BUFIOREQ, DIR_READ, DIR_WRITE, STATE, TYPE } from "../../src/ioreq/abi.ts";
import { vcpuPort } from "../../src/ioreq/notification.ts";
import { SERVER_TABLE_BYTES, ServerTable } from "../../src/ioreq/server_table.ts";
import { ServerView } from "../../src/ioreq/server_view.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { BareServers } from "../ioreq/bare_server.ts";

/** One access: a read when no value is given. */
export interface Request {
  readonly type: "port" | "memory";
  readonly address: number;
  readonly size: number;
  readonly value?: bigint;
  readonly vcpu?: number;
}

export class FakeDomain implements Disposable {
  readonly #stack = new DisposableStack();
  readonly #table = this.#stack.use(Mapping.anonymous(Math.ceil(SERVER_TABLE_BYTES / 4096) * 4096, "server table"));
  readonly servers = new ServerTable(this.#table.address);
  readonly #bare = this.#stack.use(new BareServers(this.servers));
  readonly server = this.#bare.create(3, 128, BUFIOREQ.ATOMIC);
  readonly view = new ServerView(this.server);
  readonly page = this.view.slots!;
  runtime: DeviceModelRuntime;
  readonly lines: [gsi: number, level: boolean][] = [];
  readonly shutdowns: ShutdownReason[] = [];
  /** What else was asked of the domain. */
  readonly asked: unknown[][] = [];
  /** Called when a request was answered. */
  answered: (vcpu: number) => void = () => {};

  constructor() {
    this.runtime = this.attach();
  }

  /** Another generation of the device model's runtime over the same state. */
  attach(): DeviceModelRuntime {
    const { slots, ring, area } = this.view, { server, servers } = this;
    const attachment: Attachment = {
      server: server.id,
      slots: slots!,
      ring,
      area: area!,
      memory: { read: () => {}, write: () => {}, contains: () => false, locate: () => 0, pieces: [] },
      mapRange: (type, first, last) => servers.change(() => server.ranges[type].add(first, last)),
      unmapRange: (type, first, last) => servers.change(() => server.ranges[type].remove(first, last)),
      bufferRange: (type, first, last) => servers.change(() => server.bufferedRanges[type].cover(first, last)),
      setIrqLevel: (gsi, level) => this.lines.push([gsi, level]),
      setPciIntxLevel: (...pin) => this.asked.push(["intx", ...pin]),
      injectMsi: (...message) => this.asked.push(["msi", ...message]),
      connectWrite: (write, event) => this.asked.push(["write", write, event >= 0]),
      connectLine: (gsi, raise, ended) => this.asked.push(["line", gsi, raise >= 0, ended !== undefined]),
      shutdown: (reason) => this.shutdowns.push(reason),
      rested: () => this.asked.push(["rested"]),
      notify: (vcpu) => this.answered(vcpu),
      addMemory: (file, sizeBytes) => this.asked.push(["memory", file.number >= 0, sizeBytes]) - 1,
      mapWindow: (...window) => this.asked.push(["window", ...window]),
      unmapWindow: (...window) => this.asked.push(["no window", ...window]),
      order: (commands) => this.asked.push(["order", ...commands]),
      change: (commands) => this.asked.push(["change", ...commands]),
      bindChannel: (...channel) => this.asked.push(["channel", ...channel]),
      notifyChannel: (port) => this.asked.push(["event", port]),
      notifyPager: () => this.asked.push(["pager"]),
    };
    return this.runtime = new DeviceModelRuntime(attachment);
  }

  /** Tells the device model to leave. */
  release(): void {
    this.view.area!.release();
  }

  /** Puts a request into its slot and sends the event, as VcpuMachine does. */
  send({ type, address, size, value, vcpu = 0 }: Request): void {
    const kind = type === "port" ? TYPE.PIO : TYPE.COPY;
    this.page.fill(vcpu, kind, address >>> 0, Math.floor(address / 2 ** 32), size);
    this.page.setData(vcpu, Number((value ?? 0n) & 0xffff_ffffn), Number((value ?? 0n) >> 32n));
    this.page.publish(vcpu, STATE.READY, value === undefined ? DIR_READ : DIR_WRITE);
    this.view.area!.channels.send(vcpuPort(vcpu));
  }

  /** Serves the requests one after the other, then releases the server. @returns the data of each slot afterwards */
  serve(...requests: readonly Request[]): bigint[] {
    const answers: bigint[] = [];
    let next = 0;
    this.answered = (vcpu) => {
      assertEquals(this.page.state(vcpu), STATE.IORESP_READY, "the vCPU was woken before the answer was there");
      this.page.setState(vcpu, STATE.NONE);
      answers.push(BigInt(this.page.dataLow(vcpu)) | (BigInt(this.page.dataHigh(vcpu)) << 32n));
      if (next === requests.length) this.release();
      else this.send(requests[next++]);
    };
    if (requests.length === 0) this.release();
    else this.send(requests[next++]);
    this.runtime.serve();
    return answers;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}

/** A handler that writes down what it is asked, and reads the bytes 0x10 + offset upwards. */
export class Recorder implements RangeHandler {
  readonly log: string[];

  constructor(readonly name = "", log: string[] = []) {
    this.log = log;
  }

  read(offset: number, size: number): number {
    this.log.push(`${this.name}r${size}@${offset}`);
    let value = 0;
    for (let byte = 0; byte < size; byte++) value += ((0x10 + offset + byte) & 0xff) * 256 ** byte;
    return value;
  }

  write(offset: number, size: number, value: number): void {
    this.log.push(`${this.name}w${size}@${offset}=${value.toString(16)}`);
  }
}
