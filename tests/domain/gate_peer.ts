/** A device model that calls the gate's operations directly. */

import { assert, assertEquals } from "@std/assert";
import { type Answer, answer, type Caller } from "../../src/domain/gate_operations.ts";
import { decodeReply, encodeRequest, type Inputs, type OperationName, type Outputs } from "../../src/dm/protocol.ts";
import { Descriptor } from "../../src/linux/descriptor.ts";
import { errnoName } from "../../src/linux/errno.ts";
import { FakeGateDomain, type FakeOptions } from "./fake_gate_domain.ts";

/** It has said HELLO. */
export class Peer implements Caller, Disposable {
  readonly domain: FakeGateDomain;
  readonly faults: unknown[] = [];
  admitted = true;
  free = true;
  serving = 0;

  constructor(options: FakeOptions = {}, readonly emulator = 1, domain = new FakeGateDomain(options)) {
    this.domain = domain;
  }

  admit(): boolean {
    return this.free;
  }

  serves(): void {
    this.serving++;
  }

  /** What comes along with requests; without any, a closed one, as often as it is asked for. */
  descriptors: Descriptor[] | undefined;

  readonly takeDescriptor = (): Descriptor | undefined => {
    return this.descriptors === undefined ? new Descriptor(-1, "nothing") : this.descriptors.shift();
  };

  packet(request: Uint8Array): Answer | Promise<Answer> {
    return answer(this.domain, this, request, (error) => this.faults.push(error));
  }

  /** @returns the error's name, or ""; also of what is still to be done */
  raw(request: Uint8Array): string {
    const reply = this.packet(request);
    if (reply instanceof Promise) return "";
    const { packet } = reply;
    const result = new DataView(packet.buffer).getInt32(4, true);
    assert(result <= 0);
    assertEquals(packet.subarray(0, 4), request.subarray(0, 4), "the reply names the operation");
    return result === 0 ? "" : errnoName(-result);
  }

  try<N extends OperationName>(name: N, values: Inputs<N>): string {
    return this.raw(encodeRequest(name, values));
  }

  do<N extends OperationName>(name: N, values: Inputs<N>): { out: Outputs<N>; list: DataView; descriptors: number[] } {
    const done = this.packet(encodeRequest(name, values));
    assert(!(done instanceof Promise), `${name} takes its time`);
    const { packet, descriptors } = done;
    const reply = decodeReply(name, packet)!;
    assertEquals(reply.result, 0, `${name}: ${errnoName(-reply.result)}`);
    return { ...reply, descriptors: [...descriptors] };
  }

  create(handle_bufioreq = 0): number {
    return this.do("create_ioreq_server", { handle_bufioreq }).out.id;
  }

  [Symbol.dispose](): void {
    this.domain[Symbol.dispose]();
    if (this.faults.length > 0) throw this.faults[0];
  }
}
