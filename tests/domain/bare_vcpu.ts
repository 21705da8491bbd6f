/** A VcpuMachine without KVM: its run page is plain memory, and the tests play KVM, the guest and the device models. */

import { assert, assertEquals } from "@std/assert";
import { ControlBlock, controlBlockBytes } from "../../src/domain/control_block.ts";
import { NEXT, type Next, VcpuMachine } from "../../src/domain/vcpu_machine.ts";
import { traceBytes } from "../../src/domain/trace.ts";
import { BUFIOREQ, type Bufioreq, RANGE, STATE, TYPE } from "../../src/ioreq/abi.ts";
import { vcpuPort } from "../../src/ioreq/notification.ts";
import { ServerView } from "../../src/ioreq/server_view.ts";
import type { IoreqSlots } from "../../src/ioreq/slots.ts";
import { EXIT, RUN_PAGE } from "../../src/kvm/abi.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { BANK_TABLE_BYTES } from "../../src/memory/bank.ts";
import { p2mMemory } from "../../src/memory/p2m.ts";
import { STAGE_BYTES } from "../../src/memory/stage_table.ts";
import { BareServers } from "../ioreq/bare_server.ts";

const PAGE = 4096, RUN_BYTES = 3 * PAGE;
/** Where KVM puts a port's data: behind the structure. */
const IO_DATA = PAGE;

/** What a vCPU does that makes it exit. Data in the guest's byte order; a read when there is none. */
export type Access =
  | {
    readonly kind: "port";
    readonly port: number;
    readonly size: number;
    readonly count?: number;
    readonly data?: number[];
  }
  | { readonly kind: "memory"; readonly address: number; readonly size: number; readonly data?: number[] };

/** A server's claims, by kind. */
export type Claims = Partial<Record<keyof typeof RANGE, [first: number, last: number][]>>;

/** A request as a device model sees it. */
export interface Seen {
  readonly server: number;
  readonly type: keyof typeof TYPE;
  readonly address: number;
  readonly size: number;
  /** What is written; a read has none. */
  readonly data?: bigint;
}

