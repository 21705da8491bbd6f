/** The guest that reads from a virtio disk as fast as it can: how it is run, and what it says. */

import { median, path, taskOptions } from "./harness.ts";
import { ticksPerMs } from "../../src/domain/statistics.ts";

export const IMAGE = path("guests/virtio-bench.img");
const COMMAND = path("src/cli/main.ts");

/** 4 KiB anywhere, one by one and 32 at a time; 1 MiB one behind the other, 4 at a time. The guest's own names. */
export const KINDS = ["qd1", "qd32", "seq"] as const;
export type Kind = (typeof KINDS)[number];
export type PerKind<Value> = Record<Kind, Value>;

/** How many reads a round has: each about 0.3 s. */
const READS: PerKind<number> = { qd1: 3000, qd32: 40_000, seq: 800 };
/** Rounds of each run of a guest; the first is for both sides to get warm. */
const ROUNDS = 4;

/** What of a run is left: medians of its rounds. */
export interface Run {
  readonly us: PerKind<number>;
  /** Exits to user space. */
  readonly exits: number;
}

/** How many reads of a kind a round has. @param quick only to show that it works */
export function readsOf(kind: Kind, quick: boolean): number {
  return Math.ceil(READS[kind] * (quick ? 0.02 : 1));
}

/** What the guest is told, for all kinds. */
export function readingAll(quick: boolean): string {
  return [...KINDS.map((kind) => `${kind}=${readsOf(kind, quick)}`), `rounds=${quick ? 2 : ROUNDS}`].join(" ");
}

export function ofEach<Value>(value: (kind: Kind) => Value): PerKind<Value> {
  return Object.fromEntries(KINDS.map((kind) => [kind, value(kind)])) as PerKind<Value>;
}

/** `deno task run` as users have it: the disk's model in a process of its own. @param disk the options for it */
export async function runGuest(disk: readonly string[], cmdline: string): Promise<Run> {
  const args = ["run", ...taskOptions("run"), COMMAND, "run", "--json", "-", ...disk, "--cmdline", cmdline, IMAGE];
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "piped", stderr: "piped" });
  const { success, stdout, stderr } = await child.output(), report = new TextDecoder().decode(stderr).trim();
  if (!success) throw new Error(`virtio-bench under Xenolith: ${report}`);
  const { exits }: { exits: Record<string, number> } = JSON.parse(report.split("\n").at(-1)!);
  return { us: timesOf(stdout), exits: Object.values(exits).reduce((sum, count) => sum + count, 0) };
}

/** The guest says "NAME READS TICKS", of the processor's time-stamp counter, which KVM does not scale here. */
export function timesOf(console: Uint8Array): PerKind<number> {
  const said = new TextDecoder().decode(console), ticksPerUs = ticksPerMs() / 1000;
  if (!said.includes("virtio-bench: done")) throw new Error(`virtio-bench was not done: ${said}`);
  return ofEach((kind) => {
    const rounds = [...said.matchAll(new RegExp(`^${kind} (\\d+) (\\d+)\r?$`, "gm"))];
    return median(
      rounds.slice(rounds.length > 1 ? 1 : 0).map(([, reads, ticks]) => Number(ticks) / Number(reads) / ticksPerUs),
    );
  });
}
