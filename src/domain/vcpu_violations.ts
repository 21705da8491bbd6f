/** p2m violations on the exit transport: what a vCPU's carrier does about accesses that left the guest (docs/retry.md). */

import { clock } from "../linux/calls.ts";
import { Descriptor } from "../linux/descriptor.ts";
import { errnoName } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import { forgetException } from "../kvm/vcpu.ts";
import { Vm } from "../kvm/vm.ts";
import { gfnOf, PAGE_SIZE } from "../memory/address.ts";
import { P2M_TYPE, p2mType } from "../memory/p2m.ts";
import { isGranted, type PhysicalMap } from "../memory/physical_map.ts";
import { AREA, TRANSPORT } from "../memory/stage_area.ts";
import type { ServerView } from "../ioreq/server_view.ts";
import type { ControlBlock } from "./control_block.ts";
import { VcpuCode } from "./vcpu_code.ts";
import type { VcpuRecord } from "./vcpu_record.ts";

/** Answers after which a page is still not there, without any change of its window, until the domain is crashed. */
export const MOST_RETRIES = 16;

/** One vCPU's violations. */
export class VcpuViolations {
  readonly #map: PhysicalMap;
  readonly #vm: Vm;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  /** The p2m's generation when KVM_RUN last came to a host address that was not there. */
  #faultGeneration = -1;
  // The violation that its server was asked about.
  #generation = 0;
  #since = 0;
  #retries = 0;
  // The last fetch that KVM could not make, and how often in a row it was that one.
  readonly #code: VcpuCode;
  #fetchLow = -1;
  #fetchHigh = -1;
  #fetches = 0;

  /** @param runPage the vCPU's, for the data of accesses */
  constructor(control: ControlBlock, private readonly record: VcpuRecord, runPage: ArrayBuffer) {
    this.#map = control.physicalMap;
    this.#vm = new Vm(new Descriptor(control.vm, "VM"), 0);
    this.#bytes = new Uint8Array(runPage);
    this.#code = new VcpuCode(control, record);
  }

  /**
   * Map and supply: carries out an access to a page that is mapped, under the p2m lock, and sees to it that the next one
   * need not leave the guest.
   * @param offset of its data in the run page @returns false if no frame that it may reach is there
   */
  supply(address: number, offset: number, size: number, write: boolean): boolean {
    const gfn = gfnOf(address), { table } = this.#map;
    if (!this.#map.isMapped(gfn, write)) return false;
    const bytes = this.#bytes.subarray(offset, offset + size);
    table.lock.acquire();
    const supplied = this.#map.isMapped(gfn, write) &&
      this.#map.runs.access(gfn, address - gfn * PAGE_SIZE, bytes, write);
    table.lock.release();
    if (supplied) this.#map.runs.ensure(this.#vm, gfn);
    return supplied;
  }

  /** Before a server is asked about `address`: from now on changes of its window count. */
  asked(address: number, again: boolean): void {
    const area = this.#map.table.areaOf(gfnOf(address));
    this.#generation = area?.generation ?? 0;
    if (again) return;
    this.#retries = 0;
    this.#since = clock();
    area?.countViolation();
  }

  /** The access has its answer. */
  settled(address: number): void {
    const { table } = this.#map, area = table.areaOf(gfnOf(address));
    if (area === undefined) return;
    table.lock.acquire();
    area.countWait((clock() - this.#since) / table.ticksPerUs);
    table.lock.release();
  }

  /** The server has answered IORESP_RETRY: what it has ordered comes first. */
  carryOut(view: ServerView): void {
    const { commands, channels } = view.area!;
    if (!commands.isPending(view.server)) return;
    commands.drain(view.server, this.#map);
    channels.doorbell.ring(); // it may wait for that, too
  }

  /** After IORESP_RETRY. @param first to this access @returns the reason for a crash, if it was one too many */
  countRetry(address: number, write: boolean, server: number, first: boolean): string | undefined {
    const gfn = gfnOf(address), area = this.#map.table.areaOf(gfn);
    if (first) this.#retries = 0;
    if (this.#map.isMapped(gfn, write) || (area?.generation ?? 0) !== this.#generation) return undefined;
    area?.countRetry();
    if (++this.#retries < MOST_RETRIES) return undefined;
    return describeRetries(server, gfn, area?.lastError ?? 0);
  }

  /** KVM_RUN has failed with EFAULT. @returns whether it is to be tried again: the second stage has changed meanwhile */
  changed(): boolean {
    const { table, runs } = this.#map;
    const generation = table.lock.hold(() => table.generation); // who takes pages away counts that at the end
    if (runs.sweep(this.#vm)) return true;
    if (generation === this.#faultGeneration) return false;
    this.#faultGeneration = generation;
    return true;
  }

  /** The page of a window that the vCPU cannot fetch its instruction from, or -1: that was not why KVM gave it up. */
  fetchPage(): number {
    const code = this.#code;
    try {
      code.load();
    } catch (error) {
      if (error instanceof LinuxError) return -1;
      throw error;
    }
    const { linearLow: low, linearHigh: high } = code;
    this.#fetches = low === this.#fetchLow && high === this.#fetchHigh ? this.#fetches + 1 : 0;
    this.#fetchLow = low;
    this.#fetchHigh = high;
    const first = this.#window(code.physical(0)), last = this.#window(code.physical(1));
    if (first >= 0 && !this.#map.isMapped(first, false)) return first;
    if (last >= 0 && !this.#map.isMapped(last, false)) return last;
    if (this.#fetches >= MOST_RETRIES) return -1;
    return first >= 0 ? first : last;
  }

  /** Whether a page can be fetched from; if it is mapped, from now on it can. */
  fetchable(gfn: number): boolean {
    if (!this.#map.isMapped(gfn, false)) return false;
    // On SVM the guest would get #UD before it could try again.
    this.forget();
    this.#map.runs.ensure(this.#vm, gfn);
    return true;
  }

  /**
   * KVM could not execute an instruction. @returns whether it may have come to a page in the middle of a change, and can
   * be tried again: by exit it may have been done in part
   */
  interrupted(): boolean {
    const { table } = this.#map;
    for (let id = 0; id < table.areasEnd; id++) {
      const { state, transport } = table.areas[id];
      if (state === AREA.WINDOW && transport === TRANSPORT.EXIT) return false;
    }
    return this.changed();
  }

  /** What KVM has queued for the guest of an instruction that is to be tried again. */
  forget(): void {
    forgetException(this.record.vcpu);
  }

  /** The gfn of an address that lies in a window, or -1. */
  #window(address: number): number {
    if (address < 0) return -1;
    const gfn = gfnOf(address), entry = this.#map.p2m.lookup(gfn);
    return isGranted(entry) || p2mType(entry) === P2M_TYPE.MMIO_DM ? gfn : -1;
  }
}

/** Why a server that never maps the page is given up. @param errno of its last mapping in that window; 0: it made none */
export function describeRetries(server: number, gfn: number, errno: number): string {
  const tried = errno === 0 ? "" : ` (its last mapping failed with ${errnoName(errno)})`;
  return `ioreq server ${server} answered ${MOST_RETRIES} times that gfn 0x${gfn.toString(16)} is to be tried again, ` +
    `and has not mapped it${tried}`;
}