export class BareVcpu implements Disposable {
  readonly #stack = new DisposableStack();
  readonly #block: Mapping;
  readonly #run = this.#stack.use(Mapping.anonymous(RUN_BYTES, "run page"));
  readonly control: ControlBlock;
  readonly record;
  machine: VcpuMachine;
  readonly runBytes = new Uint8Array(this.#run.buffer);
  readonly runView = new DataView(this.#run.buffer);
  readonly #servers: number[] = [];
  readonly #bare: BareServers;

  constructor(readonly id = 0, vcpus = 1) {
    this.#block = this.#stack.use(Mapping.anonymous(controlBlockBytes(vcpus), "control block"));
    this.control = new ControlBlock(this.#block.address, vcpus);
    const traces = this.#stack.use(Mapping.anonymous(traceBytes(vcpus), "trace rings"));
    const banks = this.#stack.use(Mapping.anonymous(BANK_TABLE_BYTES, "table of banks"));
    this.control.setMemory(banks.address, this.#stack.use(p2mMemory()).address, traces.address);
    this.control.setStage(this.#stack.use(Mapping.anonymous(STAGE_BYTES, "second stage")).address);
    this.#bare = this.#stack.use(new BareServers(this.control.servers));
    this.record = this.control.vcpu(id);
    this.record.create(-1, this.#run.address, RUN_BYTES); // no vCPU: KVM answers nothing
    this.machine = new VcpuMachine(this.control, this.record);
  }

  /** Attaches a server that claims something. */
  server(id: number, claims: Claims, bufioreq: Bufioreq = BUFIOREQ.OFF): this {
    const server = this.#bare.create(id, this.control.vcpus, bufioreq);
    this.control.servers.change(() => {
      for (const [kind, ranges] of Object.entries(claims)) {
        for (const [first, last] of ranges) server.ranges[RANGE[kind as keyof typeof RANGE]].add(first, last);
      }
      server.setEnabled(true);
    });
    if (!this.#servers.includes(id)) this.#servers.push(id);
    return this;
  }

  /** What a device model sees of a server. */
  view(server: number): ServerView {
    return new ServerView(this.control.servers.server(server));
  }

  page(server: number): IoreqSlots {
    return this.view(server).slots!;
  }

  /** KVM_RUN comes back with this access. */
  exit(access: Access): Next {
    const view = this.runView;
    this.runBytes.fill(0xcc, 8, PAGE);
    if (access.kind === "port") {
      const { port, size, count = 1, data } = access;
      view.setUint32(RUN_PAGE.exit_reason, EXIT.IO, true);
      view.setUint8(RUN_PAGE.io_direction, data === undefined ? 0 : 1);
      view.setUint8(RUN_PAGE.io_size, size);
      view.setUint16(RUN_PAGE.io_port, port, true);
      view.setUint32(RUN_PAGE.io_count, count, true);
      view.setBigUint64(RUN_PAGE.io_data_offset, BigInt(IO_DATA), true);
      this.runBytes.fill(0x55, IO_DATA);
      this.runBytes.set(data ?? [], IO_DATA);
    } else {
      const { address, size, data } = access;
      view.setUint32(RUN_PAGE.exit_reason, EXIT.MMIO, true);
      view.setBigUint64(RUN_PAGE.mmio_phys_addr, BigInt(address), true);
      view.setBigUint64(RUN_PAGE.mmio_data, 0x55555555_55555555n, true);
      this.runBytes.set(data ?? [], RUN_PAGE.mmio_data);
      view.setUint32(RUN_PAGE.mmio_len, size, true);
      view.setUint8(RUN_PAGE.mmio_is_write, data === undefined ? 0 : 1);
    }
    return this.machine.exited(0);
  }

  /** KVM_RUN comes back for another reason. */
  exitFor(reason: number, detail = 0): Next {
    this.runView.setUint32(RUN_PAGE.exit_reason, reason, true);
    this.runView.setUint32(RUN_PAGE.internal_suberror, detail, true);
    return this.machine.exited(0);
  }

  /** What the guest reads: the data of the access, and whether the byte after it was left alone. */
  read(access: Access): number[] {
    const size = access.kind === "port" ? access.size * (access.count ?? 1) : access.size;
    const at = access.kind === "port" ? IO_DATA : RUN_PAGE.mmio_data;
    if (access.kind === "port" || size < 8) assertEquals(this.runBytes[at + size], 0x55, "the data has run over");
    return [...this.runBytes.subarray(at, at + size)];
  }

  /** The one request that waits for a device model; checks its slot and its event. */
  request(): Seen {
    const ready = this.#servers.filter((id) => this.page(id).state(this.id) !== STATE.NONE);
    assertEquals(ready.length, 1, `servers ${ready} have requests`);
    const [server] = ready, page = this.page(server), vcpu = this.id;
    assertEquals(page.state(vcpu), STATE.READY);
    const ports: number[] = [];
    this.view(server).area!.channels.drain((port) => ports.push(port));
    assertEquals(ports, [vcpuPort(vcpu)], "the event of the request");
    const type = (Object.keys(TYPE) as (keyof typeof TYPE)[]).find((name) => TYPE[name] === page.type(vcpu))!;
    const seen = { server, type, address: page.address(vcpu), size: page.size(vcpu) };
    const data = BigInt(page.dataLow(vcpu)) | (BigInt(page.dataHigh(vcpu)) << 32n);
    if (!page.isRead(vcpu)) return { ...seen, data };
    assertEquals(data, 0n, "a read carries no data");
    return seen;
  }

  /** The device model puts its answer into the slot. */
  answer(server: number, data: bigint, state: number = STATE.IORESP_READY): void {
    const page = this.page(server);
    page.setState(this.id, STATE.INPROCESS);
    if (page.isRead(this.id)) page.setData(this.id, Number(data & 0xffff_ffffn), Number(data >> 32n));
    page.setState(this.id, state);
  }

  /** An access from its exit to the next entry. @returns the requests that it led to */
  access(access: Access, answers: readonly bigint[] = []): Seen[] {
    const seen: Seen[] = [];
    let next = this.exit(access);
    while (next === NEXT.WAIT) {
      assertEquals([this.machine.settled, this.machine.resumed()], [false, NEXT.WAIT], "nobody has answered");
      const request = this.request();
      seen.push(request);
      this.answer(request.server, answers[seen.length - 1] ?? 0n);
      assert(this.machine.settled);
      next = this.machine.resumed();
    }
    for (const id of this.#servers) assertEquals(this.page(id).state(this.id), STATE.NONE);
    assertEquals(next, NEXT.ENTER);
    return seen;
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
