/** The terminal as the guest's console: raw while the guest runs, as it was afterwards. */

import type { ConsoleOptions } from "../devices/console.ts";

const STDIN = 0, STDOUT = 1;

/** Ctrl-], as in telnet and `virsh console`. */
export const ESCAPE = 0x1d;

/** The console of a run; disposing it gives the terminal back, and a second time does nothing. */
export interface Terminal extends Disposable {
  readonly console: ConsoleOptions;
}

/** Takes stdin and stdout; a terminal on stdin becomes raw, so that every key reaches the guest at once. */
export function openTerminal(): Terminal {
  let raw = Deno.stdin.isTerminal();
  if (raw) Deno.stdin.setRaw(true);
  return {
    console: { input: STDIN, output: STDOUT, escape: raw ? ESCAPE : null },
    [Symbol.dispose]() {
      if (raw) giveBack();
      raw = false;
    },
  };
}

function giveBack(): void {
  try {
    Deno.stdin.setRaw(false);
  } catch {
    // The terminal hung up: there is nothing left to give back, and the run has its own status.
  }
}
