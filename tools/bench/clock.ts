/** The clocks of clock_gettime(2) that JavaScript has no name for. */

export const MONOTONIC_CLOCK = 1;

/** CPU time, user and system, of all threads of this process. */
export const PROCESS_CPU_CLOCK = 2;

const libc = Deno.dlopen("libc.so.6", { clock_gettime: { parameters: ["i32", "buffer"], result: "i32" } });
const time = new BigInt64Array(2); // struct timespec

/** @throws {Error} there is no such clock */
export function clockNs(clock: number): number {
  if (libc.symbols.clock_gettime(clock, time) !== 0) throw new Error(`no clock ${clock}`);
  return Number(time[0]) * 1e9 + Number(time[1]);
}
