/** The Worker that runs a device model: it attaches to a server in the control block and serves it. */

import { Descriptor } from "../linux/descriptor.ts";
import { Vm } from "../kvm/vm.ts";
import type { ShutdownReason } from "../dm/host.ts";
import { type DeviceModel, loadModel } from "../dm/model.ts";
import { DeviceModelRuntime } from "../dm/runtime.ts";
import { ControlBlock } from "./control_block.ts";
import type { ModelStart, Report } from "./messages.ts";
import { STATUS } from "./outcome.ts";
import { serveOnce } from "./worker.ts";

/** The outcome that each reason of a device model stands for. */
const SHUTDOWN = {
  "poweroff": { kind: "poweroff", status: STATUS.OK, reason: "the guest powered off" },
  "reset": { kind: "reset", status: STATUS.RESET, reason: "the guest asked for a reset" },
  "left": { kind: "left", status: STATUS.LEFT, reason: "the user left" },
  "console closed": {
    kind: "console closed",
    status: STATUS.CONSOLE_CLOSED,
    reason: "the console's output was closed",
  },
} as const satisfies Record<ShutdownReason, unknown>;

async function model(start: ModelStart, report: (report: Report) => void): Promise<void> {
  const control = new ControlBlock(start.controlBlock, start.vcpus);
  const server = control.servers.server(start.server);
  const vm = new Vm(new Descriptor(control.vm, "VM"), 0);
  const doorbells = Array.from({ length: start.vcpus }, (_, vcpu) => control.vcpu(vcpu).doorbell());
  const runtime = new DeviceModelRuntime(control.servers, server, control.deviceState(start.server), {
    setIrqLevel: (gsi, level) => vm.setIrqLevel(gsi, level),
    notify: (vcpu) => doorbells[vcpu].ring(),
    shutdown(reason) {
      if (control.end(SHUTDOWN[reason])) report({ kind: "ended" });
    },
  });
  const run = start.module === undefined ? await platform() : await loadModel(start.module);
  await run(runtime, start.configuration);
  control.servers.change(() => server.setEnabled(true));
  report({ kind: "ready" });
  runtime.serve();
}

/** The built-in platform model; loaded like any other, but part of the program, so that a bundle contains it. */
async function platform(): Promise<DeviceModel> {
  return (await import("../devices/platform.ts")).default as DeviceModel;
}

serveOnce(model);
