/** dispatch_loop.ts EXITS ROUNDS: prints the nanoseconds an exit takes without KVM_RUN, a number a round, as JSON. */

import { idleRun } from "../../src/linux/calls.ts";
import { Mapping, pointerTo } from "../../src/linux/mapping.ts";
import { EXIT, IO_OUT, RUN_PAGE } from "../../src/kvm/abi.ts";
import platform from "../../src/devices/platform.ts";
import { DeviceModelRuntime } from "../../src/dm/runtime.ts";
import { ControlBlock, controlBlockBytes } from "../../src/domain/control_block.ts";
import { NEXT, VcpuMachine } from "../../src/domain/vcpu_machine.ts";

const UNCLAIMED_PORT = 0x500, RUN_PAGE_BYTES = 3 * 4096, DATA_OFFSET = 4096, NOBODY = -1;
const WARM_UP_EXITS = 200_000;

/** Asks for a collection where V8 lets one do so: marks in its trace. */
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});

const [exits, rounds] = Deno.args.map(Number);

using block = Mapping.anonymous(controlBlockBytes(1), "control block");
using memory = Mapping.anonymous(RUN_PAGE_BYTES, "run page");
using page = Mapping.anonymous(4096, "ioreq page");

const control = new ControlBlock(block.address, 1);
claimThePlatform();
const record = control.vcpu(0);
record.create(NOBODY, memory.address, RUN_PAGE_BYTES, NOBODY);
fillRunPage(new DataView(memory.buffer));
const machine = new VcpuMachine(control, record);
const clockPointer = pointerTo(record.clockAddress);

/** The carrier's loop (src/domain/carrier.ts) as far as it goes without a guest. */
function loop(exits: number): void {
  for (let left = exits; left > 0; left--) {
    if (machine.exited(idleRun(NOBODY, clockPointer)) !== NEXT.ENTER) throw new Error("the exit was not answered");
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
function claimThePlatform(): void {
  const server = control.servers.server(0);
  server.create(page.address, NOBODY, 1);
  const nothing = { setIrqLevel() {}, shutdown() {}, notify() {} };
  const runtime = new DeviceModelRuntime(control.servers, server, control.deviceState(0), nothing);
  const console = { input: -1, output: -1, escape: null };
  platform(runtime, { console, memoryBytes: 64 << 20, lowMemoryBytes: 64 << 20 });
  server.setEnabled(true);
}

function fillRunPage(view: DataView): void {
  view.setUint32(RUN_PAGE.exit_reason, EXIT.IO, true);
  view.setUint8(RUN_PAGE.io_direction, IO_OUT);
  view.setUint8(RUN_PAGE.io_size, 1);
  view.setUint16(RUN_PAGE.io_port, UNCLAIMED_PORT, true);
  view.setUint32(RUN_PAGE.io_count, 1, true);
  view.setBigUint64(RUN_PAGE.io_data_offset, BigInt(DATA_OFFSET), true);
}
