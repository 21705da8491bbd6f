/** A domain for testing IoreqServers: real machine memory and vmap, a p2m that is a set, steps that fail when told to. */

import { assertThrows } from "@std/assert";
import { IOREQ_GFNS } from "../../src/devices/platform_map.ts";
import { DmOpError } from "../../src/ioreq/dm_op_error.ts";
import { GfnPool } from "../../src/ioreq/gfn_pool.ts";
import type { Window } from "../../src/ioreq/server_pages.ts";
import { IoreqServers, type ServedDomain } from "../../src/ioreq/servers.ts";
import { SERVER_TABLE_BYTES, ServerTable } from "../../src/ioreq/server_table.ts";
import { ServerView } from "../../src/ioreq/server_view.ts";
import { VmapWindow } from "../../src/ioreq/vmap_window.ts";
import { errnoName } from "../../src/linux/errno.ts";
import { Mapping } from "../../src/linux/mapping.ts";
import { type Gfn, gfnOf, PAGE_SIZE, SUPERPAGE_FRAMES } from "../../src/memory/address.ts";
import { type Bank, MachineMemory } from "../../src/memory/bank.ts";
import { Vmap } from "../../src/memory/vmap.ts";
import { openDescriptors } from "../linux/process.ts";

/** The domain id of everything that {@linkcode TestDomain} allocates. */
export const DOMID = 7;

/** The error's name, such as "EINVAL", of a refused operation. */
export function refusal(operation: () => unknown): string {
  return errnoName(assertThrows(operation, DmOpError).errno);
}

/** What is done for servers. */
export type Step = "allocate" | "show" | "hide" | "frame" | "add" | "remove";

export interface TestDomainOptions {
  readonly vcpus?: number;
  /** gfns in the pool. */
  readonly gfns?: number;
  /** The pool's memory, if it is another domain's, too. */
  readonly pool?: Int32Array;
  /** Pages of vmap's arena. */
  readonly arenaPages?: number;
}

/** What a domain holds, by several counts that have to agree. */
export interface Holdings {
  readonly banks: number;
  readonly references: number;
  /** Each frame that is used as a type. */
  readonly types: readonly string[];
  readonly areas: number;
  readonly gfns: number;
  readonly p2m: readonly Gfn[];
  /** Memory files and eventfds of the process. */
  readonly descriptors: number;
  /** Memory files in /proc/self/maps. */
  readonly mappings: number;
}

export class TestDomain implements ServedDomain, Disposable {
  readonly #stack = new DisposableStack();
  readonly vcpus: number;
  dying = false;
  readonly machine = this.#stack.use(new MachineMemory());
  readonly vmap: Vmap;
  readonly #memory = this.#stack.use(Mapping.anonymous(Math.ceil(SERVER_TABLE_BYTES / PAGE_SIZE) * PAGE_SIZE, "table"));
  readonly table = new ServerTable(this.#memory.address);
  readonly guestFrames;
  readonly servers: IoreqServers;
  /** The gfns of the pool that are in the p2m. */
  readonly p2m = new Set<Gfn>();
  readonly #banks = new Map<Gfn, Bank>();
  /** How often vCPUs were told to look again. */
  wakes = 0;
  readonly keptFree: { readonly first: number; readonly last: number }[] = [];
  /** Called before each step; what it throws is the step's failure. */
  before: (step: Step, subject?: unknown) => void = () => {};
  /** Called with each bank as it is allocated. */
  allocated: (bank: Bank, name: string) => void = () => {};

  constructor({ vcpus = 4, gfns = 64, pool = GfnPool.memory(gfns), arenaPages = 4096 }: TestDomainOptions = {}) {
    this.vcpus = vcpus;
    const bytes = { default: arenaPages * PAGE_SIZE, payload: PAGE_SIZE };
    this.vmap = this.#stack.use(new Vmap(this.machine, bytes));
    this.guestFrames = {
      pool: new GfnPool(pool, gfnOf(IOREQ_GFNS.address), gfns),
      memory: (gfn: Gfn) => this.#frame(gfn),
      add: (gfn: Gfn) => {
        this.before("add", gfn);
        this.p2m.add(gfn);
      },
      remove: (gfn: Gfn) => {
        this.before("remove", gfn);
        if (!this.p2m.delete(gfn)) throw new RangeError(`gfn 0x${gfn.toString(16)} is not in the p2m`);
      },
    };
    this.servers = new IoreqServers(this, this.table);
  }

  allocate(name: string, pages: number): Bank {
    this.before("allocate", name);
    const bank = this.machine.allocate(name, pages, DOMID);
    this.allocated(bank, name);
    return bank;
  }

  window(): Window {
    const window = new VmapWindow(this.vmap);
    return {
      show: (mfns) => {
        this.before("show", window);
        return window.show(mfns);
      },
      hide: () => {
        this.before("hide", window);
        window.hide();
      },
    };
  }

  keepsFree(first: number, last: number): boolean {
    return this.keptFree.some((range) => first <= range.last && range.first <= last);
  }

  wakeVcpus(): void {
    this.wakes++;
  }

  revokeAll(): void {}

  forget(): void {}

  enabled(): void {}

  /** What an isolate sees of a server. */
  view(id: number): ServerView {
    return new ServerView(this.table.server(id));
  }

  /** Has the `k`-th step from now on fail, counted from 0. @returns how many steps there have been since */
  failAt(k: number, error: () => Error): () => number {
    let steps = 0;
    this.before = () => {
      if (steps++ === k) throw error();
    };
    return () => steps;
  }

  /** Everything that an operation which failed has to leave as it was. */
  holdings(): Holdings {
    const memfds = (lines: string[]) => lines.filter((line) => /memfd:|eventfd/.test(line)).length;
    return {
      banks: this.machine.banks,
      references: this.machine.references,
      types: this.#types(),
      areas: this.vmap.areas,
      gfns: this.guestFrames.pool.available,
      p2m: [...this.p2m].sort(),
      descriptors: memfds(openDescriptors()),
      mappings: memfds(Deno.readTextFileSync("/proc/self/maps").split("\n")),
    };
  }

  /** Uses as a type, of all frames of all banks: no bank begins in the midst of a superpage. */
  #types(): string[] {
    const used: string[] = [];
    for (let first = SUPERPAGE_FRAMES; first < 300 * SUPERPAGE_FRAMES; first += SUPERPAGE_FRAMES) {
      const bank = this.machine.bankOf(first);
      for (let frame = 0; bank !== undefined && frame < bank.frames; frame++) {
        const { type, count } = bank.frameTable.typeOf(bank.firstMfn + frame as Bank["firstMfn"]);
        if (count > 0) used.push(`${first + frame}: ${count} of type ${type}`);
      }
    }
    return used;
  }

  #frame(gfn: Gfn): Bank {
    this.before("frame", gfn);
    let bank = this.#banks.get(gfn);
    if (bank === undefined) {
      bank = this.machine.allocate(`gfn-${gfn.toString(16)}`, 1, DOMID);
      this.#banks.set(gfn, bank);
      this.p2m.add(gfn);
      this.allocated(bank, "gfn");
    }
    return bank;
  }

  [Symbol.dispose](): void {
    this.before = () => {};
    this.servers[Symbol.dispose]();
    this.#stack.dispose();
  }
}
