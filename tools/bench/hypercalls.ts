/** What a hypercall through the port costs, against an exit to a port that nobody claims. */

import type { Round } from "./c_program.ts";
import { type Access, ExitGuest } from "./exit_guest.ts";
import { alternate, benchmark, median, round } from "./harness.ts";
import { HYPERCALL_PORT } from "../../src/hypercall/abi/ours.ts";

/** Nobody claims this port. The guest does the same for it as for a hypercall. */
const NOBODYS_PORT = 0xea;

const EXIT: Access = { op: "call", port: NOBODYS_PORT };
const CALL: Access = { op: "call", port: HYPERCALL_PORT };
const SEND: Access = { op: "send", port: HYPERCALL_PORT };

export const hypercalls = benchmark({
  figures: {
    hypercall_ratio_vs_pio: { what: "xen_version through the port, against an exit to an unclaimed port", target: 1.1 },
    hypercall_us: { what: "xen_version through the port, us" },
    hypercall_pio_us: { what: "an exit to an unclaimed port, us" },
    evtchn_send_us: { what: "EVTCHNOP_send to a port that is pending already, us" },
  },
  async measure({ quick }) {
    const ms = quick ? 50 : 300, rounds = quick ? 3 : 15;
    await using stack = new AsyncDisposableStack();
    const guests: ExitGuest[] = [];
    for (const access of [EXIT, CALL, SEND]) guests.push(stack.use(await ExitGuest.start(access)));
    const [exits, calls, sends] = await alternate(rounds, ...guests.map((guest) => () => guest.round(ms)));
    return {
      hypercall_ratio_vs_pio: round(median(calls.map((one, index) => cpuUs(one) / cpuUs(exits[index]))), 3),
      hypercall_us: round(median(calls.map(cpuUs)), 3),
      hypercall_pio_us: round(median(exits.map(cpuUs)), 3),
      evtchn_send_us: round(median(sends.map(cpuUs)), 3),
    };
  },
});

/** Nobody is waited for: the same as wall time, but for what else the machine does. */
function cpuUs({ cpuNs, count }: Round): number {
  return cpuNs / count / 1000;
}
