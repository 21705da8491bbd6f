/** IoreqServers against a naive model: several emulators do anything, in any order. XENOLITH_PROPERTY_RUNS runs. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { BUFIOREQ, MAX_SERVERS, RANGE } from "../../src/ioreq/abi.ts";
import { DmOpError } from "../../src/ioreq/dm_op_error.ts";
import { bufferedPort } from "../../src/ioreq/notification.ts";
import type { IoreqServers } from "../../src/ioreq/servers.ts";
import { errnoName } from "../../src/linux/errno.ts";
import { TestDomain } from "./test_domain.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 150);

/** Two pages a server, and gfns for a few of them. */
const VCPUS = 130, PAGES = 2, GFNS = 7, ADDRESSES = 12;

interface NaiveServer {
  readonly emulator: number;
  readonly bufioreq: number;
  /** What is claimed, address by address, by type. */
  readonly claims: Set<number>[];
  enabled: boolean;
  held: boolean;
  inherited: boolean;
  way?: "resource" | "gfn";
  /** Its gfns, and which of them the guest does not see. */
  gfns: number[];
  hidden: number[];
}

/** What an operation answers: anything, or the name of an error. */
type Answer = unknown;
class Refused extends Error {}

/** Xen's rules in the plainest words; ranges are sets of addresses, the pool is a set of gfns. */
class NaiveServers {
  readonly servers: (NaiveServer | undefined)[] = new Array(MAX_SERVERS).fill(undefined);
  readonly pool = new Set(Array.from({ length: GFNS }, (_, gfn) => gfn));
  /** gfns that have memory. */
  readonly known = new Set<number>();
  dying = false;

  create(emulator: number, bufioreq: number): number {
    if (bufioreq > 2) throw new Refused("EINVAL");
    for (const [id, server] of this.servers.entries()) {
      if (!server?.held || server.emulator !== emulator) continue;
      if (server.bufioreq === bufioreq) {
        [server.held, server.inherited] = [false, true];
        return id;
      }
      this.#remove(server);
    }
    const id = this.servers.findIndex((server) => server === undefined);
    if (id < 0) throw new Refused("ENOSPC");
    const claims = [new Set<number>(), new Set<number>(), new Set<number>()];
    const flags = { enabled: false, held: false, inherited: false };
    this.servers[id] = { emulator, bufioreq, claims, gfns: [], hidden: [], ...flags };
    return id;
  }

  destroy(emulator: number, id: number): void {
    this.#remove(this.#find(emulator, id));
  }

  mapRange(emulator: number, id: number, type: number, first: number, last: number): void {
    const { claims, inherited } = this.#ranged(emulator, id, type, first, last), wanted = addresses(first, last);
    if (inherited && wanted.every((address) => claims[type].has(address))) return;
    if (wanted.some((address) => claims[type].has(address))) throw new Refused("EEXIST");
    wanted.forEach((address) => claims[type].add(address));
  }

  unmapRange(emulator: number, id: number, type: number, first: number, last: number): void {
    const { claims } = this.#ranged(emulator, id, type, first, last), wanted = addresses(first, last);
    if (!wanted.every((address) => claims[type].has(address))) throw new Refused("ENOENT");
    wanted.forEach((address) => claims[type].delete(address));
  }

  setEnabled(emulator: number, id: number, enabled: boolean): void {
    const server = this.#find(emulator, id);
    if (server.enabled === enabled) return;
    server.enabled = enabled;
    server.hidden = enabled ? server.gfns : [];
  }

  info(emulator: number, id: number, wantsGfns: boolean): Answer {
    const server = this.#find(emulator, id), ring = server.bufioreq !== BUFIOREQ.OFF;
    if (wantsGfns && this.#mayGet(server, "gfn")) {
      const taken: number[] = [];
      for (let page = 0; page < PAGES + (ring ? 1 : 0); page++) {
        if (this.pool.size === 0) {
          taken.forEach((gfn) => this.pool.add(gfn));
          throw new Refused("ENOMEM");
        }
        const gfn = Math.min(...this.pool);
        this.pool.delete(gfn);
        this.known.add(gfn);
        taken.push(gfn);
      }
      [server.way, server.gfns] = ["gfn", taken];
    }
    const gfns = wantsGfns ? server.gfns : [];
    return {
      ioreqGfns: gfns.slice(0, PAGES),
      bufioreqGfn: gfns[PAGES],
      bufioreqPort: ring ? bufferedPort(VCPUS) : 0,
    };
  }

