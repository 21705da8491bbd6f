/**
 * dispatch_loop.ts EXITS ROUNDS [PORT]: prints the nanoseconds an exit takes without KVM_RUN, a number a round, as JSON.
 * The exit is a write to a port that nobody claims, or to PORT, which the platform claims: then its answer is there at once.
 */

import { idleRun } from "../../src/linux/calls.ts";
import { Mapping, pointerTo } from "../../src/linux/mapping.ts";
import { EXIT, IO_OUT, RUN_PAGE } from "../../src/kvm/abi.ts";
import platform from "../../src/devices/platform.ts";
import { DeviceModelRuntime } from "../../src/dm/runtime.ts";
import { BUFIOREQ, STATE } from "../../src/ioreq/abi.ts";
import { NOTIFICATION_BYTES, vcpuPort } from "../../src/ioreq/notification.ts";
import { ServerView } from "../../src/ioreq/server_view.ts";
import type { IoreqSlots } from "../../src/ioreq/slots.ts";
import { ControlBlock, controlBlockBytes } from "../../src/domain/control_block.ts";
import { traceBytes } from "../../src/domain/trace.ts";
import { NEXT, VcpuMachine } from "../../src/domain/vcpu_machine.ts";

const UNCLAIMED_PORT = 0x500, RUN_PAGE_BYTES = 3 * 4096, DATA_OFFSET = 4096, NOBODY = -1;
const WARM_UP_EXITS = 200_000;

/** Asks for a collection where V8 lets one do so: marks in its trace. */
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});

const [exits, rounds, port = UNCLAIMED_PORT] = Deno.args.map(Number);

using block = Mapping.anonymous(controlBlockBytes(1), "control block");
using memory = Mapping.anonymous(RUN_PAGE_BYTES, "run page");
using traces = Mapping.anonymous(traceBytes(1), "trace rings");
using notification = Mapping.anonymous(NOTIFICATION_BYTES, "notification area");
using page = Mapping.anonymous(4096, "ioreq page");

const control = new ControlBlock(block.address, 1);
control.setMemory(0n, 0n, traces.address);
const slots = claimThePlatform();
const record = control.vcpu(0);
record.create(NOBODY, memory.address, RUN_PAGE_BYTES);
fillRunPage(new DataView(memory.buffer));
const machine = new VcpuMachine(control, record);
const clockPointer = pointerTo(record.clockAddress);

/** The carrier's loop (src/domain/carrier.ts) as far as it goes without a guest. */
function loop(exits: number): void {
  for (let left = exits; left > 0; left--) {
    let next = machine.exited(idleRun(NOBODY, clockPointer));
    if (next === NEXT.WAIT) {
      slots.setState(0, STATE.IORESP_READY);
      next = machine.resumed();
    }
    if (next !== NEXT.ENTER) throw new Error("the exit was not answered");
  }
}

loop(WARM_UP_EXITS);
const results = new Float64Array(rounds);
collect();
for (let index = 0; index < rounds; index++) {
  const startMs = performance.now();
  loop(exits);
  results[index] = (performance.now() - startMs) * 1e6 / exits;
}
collect();
if (rounds > 1) console.log(JSON.stringify(Array.from(results)));

/** Server 0 as every domain has it: selection has the platform's ranges to look through. */
function claimThePlatform(): IoreqSlots {
  const server = control.servers.server(0), { ranges } = server;
  server.create({ notification: notification.address, doorbell: NOBODY, vcpus: 1, bufioreq: BUFIOREQ.OFF });
  server.setPages(page.address, 0n);
  const { slots, area } = new ServerView(server);
  slots!.setPort(0, vcpuPort(0));
  const runtime = new DeviceModelRuntime({
    server: 0,
    slots: slots!,
    ring: undefined,
    area: area!,
    memory: { read() {}, write() {}, contains: () => false, locate: () => 0, pieces: [] },
    mapRange: (type, first, last) => ranges[type].add(first, last),
    unmapRange: (type, first, last) => ranges[type].remove(first, last),
    bufferRange() {},
    setIrqLevel() {},
    setPciIntxLevel() {},
    injectMsi() {},
    connectWrite() {},
    connectLine() {},
    shutdown() {},
    addMemory: () => 0,
    mapWindow() {},
    unmapWindow() {},
    order() {},
    change() {},
    notifyPager() {},
    rested() {},
    notify() {},
    bindChannel() {},
    notifyChannel() {},
  });
  const console = { input: -1, output: -1, escape: null };
  platform(runtime, { console, memoryBytes: 64 << 20, lowMemoryBytes: 64 << 20 });
  server.setEnabled(true);
  return slots!;
}

function fillRunPage(view: DataView): void {
  view.setUint32(RUN_PAGE.exit_reason, EXIT.IO, true);
  view.setUint8(RUN_PAGE.io_direction, IO_OUT);
  view.setUint8(RUN_PAGE.io_size, 1);
  view.setUint16(RUN_PAGE.io_port, port, true);
  view.setUint32(RUN_PAGE.io_count, 1, true);
  view.setBigUint64(RUN_PAGE.io_data_offset, BigInt(DATA_OFFSET), true);
}
