/** What KVM signals for device models, and what they signal to it: the eventfds of one domain's writes and interrupt lines. */

import { EINVAL, ENOSYS, ENOTTY, EOPNOTSUPP } from "../linux/errno.ts";
import { LinuxError } from "../linux/linux_error.ts";
import type { EventWrite, Vm } from "../kvm/vm.ts";
import { IO_APIC } from "../devices/platform_map.ts";
import { DmOpError } from "../ioreq/dm_op_error.ts";
import { RANGE, type RangeType } from "../ioreq/abi.ts";

/** What ranges a server has claimed, as far as this is concerned. */
type Claims = readonly { contains(first: number, last: number): boolean }[];

const WIDTHS: readonly number[] = [1, 2, 4, 8];

interface Connected {
  readonly server: number;
  readonly write: EventWrite | undefined;
  undo(): void;
}

/** The connections that one isolate has made. KVM keeps them until they are undone, or the VM is gone. */
export class ModelEvents {
  readonly #connected: Connected[] = [];

  constructor(private readonly vm: Pick<Vm, "connectWrite" | "connectLine">) {}

  /**
   * Has such writes signal an eventfd.
   * @param claims of that server @param release called when it is undone; not if it is refused
   * @throws {DmOpError} EINVAL not claimed, or no such width; EOPNOTSUPP KVM cannot @throws {LinuxError} EEXIST, ENOSPC
   */
  connectWrite(server: number, claims: Claims, write: EventWrite, event: number, release = () => {}): void {
    const { space, address, sizeBytes } = write, type = space === "port" ? RANGE.PORT : RANGE.MEMORY;
    if (!WIDTHS.includes(sizeBytes) || !claims[type].contains(address, address + sizeBytes - 1)) {
      throw new DmOpError("connect_write", EINVAL, `${sizeBytes} bytes of ${space} 0x${address.toString(16)}`);
    }
    this.#connect("connect_write", (on) => this.vm.connectWrite(write, event, on), { server, write }, release);
  }

  /**
   * Has an eventfd drive a line, by edges or, if `ended` is there, by level.
   * @throws {DmOpError} EINVAL no such GSI; EOPNOTSUPP KVM cannot @throws {LinuxError} EBUSY the eventfd drives one already
   */
  connectLine(server: number, gsi: number, raise: number, ended: number | undefined, release = () => {}): void {
    if (!(gsi >= 0 && gsi < IO_APIC.pins)) throw new DmOpError("connect_line", EINVAL, `no GSI ${gsi}`);
    const connect = (on: boolean) => this.vm.connectLine(gsi, raise, ended, on);
    this.#connect("connect_line", connect, { server, write: undefined }, release);
  }

  /** A server has given up a range: what was written there is not signalled any more. */
  unclaimed(server: number, type: RangeType, first: number, last: number): void {
    this.#undo(({ server: whose, write }) => {
      if (whose !== server || write === undefined || (write.space === "port" ? RANGE.PORT : RANGE.MEMORY) !== type) {
        return false;
      }
      return write.address <= last && write.address + write.sizeBytes > first;
    });
  }

  /** A server's device model is gone: writes are requests again, for its successor if there is one. */
  release(server: number): void {
    this.#undo((connected) => connected.server === server);
  }

  #connect(
    operation: string,
    connect: (on: boolean) => void,
    what: Pick<Connected, "server" | "write">,
    release: () => void,
  ): void {
    try {
      connect(true);
    } catch (error) {
      const cannot = error instanceof LinuxError && (error.errno === ENOTTY || error.errno === ENOSYS);
      throw cannot ? new DmOpError(operation, EOPNOTSUPP, "this KVM has no eventfds") : error;
    }
    this.#connected.push({
      ...what,
      undo() {
        connect(false);
        release();
      },
    });
  }

  #undo(isMeant: (connected: Connected) => boolean): void {
    for (let index = this.#connected.length - 1; index >= 0; index--) {
      if (isMeant(this.#connected[index])) this.#connected.splice(index, 1)[0].undo();
    }
  }
}