  acquire(emulator: number, id: number, frame: number, count: number): Answer {
    const server = this.#find(emulator, id);
    if (this.#mayGet(server, "resource")) server.way = "resource";
    for (let index = frame; index < frame + count; index++) {
      if (index === 0 && server.bufioreq === BUFIOREQ.OFF) throw new Refused("ENOENT");
      if (index > PAGES) throw new Refused("EINVAL");
    }
    return count;
  }

  abandon(emulator: number, hold: boolean): void {
    for (const server of this.servers) {
      if (server?.emulator !== emulator || server.held) continue;
      if (hold && server.enabled && !this.dying) server.held = true;
      else this.#remove(server);
    }
  }

  select(type: number, first: number, last: number): number {
    return this.servers.findLastIndex((server) => {
      return server?.enabled && addresses(first, last).every((address) => server.claims[type].has(address));
    });
  }

  /** Banks, references, and what the guest sees. */
  get holdings(): Answer {
    const servers = this.servers.filter((server) => server !== undefined);
    const pages = (server: NaiveServer) => server.way === undefined ? 0 : PAGES + (server.bufioreq === 0 ? 0 : 1);
    const count = (way?: string) =>
      servers.filter((server) => way === undefined || server.way === way)
        .reduce((sum, server) => sum + pages(server), 0);
    const hidden = new Set(servers.flatMap(({ hidden }) => hidden));
    return {
      banks: servers.length + count("resource") + this.known.size,
      references: count(),
      gfns: this.pool.size,
      p2m: [...this.known].filter((gfn) => !hidden.has(gfn)).sort(),
    };
  }

  #mayGet(server: NaiveServer, way: string): boolean {
    if (server.way !== undefined && server.way !== way) throw new Refused("EPERM");
    if (server.way === undefined && this.dying) throw new Refused("EINVAL");
    return server.way === undefined;
  }

  #find(emulator: number, id: number): NaiveServer {
    const server = this.servers[id];
    if (server === undefined) throw new Refused("ENOENT");
    if (server.emulator !== emulator) throw new Refused("EPERM");
    return server;
  }

  #ranged(emulator: number, id: number, type: number, first: number, last: number): NaiveServer {
    if (first > last) throw new Refused("EINVAL");
    const server = this.#find(emulator, id);
    if (type > 2) throw new Refused("EINVAL");
    return server;
  }

  #remove(server: NaiveServer): void {
    server.gfns.forEach((gfn) => this.pool.add(gfn));
    this.servers[this.servers.indexOf(server)] = undefined;
  }
}

function addresses(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

const often = <T>(usual: fc.Arbitrary<T>, seldom: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 19, arbitrary: usual }, { weight: 1, arbitrary: seldom });
const ends = often(
  fc.tuple(fc.nat(ADDRESSES), fc.nat(3)).map(([first, more]) => [first, first + more]),
  fc.constant<number[]>([5, 4]),
);
const type = often(fc.constantFrom<number>(0, 0, 0, 1, 2), fc.constant(3));
const emulator = fc.constantFrom(1, 1, 2, 3);

/** Arguments behind emulator and id. */
const onServer = (name: string, weight: number, ...rest: fc.Arbitrary<unknown>[]) => ({
  weight,
  arbitrary: fc.record({ name: fc.constant(name), args: fc.tuple(...rest).map((args) => args.flat()) }),
});
const onEmulator = (name: string, weight: number, ...args: fc.Arbitrary<unknown>[]) => ({
  weight,
  arbitrary: fc.record({ name: fc.constant(name), args: fc.tuple(...args), whole: fc.constant(true) }),
});

/** An operation by its name and arguments: the same for the model and the real servers. */
const operation = fc.oneof(
  onEmulator("create", 8, emulator, often(fc.constantFrom(0, 0, 2, 2, 1), fc.constant(3))),
  onEmulator("abandon", 3, emulator, fc.constantFrom(true, true, false)),
  onServer("destroy", 2),
  onServer("mapRange", 12, type, ends),
  onServer("unmapRange", 6, type, often(fc.nat(ADDRESSES).map((address) => [address, address]), ends)),
  onServer("setEnabled", 8, fc.constantFrom(true, true, true, false)),
  onServer("info", 3, fc.boolean()),
  onServer("acquire", 3, fc.nat(3), fc.nat(2)),
);
/** Which server, by what there is: usually one that exists, asked for by its own emulator. */
const target = fc.record({
  pick: fc.nat(),
  id: often(fc.constant(undefined), fc.integer({ min: -1, max: 8 })),
  emulator: often(fc.constant(undefined), emulator),
});

