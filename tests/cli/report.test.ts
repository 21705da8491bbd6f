/** --json and --stats: what a run counted. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ANY_KVM, testWith } from "../support/capabilities.ts";
import { finish, type Finished } from "../support/command.ts";

const HELLO = "Hello from Xenolith, in 64-bit long mode\n";

/** What --trace writes. */
interface TraceEvent {
  readonly ph: string;
  readonly name: string;
  readonly ts?: number;
  readonly dur?: number;
  readonly args: Record<string, unknown>;
}

/** Runs with `--json FILE`. */
async function withReport(args: readonly string[]): Promise<{ finished: Finished; report: Record<string, unknown> }> {
  const path = await Deno.makeTempFile({ prefix: "xenolith-test-" });
  try {
    const finished = await finish("run", ["--json", path, ...args]);
    const text = await Deno.readTextFile(path);
    assertEquals(text.split("\n").length, 2, "one line");
    return { finished, report: JSON.parse(text) };
  } finally {
    await Deno.remove(path);
  }
}

for (
  const [args, expected] of [
    [["guests/hello.img"], { outcome: "exit", status: 0, reason: "the guest chose status 0", vcpu: 0, rip: null }],
    [["guests/exit.img"], { outcome: "exit", status: 7, reason: "the guest chose status 7", vcpu: 0, rip: null }],
    [["--cmdline", "poweroff", "guests/reset.img"], {
      outcome: "poweroff",
      status: 0,
      reason: "the guest powered off",
      vcpu: null,
      rip: null,
    }],
    [["guests/reset.img"], {
      outcome: "reset",
      status: 66,
      reason: "the guest asked for a reset",
      vcpu: null,
      rip: null,
    }],
    [["--timeout", "0.3", "guests/hang.img"], {
      outcome: "timeout",
      status: 124,
      reason: "time-out after 0.3 s",
      vcpu: null,
      rip: null,
    }],
  ] as const
) {
  testWith([ANY_KVM], `--json reports of ${args.join(" ")} the outcome "${expected.outcome}"`, async () => {
    const { finished, report } = await withReport(args);
    const { schema, outcome, status, reason, vcpu, rip } = report;
    assertEquals({ outcome, status, reason, vcpu, rip }, expected);
    assertEquals({ schema, status: finished.status }, { schema: 1, status: expected.status });
  });
}

testWith([ANY_KVM], "--json reports where a guest crashed, as the line on stderr does", async () => {
  const { finished, report } = await withReport(["guests/triplefault.img"]);
  assertEquals({ outcome: report.outcome, status: report.status, vcpu: report.vcpu }, {
    outcome: "crash",
    status: 125,
    vcpu: 0,
  });
  assertMatch(String(report.rip), /^0x[0-9a-f]+$/);
  assertStringIncludes(String(report.reason), `triple fault: vcpu=0 rip=${report.rip}`);
  assertEquals(finished.lines, [`xenolith: guests/triplefault.img: ${report.reason}`]);
});

testWith([ANY_KVM], "--json counts the exits, the ports and the servers' requests exactly", async () => {
  const { report } = await withReport(["--vcpus", "2", "--cmdline", "count=1234 port=0x80", "guests/exits.img"]);
  const { exits, ports, servers, vcpus, wall_ms } = report as {
    exits: Record<string, number>;
    ports: { port: number; exits: number }[];
    servers: {
      id: number;
      requests: number;
      unhandled: number;
      ranges: { kind: string; first: number; last: number; requests: number; mean_us: number }[];
    }[];
    vcpus: { guest_ms: number; outside_ms: number }[];
    wall_ms: number;
  };
  assertEquals(ports.find(({ port }) => port === 0x80), { port: 0x80, exits: 1234 });
  assertEquals(ports.find(({ port }) => port === 0xf4), { port: 0xf4, exits: 1 });
  assertEquals(exits.IO, ports.reduce((sum, port) => sum + port.exits, 0));
  // All exits but the one that ended the run went to the platform model.
  assertEquals(servers.map(({ id, requests, unhandled }) => ({ id, requests, unhandled })), [
    { id: 0, requests: exits.IO - 1, unhandled: 0 },
  ]);
  const [{ ranges }] = servers;
  assertEquals(ranges.reduce((sum, { requests }) => sum + requests, 0), exits.IO - 1);
  assert(ranges.every(({ kind, first, last, mean_us }) => kind === "port" && first <= last && mean_us > 0));
  assertEquals(vcpus.length, 2);
  assert(wall_ms > 0 && vcpus[0].guest_ms > 0 && vcpus[0].outside_ms > 0);
});

