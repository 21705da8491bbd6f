/**
 * Booting guests in tests, on real KVM.
 *
 * @module
 */

export { boot, type BootOptions, type Exit, TestMachine } from "./boot.ts";
export type { ShutdownRequest } from "../domain/xen_state.ts";
export type { ExtendedRegionOptions } from "../machine/options.ts";
export type { PortOptions, SocketPortOptions, VirtioConsoleOptions } from "../machine/consoles.ts";
export type { DiskOptions } from "../machine/disks.ts";
export type { VhostUserOptions } from "../machine/vhost_user.ts";
export type { VirtioDeviceOptions } from "../machine/virtio.ts";
export { ExpectError, type ExpectOptions, TestConsole } from "./console.ts";
