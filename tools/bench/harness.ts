/** What a benchmark is, and what several of them need. */

import configuration from "../../deno.json" with { type: "json" };

/** One figure of the report. */
export interface Figure {
  /** What it is, in words; with its unit. */
  readonly what: string;
  /** The largest value that is good enough. */
  readonly target?: number;
}

/** A measured value; a table of milliseconds; null where the host cannot measure it. */
export type Value = number | null | Record<string, number>;

/** How much time a benchmark may take. */
export interface Settings {
  /** A few seconds for all of them: shows that they work, not what they measure. */
  readonly quick: boolean;
}

/** Some figures that are measured together. */
export interface Benchmark<Key extends string = string> {
  readonly figures: Record<Key, Figure>;
  measure(settings: Settings): Promise<Record<Key, Value>>;
}

/** For type inference: the keys that are promised are the keys that are measured. */
export function benchmark<Key extends string>(definition: Benchmark<Key>): Benchmark<Key> {
  return definition;
}

export const ROOT = new URL("../../", import.meta.url);

/** The path of a file of the repository. */
export function path(file: string): string {
  return new URL(file, ROOT).pathname;
}

/** The options of `deno run` in the task of that name: what is measured has the permissions that users give it. */
export function taskOptions(task: keyof typeof configuration.tasks): string[] {
  return configuration.tasks[task].split(" ").filter((word) => word.startsWith("--"));
}

/** Runs `rounds` times each of `runs` in turn, so that what disturbs the host disturbs all alike. */
export async function alternate<T>(rounds: number, ...runs: (() => Promise<T>)[]): Promise<T[][]> {
  const results: T[][] = runs.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (let index = 0; index < runs.length; index++) results[index].push(await runs[index]());
  }
  return results;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other), middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Rounded to `digits` behind the point, or null. */
export function round(value: number | null, digits: number): number | null {
  return value === null ? null : Number(value.toFixed(digits));
}

/** Says on stderr why a figure is missing. */
export function missing(why: string): null {
  console.error(`bench: ${why}`);
  return null;
}

/**
 * Runs a program to its end.
 * @returns its stdout and how long it took
 * @throws {Error} it failed
 */
export async function runProgram(program: string, args: string[]): Promise<{ output: string; wallMs: number }> {
  const startMs = performance.now();
  const child = new Deno.Command(program, { args, cwd: ROOT, stdin: "null", stdout: "piped", stderr: "piped" });
  const { success, code, stdout, stderr } = await child.output();
  const wallMs = performance.now() - startMs;
  if (!success) throw new Error(`${program} ${args.join(" ")}: status ${code}: ${new TextDecoder().decode(stderr)}`);
  return { output: new TextDecoder().decode(stdout), wallMs };
}

/** `deno ARGS`, to its end. */
export function runDeno(...args: string[]): Promise<{ output: string; wallMs: number }> {
  return runProgram(Deno.execPath(), args);
}
