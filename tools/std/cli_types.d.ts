/** The part of `@std/cli` that the commands use; the npm package carries no types. */

export interface ParseOptions {
  string?: readonly string[];
  boolean?: readonly string[];
  collect?: readonly string[];
  default?: Record<string, unknown>;
  alias?: Record<string, string>;
  unknown?: (argument: string, key?: string, value?: unknown) => unknown;
}

export function parseArgs(
  args: string[],
  options?: ParseOptions,
): { _: (string | number)[]; [option: string]: unknown };
