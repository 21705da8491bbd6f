/** Any accesses against any claims and answers, compared with a naive model byte by byte. XENOLITH_PROPERTY_RUNS runs. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Access, BareVcpu, type Claims, type Seen } from "./bare_vcpu.ts";

const RUNS = Number(Deno.env.get("XENOLITH_PROPERTY_RUNS") ?? 300);
/** Few addresses, so that accesses and claims meet at every offset. */
const PORT_BASE = 0x100, MEMORY_BASE = 0xffff_fff0, SPAN = 32;

const bytes = (length: number) => fc.array(fc.nat(255), { minLength: length, maxLength: length });
const withData = (access: Access, size: number) =>
  fc.option(bytes(size), { nil: undefined }).map((data): Access => data === undefined ? access : { ...access, data });

const ports: fc.Arbitrary<Access> = fc.record({
  port: fc.nat(SPAN).map((offset) => PORT_BASE + offset),
  size: fc.constantFrom(1, 2, 4),
  count: fc.oneof({ weight: 4, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.integer({ min: 2, max: 5 }) }),
}).chain(({ port, size, count }) => withData({ kind: "port", port, size, count }, size * count));

const memory: fc.Arbitrary<Access> = fc.record({
  address: fc.nat(SPAN).map((offset) => MEMORY_BASE + offset),
  size: fc.integer({ min: 1, max: 8 }),
}).chain(({ address, size }) => withData({ kind: "memory", address, size }, size));

/** Claims as single bytes: neighbours are one range. Each server has its own pattern. */
const pattern = fc.array(fc.oneof(fc.constantFrom(0xff, 0xff, 0xf0, 0x3f, 0), fc.nat(255)), {
  minLength: SPAN / 8,
  maxLength: SPAN / 8,
});
const claims = fc.record({ PORT: pattern, MEMORY: pattern });

function isClaimed(pattern: readonly number[], offset: number): boolean {
  return offset >= 0 && offset < SPAN && (pattern[offset >> 3] & (1 << (offset & 7))) !== 0;
}

function rangesOf(pattern: readonly number[], base: number): [number, number][] {
  const ranges: [number, number][] = [];
  for (let offset = 0; offset < SPAN; offset++) {
    if (!isClaimed(pattern, offset)) continue;
    const before = ranges.at(-1);
    if (before !== undefined && before[1] === base + offset - 1) before[1]++;
    else ranges.push([base + offset, base + offset]);
  }
  return ranges;
}

type Pattern = Record<"PORT" | "MEMORY", readonly number[]>;

/** The naive model: what of the access goes to whom, and what the guest reads. */
function expect(
  access: Access,
  servers: readonly Pattern[],
  answers: readonly bigint[],
): { seen: Seen[]; reads: number[] } {
  const seen: Seen[] = [], reads: number[] = [];
  const isPort = access.kind === "port";
  const total = isPort ? access.size * (access.count ?? 1) : access.size;
  for (let done = 0; done < total;) {
    const piece = isPort ? access.size : [8, 4, 2, 1].find((size) => size <= total - done)!;
    const address = isPort ? access.port : access.address + done;
    const offset = address - (isPort ? PORT_BASE : MEMORY_BASE);
    const server = servers.findLastIndex((pattern) =>
      Array.from({ length: piece }, (_, byte) => isClaimed(pattern[isPort ? "PORT" : "MEMORY"], offset + byte)).every(
        Boolean,
      )
    );
    const answer = answers[seen.length] ?? 0n;
    for (let byte = 0; byte < piece; byte++) {
      reads.push(server < 0 ? 0xff : Number((answer >> BigInt(8 * byte)) & 0xffn));
    }
    if (server >= 0) {
      const written = access.data?.slice(done, done + piece);
      const data = written?.reduceRight((sum, byte) => sum << 8n | BigInt(byte), 0n);
      const type = isPort ? "PIO" : "COPY";
      seen.push({ server, type, address, size: piece, ...(data !== undefined && { data }) });
    }
    done += piece;
  }
  return { seen, reads: access.data ?? reads };
}

Deno.test("VcpuMachine sends and completes any access as the naive model does", () => {
  const cases = fc.record({
    servers: fc.array(claims, { minLength: 1, maxLength: 3 }),
    accesses: fc.array(
      fc.record({
        access: fc.oneof(ports, memory),
        answers: fc.array(fc.bigInt(0n, 2n ** 64n - 1n), { maxLength: 6 }),
      }),
      { minLength: 1, maxLength: 8 },
    ),
  });
  const property = fc.property(cases, ({ servers, accesses }) => {
    using vcpu = new BareVcpu(1, 2);
    servers.forEach(({ PORT, MEMORY }, id) => {
      const own: Claims = { PORT: rangesOf(PORT, PORT_BASE), MEMORY: rangesOf(MEMORY, MEMORY_BASE) };
      vcpu.server(id, own);
    });
    let served = 0;
    for (const { access, answers } of accesses) {
      const { seen, reads } = expect(access, servers, answers);
      assertEquals(vcpu.access(access, answers), seen);
      assertEquals(vcpu.read(access), reads);
      served += seen.length;
    }
    assertEquals(vcpu.record.served.reduce((sum, count) => sum + count), served);
  });
  fc.assert(property, { numRuns: RUNS });
});
