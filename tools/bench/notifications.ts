/** What it costs to tell a device model of a write: a synchronous request, the buffered ring, an ioeventfd. */

import type { Round } from "./c_program.ts";
import { ExitGuest } from "./exit_guest.ts";
import { alternate, benchmark, median, path, round } from "./harness.ts";
import { NOTIFIED_PORT, type NotifiedConfiguration } from "./notified_model.ts";
import { Descriptor } from "../../src/linux/descriptor.ts";
import { eventDescriptor } from "../../src/linux/event_descriptor.ts";
import { Vm } from "../../src/kvm/vm.ts";

const MODEL = path("tools/bench/notified_model.ts");

/** Nobody claims this port. */
const NOBODYS_PORT = 0x513;

/** A device model that has seen nothing new for so long has nothing left to see. */
const SETTLED_MS = 5;

export const notifications = benchmark({
  figures: {
    sync_us: { what: "a write that a device model answers, us" },
    buffered_us: { what: "a write that goes through the buffered ring, us" },
    ioeventfd_us: { what: "a write for which KVM signals an eventfd, us" },
    notification_cpu_us: { what: "CPU time of each on all threads, and of a write that is nobody's, us" },
  },
  async measure({ quick }) {
    const ms = quick ? 50 : 300, rounds = quick ? 3 : 15;
    await using stack = new AsyncDisposableStack();
    const guests: ExitGuest[] = [];
    for (const port of Object.values(NOTIFIED_PORT)) guests.push(stack.use(await startNotified(stack, port)));
    guests.push(stack.use(await ExitGuest.start({ op: "out", port: NOBODYS_PORT })));
    const results = await alternate(rounds, ...guests.map((guest) => () => guest.round(ms)));
    const [sync, buffered, event] = results.map((rounds) => round(median(rounds.map(wallUs)), 2));
    const [syncCpu, bufferedCpu, eventCpu, nobodys] = results.map((rounds) => round(median(rounds.map(cpuUs)), 2)!);
    return {
      sync_us: sync,
      buffered_us: buffered,
      ioeventfd_us: event,
      notification_cpu_us: { synchronous: syncCpu, buffered: bufferedCpu, ioeventfd: eventCpu, "nobody's": nobodys },
    };
  },
});

/** A guest that writes to the port for ever, and a device model that counts. */
async function startNotified(stack: AsyncDisposableStack, port: number): Promise<ExitGuest> {
  const event = stack.use(eventDescriptor("eventfd of a port")), seen = new SharedArrayBuffer(8);
  const configuration: NotifiedConfiguration = { event: event.number, seen };
  const deviceModels = [{ module: MODEL, configuration }], others = vmDescriptors();
  const guest = await ExitGuest.start({ op: "out", port }, { deviceModels, count: () => settled(seen) });
  if (port === NOTIFIED_PORT.EVENT) {
    const [number] = vmDescriptors().filter((descriptor) => !others.includes(descriptor));
    const write = { space: "port", address: port, sizeBytes: 1 } as const;
    new Vm(new Descriptor(number, "VM"), 0).connectWrite(write, event.number, true);
  }
  return guest;
}

/** How many writes the device model has seen when it has seen all. */
async function settled(seen: SharedArrayBuffer): Promise<number> {
  const total = new BigInt64Array(seen);
  for (let last = -1n; last !== Atomics.load(total, 0);) {
    last = Atomics.load(total, 0);
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
  }
  return Number(Atomics.load(total, 0));
}

/** This process's VMs: a machine does not give its own away, and no user of it needs it. */
function vmDescriptors(): number[] {
  return Array.from(Deno.readDirSync("/proc/self/fd"), ({ name }) => Number(name)).filter((number) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${number}`) === "anon_inode:kvm-vm";
    } catch {
      return false; // the directory's own
    }
  });
}

function wallUs({ wallNs, count }: Round): number {
  return wallNs / count / 1000;
}

function cpuUs({ cpuNs, count }: Round): number {
  return cpuNs / count / 1000;
}
