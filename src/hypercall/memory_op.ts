/** memory_op: a guest's memory, how much it has, and what stands where (xen/common/memory.c; arch/x86/mm.c). */

import { EACCES, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from "../linux/errno.ts";
import {
  FOREIGN_MEMORY_MAP,
  MEM_ACQUIRE_RESOURCE,
  MEMOP_EXTENT_SHIFT,
  MEMORY_DOMAIN,
  MEMORY_MAP,
  MEMORY_MAP_ENTRY,
  MEMORY_RESERVATION,
  POD_TARGET,
  RESERVED_DEVICE_MEMORY_MAP,
  XENMEM,
} from "./abi/memory.ts";
import type { Call } from "./call.ts";
import { ownDomain, privilegedOver } from "./domains.ts";
import { XENMEM_extended_regions } from "./abi/ours.ts";
import { extendedRegionsOp, type RegionDomain } from "./extended_regions_op.ts";
import { setUnsigned64 } from "./layout.ts";
import { exchange, increaseReservation, type ReservationDomain, reserve } from "./memory_reservation.ts";
import { addBatchToPhysmap, addToPhysmap, type PhysmapDomain, removeFromPhysmap } from "./physmap_op.ts";

/** A range of the memory map, in bytes; its type as in the E820. */
export interface MemoryMapEntry {
  readonly address: number;
  readonly sizeBytes: number;
  readonly type: number;
}

/** The domain as its guest's memory_op sees it. */
export interface MemoryDomain extends ReservationDomain, PhysmapDomain, RegionDomain {
  /** Pages that the guest has, and may have. */
  readonly currentReservation: number;
  readonly maximumReservation: number;
  /** The highest gfn that there is, or was. */
  readonly maximumGfn: number;
  /** One more than the highest machine frame. */
  readonly maximumRamPage: number;
  readonly memoryMap: readonly MemoryMapEntry[];
}

/** The most entries of a memory map that Xen takes (E820_XEN_MAX). */
const MOST_ENTRIES = 1024;

/** XENMEM_RDM_ALL, the only flag. */
const RESERVED_MEMORY_ALL = 1;

/** struct xen_vnuma_topology_info: only its head is looked at. */
const VNUMA_TOPOLOGY = { domid: 0, pad: 2, bytes: 40 } as const;

/** struct xen_mem_access_op, likewise. */
const MEM_ACCESS_OP = { domid: 2, 64: { bytes: 32 }, 32: { bytes: 24 } } as const;

/** @returns what the subop gives, or -errno; of a list of extents, how many were done */
export function memoryOp(domain: MemoryDomain, call: Call): number {
  const subop = call.low[0] & (1 << MEMOP_EXTENT_SHIFT) - 1;
  // What is above the subop is where a list is gone on with: in Xen, which lets others run between.
  const start = Math.floor(call.value(0) / 2 ** MEMOP_EXTENT_SHIFT);
  switch (subop) {
    case XENMEM.increase_reservation:
      return increaseReservation(domain, call, start);
    case XENMEM.decrease_reservation:
    case XENMEM.populate_physmap:
      return reserve(domain, call, start, subop === XENMEM.decrease_reservation);
    case XENMEM.add_to_physmap:
      return addToPhysmap(domain, call, start);
    case XENMEM.add_to_physmap_batch:
      return addBatchToPhysmap(domain, call, start);
    case XENMEM.access_op:
      return accessOp(domain, call);
    case XENMEM.acquire_resource:
      return acquireResource(call);
    default:
      return start === 0 ? ofOne(domain, call, subop) : ofOneFrom(subop);
  }
}

/** Subops that have nothing to go on with: those of all architectures look at it first, those of x86 are then no subops. */
function ofOneFrom(subop: number): number {
  return COMMON.includes(subop) ? -EINVAL : -ENOSYS;
}

const COMMON: readonly number[] = [
  XENMEM.exchange,
  XENMEM.maximum_ram_page,
  XENMEM.current_reservation,
  XENMEM.maximum_reservation,
  XENMEM.maximum_gpfn,
  XENMEM.remove_from_physmap,
  XENMEM.claim_pages,
  XENMEM.get_vnumainfo,
  XENMEM.reserved_device_memory_map,
];

function ofOne(domain: MemoryDomain, call: Call, subop: number): number {
  switch (subop) {
    case XENMEM.exchange:
      return exchange(domain, call);
    case XENMEM.maximum_ram_page:
      return domain.maximumRamPage;
    case XENMEM.current_reservation:
    case XENMEM.maximum_reservation:
    case XENMEM.maximum_gpfn:
      return aboutDomain(domain, call, subop);
    case XENMEM.remove_from_physmap:
      return removeFromPhysmap(domain, call);
    case XENMEM.claim_pages:
      return claimPages(domain, call);
    case XENMEM.get_vnumainfo:
      return vnumaInfo(domain, call);
    case XENMEM.reserved_device_memory_map:
      return reservedDeviceMemory(call);
    case XENMEM.memory_map:
      return memoryMap(domain, call);
    case XENMEM.set_memory_map:
      return setMemoryMap(domain, call);
    case XENMEM.get_pod_target:
    case XENMEM.set_pod_target:
      return podTarget(domain, call);
    case XENMEM.get_sharing_freed_pages:
    case XENMEM.get_sharing_shared_pages:
      return 0; // nothing is shared
    case XENMEM_extended_regions:
      return extendedRegionsOp(domain, call);
    default: // machine_memory_map, machphys_*, paging_op, sharing_op; and what is none
      return -ENOSYS;
  }
}

function aboutDomain(domain: MemoryDomain, call: Call, subop: number): number {
  if (!call.fetch(1, MEMORY_DOMAIN.bytes)) return -EFAULT;
  const refused = ownDomain(domain, call.scratch.getUint16(MEMORY_DOMAIN.domid, true));
  if (refused !== 0) return refused;
  if (subop === XENMEM.current_reservation) return domain.currentReservation;
  return subop === XENMEM.maximum_reservation ? domain.maximumReservation : domain.maximumGfn;
}

/** Only whoever builds domains may. 32-bit callers have no such subop. */
function claimPages(domain: MemoryDomain, call: Call): number {
  const layout = MEMORY_RESERVATION[call.bits], { scratch } = call;
  if (call.bits === 32) return -ENOSYS;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  if (call.longAt(layout.extent_start) !== 0) return -EINVAL;
  if (scratch.getUint32(layout.extent_order, true) !== 0) return -EINVAL;
  if (scratch.getUint32(layout.mem_flags, true) !== 0) return -EINVAL;
  const refused = privilegedOver(domain, scratch.getUint16(layout.domid, true));
  return refused === -ESRCH ? -EINVAL : refused;
}

/** No domain here has virtual NUMA nodes. */
function vnumaInfo(domain: MemoryDomain, call: Call): number {
  if (!call.fetch(1, VNUMA_TOPOLOGY.bytes)) return -EFAULT;
  if (call.scratch.getUint16(VNUMA_TOPOLOGY.pad, true) !== 0) return -EINVAL;
  return ownDomain(domain, call.scratch.getUint16(VNUMA_TOPOLOGY.domid, true)) || -EOPNOTSUPP;
}

/** No device here has memory of its own reserved. */
function reservedDeviceMemory(call: Call): number {
  const layout = RESERVED_DEVICE_MEMORY_MAP[call.bits];
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  if ((call.scratch.getUint32(layout.flags, true) & ~RESERVED_MEMORY_ALL) !== 0) return -EINVAL;
  call.scratch.setUint32(layout.nr_entries, 0, true);
  return call.store(1, layout.bytes) ? 0 : -EFAULT;
}

/** As many entries as there is room for; with no buffer, how many there are. */
function memoryMap(domain: MemoryDomain, call: Call): number {
  const layout = MEMORY_MAP[call.bits], { scratch } = call, entries = domain.memoryMap;
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const low = call.longLow(layout.buffer), high = call.longHigh(layout.buffer);
  const isAsked = (low | high) === 0, room = scratch.getUint32(layout.nr_entries, true);
  const count = isAsked ? entries.length : Math.min(room, entries.length);
  for (let index = 0; index < count && !isAsked; index++) {
    const { address, sizeBytes, type } = entries[index];
    setUnsigned64(scratch, MEMORY_MAP_ENTRY.address, address);
    setUnsigned64(scratch, MEMORY_MAP_ENTRY.size, sizeBytes);
    scratch.setUint32(MEMORY_MAP_ENTRY.type, type, true);
    if (!call.storeAt(low, high, MEMORY_MAP_ENTRY.bytes, index * MEMORY_MAP_ENTRY.bytes)) return -EFAULT;
  }
  scratch.setUint32(0, count, true);
  return call.store(1, 4, layout.nr_entries) ? 0 : -EFAULT;
}

/** In Xen a guest may change its own, which nobody but itself reads; here it may not. */
function setMemoryMap(domain: MemoryDomain, call: Call): number {
  const layout = FOREIGN_MEMORY_MAP[call.bits];
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  const entries = call.scratch.getUint32(layout.map + MEMORY_MAP[call.bits].nr_entries, true);
  if (entries > MOST_ENTRIES) return -EINVAL;
  return ownDomain(domain, call.scratch.getUint16(layout.domid, true)) || -EPERM;
}

function podTarget(domain: MemoryDomain, call: Call): number {
  const layout = POD_TARGET[call.bits];
  if (!call.fetch(1, layout.bytes)) return -EFAULT;
  return ownDomain(domain, call.scratch.getUint16(layout.domid, true)) || -EPERM;
}

/** A device model's, about another domain. */
function accessOp(domain: MemoryDomain, call: Call): number {
  if (!call.fetch(1, MEM_ACCESS_OP[call.bits].bytes)) return -EFAULT;
  const domid = call.scratch.getUint16(MEM_ACCESS_OP.domid, true);
  return ownDomain(domain, domid) || -EPERM;
}

/** What a guest whose second stage is kept for it cannot do, unless it is domain 0. */
function acquireResource(call: Call): number {
  const { bytes } = MEM_ACQUIRE_RESOURCE[call.bits];
  return call.bits === 32 && !call.fetch(1, bytes) ? -EFAULT : -EACCES;
}