function argumentsOf(
  { servers }: NaiveServers,
  { args, ...kind }: { args: unknown[]; whole?: boolean },
  target: { pick: number; id?: number; emulator?: number },
): number[] {
  if (kind.whole) return args as number[];
  const there = servers.flatMap((server, id) => server === undefined ? [] : [id]);
  const id = target.id ?? there[target.pick % there.length] ?? 0;
  return [target.emulator ?? servers[id]?.emulator ?? 1, id, ...args as number[]];
}

/** What it answers: frames are compared by their number, gfns from 0 on. */
function perform(servers: IoreqServers, base: number, name: string, args: readonly number[]): Answer {
  try {
    const answer = (servers as unknown as Record<string, (...args: readonly number[]) => Answer>)[name](...args);
    if (name === "acquire") return (answer as unknown[]).length;
    if (name !== "info") return answer;
    const { ioreqGfns, bufioreqGfn, bufioreqPort } = answer as ReturnType<IoreqServers["info"]>;
    const relative = (gfn: number | undefined) => gfn === undefined ? undefined : gfn - base;
    return { ioreqGfns: ioreqGfns.map(relative), bufioreqGfn: relative(bufioreqGfn), bufioreqPort };
  } catch (error) {
    if (error instanceof DmOpError) return errnoName(error.errno);
    throw error;
  }
}

function expected(naive: NaiveServers, name: string, args: readonly number[]): Answer {
  try {
    return (naive as unknown as Record<string, (...args: readonly number[]) => Answer>)[name](...args);
  } catch (error) {
    if (error instanceof Refused) return error.message;
    throw error;
  }
}

/** Each server as both sides have it. */
function compare(domain: TestDomain, naive: NaiveServers): void {
  const { table, servers, machine, guestFrames: { pool } } = domain;
  for (let id = 0; id < MAX_SERVERS; id++) {
    const server = table.server(id), model = naive.servers[id];
    assertEquals([server.exists, server.enabled], [model !== undefined, model?.enabled ?? false], `server ${id}`);
    if (model === undefined) continue;
    assertEquals([server.bufioreq as number, server.slots !== 0n], [model.bufioreq, model.way !== undefined]);
    const claimed = server.ranges.map((set) => set.list().flatMap(([first, last]) => addresses(first, last)));
    assertEquals(claimed, model.claims.map((set) => [...set].sort((one, other) => one - other)));
  }
  for (const emulator of [1, 2, 3]) {
    assertEquals(
      servers.of(emulator),
      naive.servers.flatMap((server, id) => server?.emulator === emulator ? [id] : []),
    );
  }
  const p2m = [...domain.p2m].map((gfn) => gfn - pool.base).sort();
  assertEquals({ banks: machine.banks, references: machine.references, gfns: pool.available, p2m }, naive.holdings);
}

Deno.test("IoreqServers does and refuses what the naive model does, and select() finds the same servers", () => {
  const access = fc.tuple(fc.constantFrom(...Object.values(RANGE)), fc.nat(ADDRESSES + 6), fc.constantFrom(0, 0, 1, 3));
  const step = fc.record({ operation, target, accesses: fc.array(access, { maxLength: 4 }) });
  const property = fc.property(fc.array(step, { maxLength: 120, size: "max" }), fc.nat(300), (steps, dyingAt) => {
    using domain = new TestDomain({ vcpus: VCPUS, gfns: GFNS });
    const naive = new NaiveServers(), { servers, table, guestFrames: { pool } } = domain;
    for (const [index, { operation, target, accesses }] of steps.entries()) {
      naive.dying = domain.dying = index >= dyingAt;
      const { name } = operation, args = argumentsOf(naive, operation, target);
      const what = `${name}(${args.join(", ")})`;
      assertEquals(perform(servers, pool.base, name, args), expected(naive, name, args), what);
      compare(domain, naive);
      for (const [type, first, more] of accesses) {
        assertEquals(table.select(type, first, first + more), naive.select(type, first, first + more), what);
      }
    }
    servers[Symbol.dispose]();
    assertEquals([domain.machine.banks, domain.machine.references], [naive.known.size, 0]);
    assertEquals([pool.available, domain.p2m.size], [GFNS, naive.known.size]);
  });
  fc.assert(property, { numRuns: RUNS });
});