testWith([ANY_KVM], "--json -: the report is the last line of stderr, after the line that says why", async () => {
  const { status, stdout, lines } = await finish("run", ["--json", "-", "--stats", "guests/reset.img"]);
  assertEquals({ status, stdout }, { status: 66, stdout: "reset: by the keyboard controller\n" });
  assertEquals(lines[0], "xenolith: guests/reset.img: the guest asked for a reset");
  const report = JSON.parse(lines.at(-1)!);
  assertEquals({ schema: report.schema, outcome: report.outcome }, { schema: 1, outcome: "reset" });
});

testWith([ANY_KVM], "--stats says on stderr what was counted, and stdout stays the guest's", async () => {
  const { status, stdout, stderr } = await finish("run", [
    "--stats",
    "--cmdline",
    "count=300 port=0x80",
    "guests/exits.img",
  ]);
  assertEquals(status, 0);
  assertEquals(stdout, "exits: out of 1 bytes at port 0x80, 300 times\nexits: 300 done\n");
  assertMatch(stderr, /^wall \d+\.\d ms, \d+ exits$/m);
  assertMatch(stderr, /^0x80 +300$/m);
  assertMatch(stderr, /^IO +\d+$/m);
  assertMatch(stderr, /^ +port 0x80-0x80 +300 +\d+\.\d+$/m);
  assertMatch(stderr, /^0 +(\d+\.\d+ +){3}\d+\.\d+$/m);
});

testWith(
  [ANY_KVM],
  "--trace writes the last requests as Chrome trace events, on the vCPU's line and on the server's",
  async () => {
    const path = await Deno.makeTempFile({ prefix: "xenolith-test-", suffix: ".json" });
    try {
      const finished = await finish("run", ["--trace", path, "--cmdline", "count=300 port=0x80", "guests/exits.img"]);
      assertEquals({ status: finished.status, stderr: finished.stderr }, { status: 0, stderr: "" });
      const { traceEvents } = JSON.parse(await Deno.readTextFile(path)) as { traceEvents: TraceEvent[] };
      const writes = traceEvents.filter(({ ph, name }) => ph === "X" && name === "PIO write 0x80");
      assertEquals(writes.length, 300);
      assertEquals(writes[0].args, { server: 0, vcpu: 0, size: 1, end: "answered" });
      const times = writes.map(({ ts }) => ts!);
      assert(times.every((ts, index) => index === 0 || ts > times[index - 1]), "in the order of the guest");
      assert(writes.every(({ dur }) => dur! > 0 && dur! < 10e6), "microseconds");
      const names = traceEvents.filter(({ ph }) => ph === "M").map(({ args }) => args.name);
      assertEquals(names, ["vCPUs", "ioreq servers", "vCPU 0", "ioreq server 0"]);
      assertEquals(["b", "e"].map((ph) => traceEvents.filter((event) => event.ph === ph).length), [
        traceEvents.filter(({ ph }) => ph === "X").length,
        traceEvents.filter(({ ph }) => ph === "X").length,
      ]);
    } finally {
      await Deno.remove(path);
    }
  },
);

testWith([ANY_KVM], "--stats tells time halted from time in the guest", async () => {
  const { report } = await withReport(["guests/timer.img"]); // 40 ticks, a hundredth of a second each
  const [vcpu] = report.vcpus as Record<string, number>[];
  assert(vcpu.halted_ms > 200 && vcpu.halted_ms < Number(report.wall_ms), JSON.stringify(report));
});

testWith(
  [ANY_KVM],
  "a report that cannot be written is one line and status 64, and the console is complete",
  async () => {
    const { status, stdout, lines } = await finish("run", ["--json", "/nonexistent/report", "guests/hello.img"]);
    assertEquals({ status, stdout, lines: lines.length }, { status: 64, stdout: HELLO, lines: 1 });
    assertStringIncludes(lines[0], "--json /nonexistent/report: ");
  },
);
