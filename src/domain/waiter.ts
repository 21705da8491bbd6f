/** One waiting thread's view of what it can be woken by: a Worker carrier with its vCPU, a dispatcher with many. */

import { awaitEvent } from "../linux/event_descriptor.ts";
import { WakeBoard } from "../events/wake_board.ts";
import { MAX_SERVERS } from "../ioreq/abi.ts";
import { type ServerView, ServerViews } from "../ioreq/server_view.ts";
import type { ControlBlock } from "./control_block.ts";

/**
 * The hypervisor's own wake board, those of ioreq servers, and the one eventfd that all of them ring. To wait: look,
 * {@linkcode arm}, look again, {@linkcode sleep} or {@linkcode disarm}. Used by the thread that waits, and no other.
 */
export class Waiter {
  readonly #own: WakeBoard;
  readonly #doorbell: number;
  readonly #servers: (WakeBoard | undefined)[] = new Array(MAX_SERVERS).fill(undefined);
  #boards: readonly WakeBoard[];
  /** By which its vCPUs send their requests: so it waits for a server from before the first of them. */
  readonly views: ServerViews;

  /** @param id its number: the bytes that are its own in every board */
  constructor(private readonly control: ControlBlock, readonly id: number) {
    this.views = new ServerViews(control.servers, (view) => this.#waitFor(view));
    this.#own = control.board;
    this.#doorbell = control.doorbells[id];
    this.#boards = [this.#own];
  }

  #waitFor({ server, area }: ServerView): void {
    this.#servers[server.id] = area && new WakeBoard(area.wakeBoardAddress, this.control.vcpusPerWaiter, []);
    this.#boards = [this.#own, ...this.#servers.filter((board) => board !== undefined)];
  }

  /** Whether there is something for any of its vCPUs. */
  get attention(): boolean {
    for (let index = 0; index < this.#boards.length; index++) {
      if (this.#boards[index].attention(this.id)) return true;
    }
    return false;
  }

  /** Calls `deliver` with each vCPU that there is something for. @returns how often it did */
  drain(deliver: (vcpu: number) => void): number {
    let count = 0;
    for (let index = 0; index < this.#boards.length; index++) count += this.#boards[index].drain(this.id, deliver);
    return count;
  }

  /** From now on a wake writes to the eventfd. */
  arm(): void {
    for (let index = 0; index < this.#boards.length; index++) this.#boards[index].arm(this.id);
  }

  /** There is something to do after all. */
  disarm(): void {
    for (let index = 0; index < this.#boards.length; index++) this.#boards[index].disarm(this.id);
  }

  /** Sleeps until somebody wakes it. Comes back early after a signal, or a wake that was meant for an earlier wait. */
  sleep(): void {
    awaitEvent(this.#doorbell);
    this.disarm();
  }
}
