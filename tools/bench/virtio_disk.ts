/** Reads of a virtio disk by a guest that does nothing else, against the same guest and the same file under QEMU. */

import { makeDisk } from "./disk_image.ts";
import { alternate, benchmark, median, missing, path, round, taskOptions } from "./harness.ts";
import { isQemuInstalled, QEMU_MISSING, startQemu } from "./qemu_program.ts";
import { ticksPerMs } from "../../src/domain/statistics.ts";

const IMAGE = path("guests/virtio-bench.img"), COMMAND = path("src/cli/main.ts");

/** 4 KiB anywhere, one by one and 32 at a time; 1 MiB one behind the other, 4 at a time. The guest's own names. */
const KINDS = ["qd1", "qd32", "seq"] as const;
type Kind = (typeof KINDS)[number];
type PerKind<Value> = Record<Kind, Value>;

/** How many reads a round has: each about 0.3 s. */
const READS: PerKind<number> = { qd1: 3000, qd32: 40_000, seq: 800 };
/** Rounds of each run of a guest; the first is for both sides to get warm. */
const ROUNDS = 4;

/** What of a run is left: medians of its rounds. */
interface Run {
  readonly us: PerKind<number>;
  /** Exits to user space. */
  readonly exits: number;
}

export const virtioDisk = benchmark({
  figures: {
    blk_qd1_vs_qemu: { what: "4 KiB reads a second, one by one, against QEMU's; more is better" },
    blk_qd32_vs_qemu: { what: "the same, 32 at a time" },
    blk_seq_vs_qemu: { what: "1 MiB reads a second, one behind the other, against QEMU's" },
    blk_us: { what: "such a read, us" },
    blk_qemu_us: { what: "the same under QEMU, us" },
    exits_per_request_qd32: { what: "exits to user space for a 4 KiB read, 32 at a time" },
  },
  async measure({ quick }) {
    const file = await makeDisk();
    try {
      const isCompared = await isQemuInstalled(), share = quick ? 0.02 : 1;
      const reads = (kind: Kind) => Math.ceil(READS[kind] * share);
      const cmdline = [...KINDS.map((kind) => `${kind}=${reads(kind)}`), `rounds=${quick ? 2 : ROUNDS}`].join(" ");
      const runs = [() => ours(["--disk", file], cmdline), ...isCompared ? [() => theirs(file, cmdline)] : []];
      const [our, their = []] = await alternate(quick ? 1 : 7, ...runs);
      const middle = (runs: Run[], kind: Kind) => round(median(runs.map(({ us }) => us[kind])), 1)!;
      const ratio = (kind: Kind) =>
        isCompared ? round(median(our.map(({ us }, index) => their[index].us[kind] / us[kind])), 3) : null;
      if (!isCompared) missing(QEMU_MISSING);
      return {
        blk_qd1_vs_qemu: ratio("qd1"),
        blk_qd32_vs_qemu: ratio("qd32"),
        blk_seq_vs_qemu: ratio("seq"),
        blk_us: ofEach((kind) => middle(our, kind)),
        blk_qemu_us: isCompared ? ofEach((kind) => middle(their, kind)) : null,
        exits_per_request_qd32: round(await exitsPerRead(file, reads("qd32")), 4),
      };
    } finally {
      await Deno.remove(file);
    }
  },
});

function ofEach<Value>(value: (kind: Kind) => Value): PerKind<Value> {
  return Object.fromEntries(KINDS.map((kind) => [kind, value(kind)])) as PerKind<Value>;
}

/** `deno task run` as users have it: the disk's model in a process of its own. @param disk the options for it */
async function ours(disk: readonly string[], cmdline: string): Promise<Run> {
  const args = ["run", ...taskOptions("run"), COMMAND, "run", "--json", "-", ...disk, "--cmdline", cmdline, IMAGE];
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "piped", stderr: "piped" });
  const { success, stdout, stderr } = await child.output(), report = new TextDecoder().decode(stderr).trim();
  if (!success) throw new Error(`virtio-bench under Xenolith: ${report}`);
  const { exits }: { exits: Record<string, number> } = JSON.parse(report.split("\n").at(-1)!);
  return { us: timesOf(stdout), exits: Object.values(exits).reduce((sum, count) => sum + count, 0) };
}

/** Both read through the page cache, by io_uring; QEMU's disk has a thread of its own, as ours has a process. */
async function theirs(file: string, cmdline: string): Promise<Run> {
  const drive = `if=none,id=disk,file=${file},format=raw,cache=writeback,aio=io_uring`;
  const device = "virtio-blk-pci,drive=disk,disable-legacy=on,iothread=own";
  const options = ["-object", "iothread,id=own", "-drive", drive, "-device", device];
  const { stdout } = await startQemu(IMAGE, cmdline, options).output();
  return { us: timesOf(stdout), exits: NaN };
}

/** The guest says "NAME READS TICKS", of the processor's time-stamp counter, which KVM does not scale here. */
function timesOf(console: Uint8Array): PerKind<number> {
  const said = new TextDecoder().decode(console), ticksPerUs = ticksPerMs() / 1000;
  if (!said.includes("virtio-bench: done")) throw new Error(`virtio-bench was not done: ${said}`);
  return ofEach((kind) => {
    const rounds = [...said.matchAll(new RegExp(`^${kind} (\\d+) (\\d+)\r?$`, "gm"))];
    return median(
      rounds.slice(rounds.length > 1 ? 1 : 0).map(([, reads, ticks]) => Number(ticks) / Number(reads) / ticksPerUs),
    );
  });
}

/** The slope between a run of many reads and one of few, which has all else. */
async function exitsPerRead(file: string, many: number): Promise<number> {
  const few = 32, exits = async (reads: number) => (await ours(["--disk", file], `qd32=${reads}`)).exits;
  return Math.max(0, await exits(many) - await exits(few)) / (many - few);
}
