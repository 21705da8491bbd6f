/**
 * Xenolith: a type-2 hypervisor that drives /dev/kvm and speaks Xen's interfaces.
 *
 * @module
 */

export { type Machine, startMachine } from "./src/machine/machine.ts";
export {
  type CarrierKind,
  type ExtendedRegionOptions,
  type FileSource,
  type MachineOptions,
  type ModelModule,
  type ModelOptions,
  type ModelSocket,
  type ModuleOptions,
  UsageError,
} from "./src/machine/options.ts";
export type { PortOptions, SocketPortOptions, VirtioConsoleOptions } from "./src/machine/consoles.ts";
export type { DiskOptions } from "./src/machine/disks.ts";
export type { VhostUserOptions } from "./src/machine/vhost_user.ts";
export type { VirtioDeviceOptions, VirtioOptions } from "./src/machine/virtio.ts";
export type { NetOptions } from "./src/machine/nets.ts";
export type {
  HostForward,
  NetworkOptions,
  SocketNetworkOptions,
  TapNetworkOptions,
  UserNetworkOptions,
} from "./src/devices/network.ts";
export { NetworkUnavailable } from "./src/devices/network.ts";
export type { VcpuState } from "./src/domain/vcpu_record.ts";
export type { ShutdownRequest } from "./src/domain/xen_state.ts";
export type { Outcome, OutcomeKind } from "./src/domain/outcome.ts";
export type { AddressRange } from "./src/memory/address.ts";
export type { MemoryGrant } from "./src/domain/grants.ts";
export type {
  RangeStatistics,
  RegionStatistics,
  ServerStatistics,
  Statistics,
  SuccessionStatistics,
  TracedRequest,
  VcpuStatistics,
  WindowStatistics,
} from "./src/domain/statistics.ts";
export type { OutsideAccesses } from "./src/ioreq/notification.ts";
export type { RegionTally } from "./src/memory/region_frames.ts";
export type { ConsoleOptions } from "./src/devices/console.ts";
export { ImageError } from "./src/boot/plan.ts";
export { KvmUnavailable } from "./src/kvm/kvm.ts";
export { SocketPathError } from "./src/linux/socket_path.ts";
export { LinuxError } from "./src/linux/linux_error.ts";
