/** The built-in platform model: the devices of a small PC, put together. */

import type { DeviceModelHost } from "../dm/host.ts";
import { Cmos, type CmosOptions } from "./cmos.ts";
import { Console, type ConsoleOptions, type DescriptorCalls } from "./console.ts";
import { debugConsole } from "./debug_console.ts";
import { DESCRIPTOR_CALLS } from "./descriptor_calls.ts";
import { KeyboardController } from "./keyboard_controller.ts";
import { post } from "./post.ts";
import { PvConsole, type PvConsoleOptions } from "./pv_console.ts";
import { resetRegister, sleepRegisters } from "./sleep_reset.ts";
import { Uart } from "./uart.ts";
import { xenConsole } from "./xen_console.ts";

/** What the platform depends on. Plain data: it travels to the model's Worker. */
export interface PlatformConfiguration extends CmosOptions {
  readonly console: ConsoleOptions;
  /** What a guest of Xen prints to, if it may be one. */
  readonly xen?: { readonly console: PvConsoleOptions; readonly pipe: number };
}

/**
 * Claims the platform's ports. The devices take their state in this order: it must stay the same from one generation of
 * the model to the next.
 */
export default function platform(
  host: DeviceModelHost,
  configuration: PlatformConfiguration,
  calls: DescriptorCalls = DESCRIPTOR_CALLS,
  now: () => number = Date.now,
): void {
  const console = new Console(host, calls, configuration.console);
  if (configuration.xen !== undefined) {
    xenConsole(host, console, calls, configuration.xen.pipe);
    new PvConsole(host, console, configuration.xen.console);
  }
  new Uart(host, console);
  debugConsole(host, console);
  new KeyboardController(host);
  new Cmos(host, configuration, now);
  post(host);
  sleepRegisters(host);
  resetRegister(host);
}
